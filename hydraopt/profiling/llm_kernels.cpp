// ExecuTorch's operators `llama::update_cache` and `llama::custom_sdpa`, which are not among the
// libraries of its Python package, for one sequence; attention in float32.
//
// Attention keeps the scores of a block of queries for all keys: memory grows with the context,
// not with its square. The loops are plain; `omp simd` lets the compiler reorder sums in them.

#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>
#include <executorch/runtime/kernel/thread_parallel_interface.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::runtime::KernelRuntimeContext;

#define ALWAYS_INLINE inline __attribute__((always_inline))
#if defined(__x86_64__)  // elsewhere the compiler's default has the vectors that matter
#define FOR_EACH_VECTOR_WIDTH \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_VECTOR_WIDTH
#endif

namespace {

constexpr int kLanes = 16;  // floats of one AVX-512 register, of four NEON registers
constexpr int kTile = 6;    // kTile x kLanes sums fit the registers of AVX2 and NEON
constexpr int kBlock = 48;  // queries of a block, a multiple of both
constexpr float kNever = -std::numeric_limits<float>::infinity();

// e^x for x <= 0, to some 1e-7 relative: 2^n e^r with n whole and |r| <= ln(2) / 2.
ALWAYS_INLINE float exponential(float x) {
  constexpr float kRound = 12582912;  // 1.5 * 2^23: adding it leaves n in the lowest bits
  float turns = x * 1.44269504f + kRound, n = turns - kRound;
  float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln(2) in two parts
  float series = 1 + r * (1 + r * (1 / 2.f + r * (1 / 6.f + r * (1 / 24.f +
                 r * (1 / 120.f + r * (1 / 720.f))))));
  uint32_t bits = std::bit_cast<uint32_t>(series) + (std::bit_cast<uint32_t>(turns) << 23);
  return x < -87 ? 0 : std::bit_cast<float>(bits);
}

// c[row][lane] = sum over i of a[row][i] * b[i][lane], for Rows x Lanes values of c.
template <int Rows, int Lanes>
ALWAYS_INLINE void multiply_tile(int64_t depth, const float* a, int64_t a_row, int64_t a_step,
                                 const float* b, int64_t b_step, float* c, int64_t c_row) {
  float sums[Rows][Lanes] = {};
  for (int64_t i = 0; i < depth; i++) {
    for (int row = 0; row < Rows; row++) {
      const float factor = a[row * a_row + i * a_step];
#pragma omp simd
      for (int lane = 0; lane < Lanes; lane++) sums[row][lane] += factor * b[i * b_step + lane];
    }
  }
  for (int row = 0; row < Rows; row++) memcpy(c + row * c_row, sums[row], sizeof sums[row]);
}

template <int Rows>
ALWAYS_INLINE void multiply_rows(int64_t lanes, int64_t depth, const float* a, int64_t a_row,
                                 int64_t a_step, const float* b, int64_t b_step, float* c,
                                 int64_t c_row) {
  constexpr int kWide = Rows == 1 ? 4 * kLanes : kLanes;  // sums of one row alone would wait
  int64_t lane = 0;
  for (; lane + kWide <= lanes; lane += kWide) {
    multiply_tile<Rows, kWide>(depth, a, a_row, a_step, b + lane, b_step, c + lane, c_row);
  }
  for (; lane + kLanes <= lanes; lane += kLanes) {
    multiply_tile<Rows, kLanes>(depth, a, a_row, a_step, b + lane, b_step, c + lane, c_row);
  }
  for (; lane < lanes; lane++) {
    multiply_tile<Rows, 1>(depth, a, a_row, a_step, b + lane, b_step, c + lane, c_row);
  }
}

// The same for any size of c.
ALWAYS_INLINE void multiply(int64_t rows, int64_t lanes, int64_t depth, const float* a,
                            int64_t a_row, int64_t a_step, const float* b, int64_t b_step,
                            float* c, int64_t c_row) {
  int64_t row = 0;
  for (; row + kTile <= rows; row += kTile) {
    multiply_rows<kTile>(lanes, depth, a + row * a_row, a_row, a_step, b, b_step, c + row * c_row,
                         c_row);
  }
  for (; row < rows; row++) {
    multiply_rows<1>(lanes, depth, a + row * a_row, a_row, a_step, b, b_step, c + row * c_row,
                     c_row);
  }
}

// Attention of one sequence. Queries and outputs are [length, heads, width], keys and values
// [capacity, groups, width]; the mask, if any, is [length, keys] and is added to the scores.
struct Attention {
  const float *query, *key, *value, *mask;
  float* out;
  int64_t length, heads, groups, width, start, keys;
  bool causal;
  float scale;

  int64_t shared() const { return heads / groups; }  // query heads of a key head
  int64_t step() const { return groups * width; }    // from a key to the next one
  int64_t seen(int64_t position) const { return causal ? start + position + 1 : keys; }
  int64_t offset(int64_t position, int64_t head) const {
    return (position * heads + head) * width;
  }
};

// One query of one head.
FOR_EACH_VECTOR_WIDTH void attend_row(const Attention& self, int64_t position, int64_t head,
                                      float* scores) {
  const int64_t seen = self.seen(position), step = self.step(), width = self.width;
  const int64_t column = head / self.shared() * width;
  const float* query = self.query + self.offset(position, head);
  const float* mask = self.mask ? self.mask + position * self.keys : nullptr;
  float top = kNever, total = 0;
  for (int64_t n = 0; n < seen; n++) {
    const float* key = self.key + n * step + column;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; i++) sum += query[i] * key[i];
    scores[n] = sum * self.scale + (mask ? mask[n] : 0);
    top = std::max(top, scores[n]);
  }
#pragma omp simd reduction(+ : total)
  for (int64_t n = 0; n < seen; n++) {
    scores[n] = exponential(scores[n] - top);
    total += scores[n];
  }
  float* out = self.out + self.offset(position, head);
  multiply_rows<1>(width, seen, scores, 0, 1, self.value + column, step, out, 0);
  for (int64_t i = 0; i < width; i++) out[i] /= total;
}

// Scores of kLanes queries, scores[key][lane], to weights; their sums to `totals`.
ALWAYS_INLINE void softmax(const Attention& self, int64_t first, int64_t keys, float* scores,
                           float* totals) {
  float tops[kLanes];
  int32_t seen[kLanes];
  int64_t positions[kLanes];
  for (int lane = 0; lane < kLanes; lane++) {
    positions[lane] = std::min((first + lane) / self.shared(), self.length - 1);
    seen[lane] = self.seen(positions[lane]);
    tops[lane] = kNever;
    totals[lane] = 0;
  }
  for (int64_t n = 0; n < keys; n++) {
    float* row = scores + n * kBlock;
    float bias[kLanes] = {};
    if (self.mask) {
      for (int lane = 0; lane < kLanes; lane++) {
        bias[lane] = self.mask[positions[lane] * self.keys + n];
      }
    }
#pragma omp simd
    for (int lane = 0; lane < kLanes; lane++) {
      float score = row[lane] * self.scale + bias[lane];
      row[lane] = static_cast<int32_t>(n) < seen[lane] ? score : kNever;
      tops[lane] = std::max(tops[lane], row[lane]);
    }
  }
  for (int64_t n = 0; n < keys; n++) {
    float* row = scores + n * kBlock;
#pragma omp simd
    for (int lane = 0; lane < kLanes; lane++) {
      row[lane] = exponential(row[lane] - tops[lane]);
      totals[lane] += row[lane];
    }
  }
}

// Up to kBlock queries that share a key head, from `first`: heads of a position, then positions.
FOR_EACH_VECTOR_WIDTH void attend_block(const Attention& self, int64_t group, int64_t first,
                                        float* scores) {
  const int64_t width = self.width, step = self.step(), shared = self.shared();
  const int64_t rows = std::min<int64_t>(kBlock, self.length * shared - first);
  const int64_t lanes = (rows + kLanes - 1) / kLanes * kLanes;
  const int64_t keys = self.seen((first + rows - 1) / shared);
  auto offset = [&](int64_t row) {
    return self.offset((first + row) / shared, group * shared + (first + row) % shared);
  };
  float* queries = scores + keys * kBlock;    // [width][kBlock]
  float* outputs = queries + width * kBlock;  // [kBlock][width]
  float totals[kBlock];
  for (int64_t row = 0; row < lanes; row++) {
    const float* query = self.query + offset(std::min(row, rows - 1));
    for (int64_t i = 0; i < width; i++) queries[i * kBlock + row] = query[i];
  }
  multiply(keys, lanes, width, self.key + group * width, step, 1, queries, kBlock, scores, kBlock);
  for (int64_t lane = 0; lane < lanes; lane += kLanes) {
    softmax(self, first + lane, keys, scores + lane, totals + lane);
  }
  multiply(rows, width, keys, scores, 1, kBlock, self.value + group * width, step, outputs, width);
  for (int64_t row = 0; row < rows; row++) {
    float* out = self.out + offset(row);
    for (int64_t i = 0; i < width; i++) out[i] = outputs[row * width + i] / totals[row];
  }
}

// Few queries a key head fill no vector: each is its own piece of work. Else a block is.
void attend(const Attention& self) {
  const int64_t rows = self.length * self.shared();
  const int64_t blocks = (rows + kBlock - 1) / kBlock;
  const bool few = rows < kLanes / 2;
  const int64_t pieces = few ? self.length * self.heads : self.groups * blocks;
  executorch::extension::parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
    static thread_local std::vector<float> scratch;
    const size_t needed = kBlock * (self.keys + 2 * self.width);
    if (scratch.size() < needed) scratch.resize(needed);
    for (int64_t piece = begin; piece < end; piece++) {
      if (few) {
        attend_row(self, piece / self.heads, piece % self.heads, scratch.data());
      } else {
        // a thread gets a run of pieces: early blocks, with fewer keys, alternate with late ones
        const int64_t turn = piece % blocks;
        const int64_t block = turn % 2 ? blocks - 1 - turn / 2 : turn / 2;
        attend_block(self, piece / blocks, block * kBlock, scratch.data());
      }
    }
  });
}

bool plain(const Tensor& tensor) {
  return executorch::runtime::tensor_is_default_dim_order(tensor) && tensor.numel() > 0;
}

bool one_sequence(const Tensor& tensor) {
  return tensor.dim() == 4 && tensor.size(0) == 1 && plain(tensor);
}

bool fits(int64_t start, const Tensor& values, const Tensor& cache) {
  return start >= 0 && start <= cache.size(1) - values.size(1);
}

// llama::update_cache(Tensor value, Tensor(a!) cache, SymInt start_pos) -> Tensor: copies value
// [1, length, heads, width] to the cache [1, capacity, heads, width] from start_pos; any dtype.
Tensor& update_cache_out(KernelRuntimeContext& context, const Tensor& value, Tensor& cache,
                         int64_t start, Tensor& out) {
  ET_KERNEL_CHECK(context, one_sequence(value) && one_sequence(cache), InvalidArgument, out);
  ET_KERNEL_CHECK(context, value.scalar_type() == cache.scalar_type(), InvalidArgument, out);
  ET_KERNEL_CHECK(context, value.size(2) == cache.size(2), InvalidArgument, out);
  ET_KERNEL_CHECK(context, value.size(3) == cache.size(3), InvalidArgument, out);
  ET_KERNEL_CHECK(context, fits(start, value, cache), InvalidArgument, out);
  auto* target = static_cast<char*>(cache.mutable_data_ptr());
  memcpy(target + start * (cache.nbytes() / cache.size(1)), value.const_data_ptr(),
         value.nbytes());
  return out;  // nobody reads it
}

// llama::custom_sdpa(Tensor query, Tensor key, Tensor value, SymInt start_pos, Tensor? attn_mask,
// float drpout_p, bool is_causal, float? scale) -> Tensor: query [1, length, heads, width] on
// caches [1, capacity, groups, width]. With a mask [length, capacity] all keys take part, without
// one those up to start_pos + length; dropout is for training and is ignored.
Tensor& custom_sdpa_out(KernelRuntimeContext& context, const Tensor& query, const Tensor& key,
                        const Tensor& value, int64_t start, const std::optional<Tensor>& mask,
                        double /*dropout*/, bool causal, std::optional<double> scale,
                        Tensor& out) {
  for (const Tensor* tensor : {&query, &key, &value}) {
    ET_KERNEL_CHECK(context, tensor->scalar_type() == ScalarType::Float, InvalidArgument, out);
    ET_KERNEL_CHECK(context, one_sequence(*tensor), InvalidArgument, out);
    ET_KERNEL_CHECK(context, tensor->size(3) == query.size(3), InvalidArgument, out);
  }
  const int64_t length = query.size(1), heads = query.size(2), width = query.size(3);
  ET_KERNEL_CHECK(context, key.sizes() == value.sizes(), InvalidArgument, out);
  ET_KERNEL_CHECK(context, heads % key.size(2) == 0, InvalidArgument, out);
  ET_KERNEL_CHECK(context, fits(start, query, key), InvalidArgument, out);
  if (mask) {
    ET_KERNEL_CHECK(context, !causal, InvalidArgument, out);
    ET_KERNEL_CHECK(context, mask->scalar_type() == ScalarType::Float, InvalidArgument, out);
    ET_KERNEL_CHECK(context, mask->dim() == 2 && plain(*mask), InvalidArgument, out);
    ET_KERNEL_CHECK(context, mask->size(0) == length, InvalidArgument, out);
    ET_KERNEL_CHECK(context, mask->size(1) == key.size(1), InvalidArgument, out);
  }
  ET_KERNEL_CHECK(context, out.scalar_type() == ScalarType::Float, InvalidArgument, out);
  ET_KERNEL_CHECK(context,
                  executorch::runtime::resize_tensor(out, query.sizes()) ==
                      executorch::runtime::Error::Ok,
                  InvalidArgument, out);
  attend({query.const_data_ptr<float>(), key.const_data_ptr<float>(),
          value.const_data_ptr<float>(), mask ? mask->const_data_ptr<float>() : nullptr,
          out.mutable_data_ptr<float>(), length, heads, key.size(2), width, start,
          mask ? key.size(1) : start + length, causal,
          static_cast<float>(scale.value_or(1 / std::sqrt(static_cast<double>(width))))});
  return out;
}

EXECUTORCH_LIBRARY(llama, "update_cache.out", update_cache_out);
EXECUTORCH_LIBRARY(llama, "custom_sdpa.out", custom_sdpa_out);

}  // namespace

// Runs a script of commands with ExecuTorch's Module API and prints one line of JSON.
//
//   runner SCRIPT
//
// A script is a text file with one command per line. The JSON object has a record per command in
// "records", in order; times are wall-clock milliseconds.
//
//   threads N              size of the thread pool; before the first program   {"threads": n}
//   trace FILE             write an ETDump of the next program to FILE         {}
//   evict FILE...          drop files from the page cache                      {"resident": share}
//   program PTE [PTD...]   unload the current program, load this one           {"ms": t}
//   method NAME            load a method if necessary and make it current      {"ms": t}
//   shared FILE            map the shared pack, for an `unpack` that takes it {"ms": t}
//   switch FILE [OFFSET LENGTH]  map a task's pack, a file or part of one; unpack it; clear the
//                          KV cache                           {"map_ms": t, "unpack_ms": t}
//   prefill ID,ID,...      start a sequence: run the current method on the tokens
//                                                             {"ms": t, "token": next}
//   append ID,ID,...       the same, without starting a sequence
//   decode N               generate N tokens greedily           {"ms": [t...], "tokens": [next...]}
//   logits FILE            append the last logits, float32, to FILE            {"count": n}
//   memory                 resident set and its peak, in bytes  {"resident": n, "peak": n}
//
// If a command fails, prints `error: ...` on standard error and exits with 1.

#include <executorch/devtools/etdump/etdump_flatcc.h>
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/platform/runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "command.hpp"
#include "memory.hpp"
#include "reader.hpp"
#include "threadpool.hpp"

using executorch::aten::ScalarType;
using executorch::etdump::ETDumpGen;
using executorch::extension::make_tensor_ptr;
using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::extension::threadpool::get_threadpool;
using executorch::runtime::Error;
using executorch::runtime::EValue;

namespace {

TensorPtr payload(const hydraopt::Pack& pack) {
  auto size = static_cast<executorch::aten::SizesType>(pack.size());
  return make_tensor_ptr({size}, const_cast<uint8_t*>(pack.payload()), ScalarType::Byte);
}

class Runner {
 public:
  // Runs a command; returns its record.
  std::string run(const std::string& command, std::istringstream& arguments) {
    if (command == "threads") return threads(word(arguments));
    if (command == "trace") return trace(word(arguments));
    if (command == "evict") return evict(words(arguments));
    if (command == "program") return program(words(arguments));
    if (command == "memory") return memory();
    if (!module_) fail("%s before any program", command.c_str());
    if (command == "method") return method(word(arguments));
    if (command == "shared") return shared(word(arguments));
    if (command == "switch") return switch_task(words(arguments));
    if (command == "prefill") return append(word(arguments), 0);
    if (command == "append") return append(word(arguments), position_);
    if (command == "decode") return decode(word(arguments));
    if (command == "logits") return logits(word(arguments));
    fail("unknown command %s", command.c_str());
  }

  // Writes an open trace; `exit` does not run destructors of locals.
  void finish() { unload(); }

 private:
  std::string threads(const std::string& count) {
    get_threadpool()->_unsafe_reset_threadpool(positive(count));
    return "{\"threads\": " + std::to_string(get_threadpool()->get_thread_count()) + "}";
  }

  std::string trace(const std::string& path) {
    next_trace_ = path;
    return "{}";
  }

  static std::string evict(const std::vector<std::string>& paths) {
    double held = 0;
    for (const auto& path : paths) held = std::max(held, evicted(path));
    return "{\"resident\": " + json(held) + "}";
  }

  void unload() {
    factors_.clear();
    logits_.clear();
    pack_.reset();
    shared_.reset();
    if (tracer_) {
      auto dump = tracer_->get_etdump_data();
      std::ofstream file(trace_, std::ios::binary);
      file.write(static_cast<const char*>(dump.buf), dump.size);
      if (!file) fail("cannot write %s", trace_.c_str());
      free(dump.buf);
      tracer_ = nullptr;
    }
    module_.reset();
  }

  std::string program(std::vector<std::string> paths) {
    double start = now();
    unload();
    std::unique_ptr<ETDumpGen> tracer;
    if (!next_trace_.empty()) {
      tracer = std::make_unique<ETDumpGen>();
      tracer_ = tracer.get();
      trace_ = std::exchange(next_trace_, "");
    }
    std::string path = paths[0];
    paths.erase(paths.begin());
    if (paths.empty()) {
      module_ = std::make_unique<Module>(path, Module::LoadMode::Mmap, std::move(tracer));
    } else {
      module_ = std::make_unique<Module>(path, paths, Module::LoadMode::Mmap, std::move(tracer));
    }
    check(module_->load(), "load " + path);
    return "{\"ms\": " + json(now() - start) + "}";
  }

  std::string method(const std::string& name) {
    double start = now();
    check(module_->load_method(name), "load method " + name);
    method_ = name;
    position_ = 0;
    return "{\"ms\": " + json(now() - start) + "}";
  }

  std::string shared(const std::string& path) {
    double start = now();
    shared_ = std::make_unique<hydraopt::Pack>(path);
    return "{\"ms\": " + json(now() - start) + "}";
  }

  std::string switch_task(const std::vector<std::string>& place) {
    const std::string& path = place[0];
    if (place.size() != 1 && place.size() != 3) fail("expected FILE or FILE OFFSET LENGTH");
    bool part = place.size() == 3;
    check(module_->load_method("unpack"), "load method unpack");
    double start = now();
    auto pack = part ? std::make_unique<hydraopt::Pack>(path, natural(place[1]),
                                                        positive(place[2]))
                     : std::make_unique<hydraopt::Pack>(path);
    std::vector<TensorPtr> payloads;
    if (shared_) payloads.push_back(payload(*shared_));
    payloads.push_back(payload(*pack));
    double mapped = now();
    expect_payloads(payloads);
    std::vector<EValue> inputs(payloads.begin(), payloads.end());
    double sized = now();
    auto outputs = module_->execute("unpack", inputs);
    check(outputs.error(), "unpack " + path);
    factors_ = std::move(*outputs);  // in memory of the method `unpack`, until it runs again
    double unpacked = now();
    pack_ = std::move(pack);
    position_ = 0;
    return "{\"map_ms\": " + json(mapped - start) + ", \"unpack_ms\": " + json(unpacked - sized) +
           "}";
  }

  void expect_payloads(const std::vector<TensorPtr>& payloads) {
    auto meta = module_->method_meta("unpack");
    check(meta.error(), "read the inputs of unpack");
    if (meta->num_inputs() != payloads.size()) {
      fail("unpack takes %zu payloads, the script has %zu: `shared` is missing or too much",
           meta->num_inputs(), payloads.size());
    }
    for (size_t input = 0; input < payloads.size(); input++) expect_size(input, *payloads[input]);
  }

  void expect_size(size_t input, const executorch::aten::Tensor& payload) {
    auto meta = module_->method_meta("unpack");
    check(meta.error(), "read the inputs of unpack");
    auto tensor = meta->input_tensor_meta(input);
    check(tensor.error(), "read the inputs of unpack");
    if (tensor->nbytes() != payload.nbytes()) {
      fail("payload %zu of unpack has %zu bytes, the program takes %zu; the pack is of another bundle",
           input, payload.nbytes(), tensor->nbytes());
    }
  }

  // Appends `ids` to the sequence and keeps the logits; returns the time.
  double forward(std::vector<int64_t> ids) {
    int count = ids.size();
    std::vector<int64_t> positions(count);
    std::iota(positions.begin(), positions.end(), position_);
    auto tokens = make_tensor_ptr({1, count}, std::move(ids));
    auto places = make_tensor_ptr({count}, std::move(positions));
    std::vector<EValue> inputs{EValue(*tokens), EValue(*places)};
    inputs.insert(inputs.end(), factors_.begin(), factors_.end());
    double start = now();
    auto outputs = module_->execute(method_, inputs);
    double elapsed = now() - start;
    check(outputs.error(), "execute " + method_);
    if (outputs->empty() || outputs->at(0).toTensor().scalar_type() != ScalarType::Float) {
      fail("%s did not give float32 logits", method_.c_str());
    }
    const auto& result = outputs->at(0).toTensor();
    const float* values = result.const_data_ptr<float>();
    size_t vocabulary = result.size(result.dim() - 1);
    logits_.assign(values + result.numel() - vocabulary, values + result.numel());
    position_ += count;
    return elapsed;
  }

  int64_t likeliest() const {
    return std::max_element(logits_.begin(), logits_.end()) - logits_.begin();
  }

  std::string append(const std::string& list, int64_t position) {
    std::vector<int64_t> ids;
    std::istringstream parts(list);
    for (std::string id; std::getline(parts, id, ',');) ids.push_back(natural(id));
    position_ = position;
    double elapsed = forward(ids);
    return "{\"ms\": " + json(elapsed) + ", \"token\": " + std::to_string(likeliest()) + "}";
  }

  std::string decode(const std::string& count) {
    if (logits_.empty()) fail("decode before prefill");
    std::vector<double> times;
    std::vector<int64_t> tokens;
    for (int left = positive(count); left > 0; left--) {
      times.push_back(forward({likeliest()}));
      tokens.push_back(likeliest());
    }
    return "{\"ms\": " + json(times) + ", \"tokens\": " + json(tokens) + "}";
  }

  std::string logits(const std::string& path) {
    std::ofstream file(path, std::ios::binary | std::ios::app);
    file.write(reinterpret_cast<const char*>(logits_.data()), logits_.size() * sizeof(float));
    if (!file.flush()) fail("cannot write %s", path.c_str());
    return "{\"count\": " + std::to_string(logits_.size()) + "}";
  }

  static std::string memory() {
    return "{\"resident\": " + std::to_string(status_bytes("VmRSS")) +
           ", \"peak\": " + std::to_string(status_bytes("VmHWM")) + "}";
  }

  std::string next_trace_, trace_;
  ETDumpGen* tracer_ = nullptr;  // owned by the module
  std::unique_ptr<Module> module_;
  std::string method_ = "forward";
  std::unique_ptr<hydraopt::Pack> shared_, pack_;
  std::vector<EValue> factors_;
  std::vector<float> logits_;
  int64_t position_ = 0;
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    fprintf(stderr, "error: usage: %s SCRIPT\n", arguments[0]);
    return 2;
  }
  std::ifstream script(arguments[1]);
  if (!script) {
    fprintf(stderr, "error: cannot open the script %s\n", arguments[1]);
    return 1;
  }
  executorch::runtime::runtime_init();
  std::vector<std::string> lines;
  for (std::string line; std::getline(script, line);) lines.push_back(line);
  // allocated up front, so that measured growth of memory is not the records'
  std::string records(lines.size() * 128, ' ');
  records.clear();
  Runner runner;
  for (const std::string& line : lines) {
    current_line++;
    std::istringstream words(line);
    std::string command;
    if (!(words >> command)) fail("an empty line");
    try {
      records += (records.empty() ? "" : ", ") + runner.run(command, words);
    } catch (const std::runtime_error& error) {
      fail("%s", error.what());
    }
  }
  runner.finish();
  printf("{\"records\": [%s]}\n", records.c_str());
  return 0;
}

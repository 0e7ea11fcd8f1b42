// Reads packs of a bundle, as described in docs/formats.md. Needs only POSIX; throws
// std::runtime_error, with one line, if a pack is missing, damaged or of another format.

#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace hydraopt {

// A read-only mapped file.
class File {
 public:
  explicit File(const std::string& path) : path_(path) {
    int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0) throw std::runtime_error("cannot open " + path);
    bool regular = S_ISREG(status.st_mode);
    size_ = regular ? status.st_size : 0;
    if (size_ > 0) data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (!regular) throw std::runtime_error(path + " is not a regular file");
    if (data_ == MAP_FAILED) throw std::runtime_error("cannot map " + path);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (size_ > 0) munmap(data_, size_);
  }

  const std::string& path() const { return path_; }
  const uint8_t* data() const { return static_cast<const uint8_t*>(data_); }
  size_t size() const { return size_; }

 private:
  std::string path_;
  size_t size_ = 0;
  void* data_ = nullptr;
};

// A task's pack or the shared pack: a file, or part of one. The payload is mapped, not copied, and
// valid as long as this object.
class Pack {
 public:
  static constexpr char kMagic[] = "HYDRAPK1";
  static constexpr size_t kHeader = 64;
  static constexpr size_t kBinding = 16;

  explicit Pack(const std::string& path) : Pack(path, 0, 0) {}

  // `length` bytes from `offset`, as the manifest says; 0: to the end of the file.
  Pack(const std::string& path, uint64_t offset, uint64_t length) : file_(path) {
    if (offset > file_.size() || length > file_.size() - offset) {
      throw std::runtime_error(path + " ends after " + std::to_string(file_.size()) +
                               " bytes, expected " + std::to_string(offset + length) +
                               "; copy it again");
    }
    start_ = file_.data() + offset;
    uint64_t held = length ? length : file_.size() - offset;
    if (held < kHeader || memcmp(start_, kMagic, sizeof kMagic - 1) != 0) {
      throw std::runtime_error(path + " is not a pack: expected one that starts with " + kMagic);
    }
    memcpy(&size_, start_ + sizeof kMagic - 1, sizeof size_);
    if (size_ != held - kHeader) {
      throw std::runtime_error("pack " + path + " holds " + std::to_string(held - kHeader) +
                               " payload bytes, its header says " + std::to_string(size_) +
                               "; copy it again");
    }
  }

  const uint8_t* payload() const { return start_ + kHeader; }
  size_t size() const { return size_; }
  // Of the layout and the shared payload that the pack was coded against.
  std::string binding() const {
    return std::string(reinterpret_cast<const char*>(start_) + 16, kBinding);
  }

 private:
  File file_;
  const uint8_t* start_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace hydraopt

// Memory of files and of this process, from the kernel.

#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "command.hpp"
#include "reader.hpp"

// Share of a file that is in the page cache.
inline double resident(const hydraopt::File& file) {
  size_t page = sysconf(_SC_PAGESIZE);
  std::vector<unsigned char> pages((file.size() + page - 1) / page);
  void* data = const_cast<uint8_t*>(file.data());
  if (pages.empty() || mincore(data, file.size(), pages.data()) != 0) return 0;
  size_t held = std::count_if(pages.begin(), pages.end(), [](auto p) { return p & 1; });
  return static_cast<double>(held) / pages.size();
}

// Evicts a file from the page cache; returns the share that stays.
inline double evicted(const std::string& path) {
  int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail("cannot open %s", path.c_str());
  fsync(file);  // only clean pages are dropped
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  close(file);
  return resident(hydraopt::File(path));
}

// A field of /proc/self/status in bytes, such as VmRSS.
inline long status_bytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(name + ":", 0) == 0) return std::stol(line.substr(name.size() + 1)) * 1024;
  }
  return 0;
}

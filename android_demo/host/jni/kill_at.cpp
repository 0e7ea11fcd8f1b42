// Preloaded, ends the process just before its change number KILL_AT, from 0, of what lies below the
// directory KILL_BELOW; half of a write that is due is written.

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

bool due(const char* path) {
  static int changes = 0;
  const char* below = getenv("KILL_BELOW");
  const char* at = getenv("KILL_AT");
  if (below == nullptr || at == nullptr || strncmp(path, below, strlen(below)) != 0) return false;
  return changes++ == atoi(at);
}

void before_change(const char* path) {
  if (due(path)) raise(SIGKILL);
}

bool due(int file) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return false;
  path[size] = 0;
  return due(path);
}

template <typename Function>
Function next(const char* name, Function) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = va_arg(arguments, mode_t);
  va_end(arguments);
  if ((flags & O_ACCMODE) != O_RDONLY) before_change(path);
  return next("open64", open64)(path, flags, mode);
}

ssize_t write(int file, const void* bytes, size_t size) {
  const auto write_all = next("write", write);
  if (due(file)) {
    write_all(file, bytes, size / 2);
    raise(SIGKILL);
  }
  return write_all(file, bytes, size);
}

int fsync(int file) {
  if (due(file)) raise(SIGKILL);
  return next("fsync", fsync)(file);
}

int rename(const char* source, const char* target) {
  before_change(target);
  return next("rename", rename)(source, target);
}

int mkdir(const char* path, mode_t mode) {
  before_change(path);
  return next("mkdir", mkdir)(path, mode);
}

int remove(const char* path) {
  before_change(path);
  return next("remove", remove)(path);
}

int unlink(const char* path) {
  before_change(path);
  return next("unlink", unlink)(path);
}
}

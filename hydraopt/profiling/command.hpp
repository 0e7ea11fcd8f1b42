// Helpers of the runner's commands: arguments, messages, times and JSON.

#pragma once

#include <executorch/runtime/core/error.h>

#include <cctype>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

inline int current_line = 0;  // of the script, for messages

// Ends the runner with one line on standard error.
[[noreturn]] inline void fail(const char* format, ...) {
  va_list values;
  va_start(values, format);
  fprintf(stderr, "\nerror: line %d of the script: ", current_line);
  vfprintf(stderr, format, values);
  fprintf(stderr, "\n");
  va_end(values);
  exit(1);
}

inline void check(executorch::runtime::Error error, const std::string& what) {
  if (error != executorch::runtime::Error::Ok) {
    fail("cannot %s: %s (0x%x)", what.c_str(), executorch::runtime::to_string(error),
         static_cast<unsigned>(error));
  }
}

// Milliseconds of a clock that never goes back.
inline double now() {
  using namespace std::chrono;
  return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

inline std::string json(double value) {
  char text[32];
  snprintf(text, sizeof text, "%.6f", value);
  return text;
}

template <typename T>
std::string json(const std::vector<T>& values) {
  std::string text = "[";
  for (const T& value : values) {
    if constexpr (std::is_floating_point_v<T>) {
      text += json(value) + ",";
    } else {
      text += std::to_string(value) + ",";
    }
  }
  if (!values.empty()) text.pop_back();
  return text + "]";
}

// The remaining arguments; at least one.
inline std::vector<std::string> words(std::istringstream& arguments) {
  std::vector<std::string> all;
  for (std::string one; arguments >> one;) all.push_back(one);
  if (all.empty()) fail("an argument is missing");
  return all;
}

inline std::string word(std::istringstream& arguments) {
  auto all = words(arguments);
  if (all.size() != 1) fail("expected one argument, found %zu", all.size());
  return all[0];
}

inline uint64_t natural(const std::string& text) {
  char* end;
  uint64_t value = strtoull(text.c_str(), &end, 10);
  if (*end || !isdigit(text[0])) fail("expected a number, found %s", text.c_str());
  return value;
}

inline uint64_t positive(const std::string& text) {
  uint64_t value = natural(text);
  if (value == 0) fail("expected a positive number, found 0");
  return value;
}

// Secret<T>: a value that does not print. Only reveal() gives it out, so `grep reveal` lists every
// use.
#pragma once

#include <utility>

namespace tango {

template <typename T>
class Secret {
 public:
  Secret() = default;
  explicit Secret(T value) : value_(std::move(value)) {}
  const T& reveal() const { return value_; }
  bool empty() const { return value_.empty(); }

 private:
  T value_{};
};

}  // namespace tango

// Result<T> and Error: the one way to say that something failed. Every room uses it; exceptions
// from libraries are caught at the wall of the room that calls them and become an Error.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace tango {

// Coarse class of a failure: decides retry policy and exit code. `reason` is the fine one.
enum class Code {
  kInvalid,      // the caller's input is wrong; retrying cannot help
  kNotFound,     // the named thing does not exist
  kExists,       // it exists already
  kConflict,     // somebody else changed it; read again
  kDenied,       // not authenticated or not authorised
  kUnsupported,  // valid, but not implemented by this version
  kUnavailable,  // a peer cannot be reached or answered 5xx/429; retry later
  kTimeout,      // a deadline passed
  kExhausted,    // disk, memory, quota, size limit
  kCancelled,    // stopped on request
  kIo,           // a local I/O operation failed
  kInternal,     // a bug
};
std::string_view to_string(Code code);

struct [[nodiscard]] Error {
  Code code = Code::kInternal;
  std::string reason;   // stable CamelCase word; goes unchanged into conditions, events, metrics
  std::string message;  // one sentence for a person: what, where, why, what to do
  std::vector<std::string> context;  // outermost last: "while reading model.yaml"

  // "message (while ..., while ...)"
  std::string to_string() const;
  Error with_context(std::string what) && {
    context.push_back(std::move(what));
    return std::move(*this);
  }
};

inline Error make_error(Code code, std::string_view reason, std::string message) {
  return Error{code, std::string(reason), std::move(message), {}};
}

// Error from errno; reason is DiskFull, PermissionDenied, NotFound, ... or IoError.
Error errno_error(int err, std::string what);

struct Ok {};

template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    assert(ok());
    return std::get<0>(state_);
  }
  const T& value() const& {
    assert(ok());
    return std::get<0>(state_);
  }
  T&& value() && {
    assert(ok());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    assert(!ok());
    return std::get<1>(state_);
  }
  Error&& error() && {
    assert(!ok());
    return std::get<1>(std::move(state_));
  }
  T value_or(T fallback) && { return ok() ? std::get<0>(std::move(state_)) : std::move(fallback); }

 private:
  std::variant<T, Error> state_;
};

// Result of an operation that yields nothing.
using Status = Result<Ok>;
inline Status ok_status() { return Ok{}; }

}  // namespace tango

#define TANGO_CONCAT_(a, b) a##b
#define TANGO_CONCAT(a, b) TANGO_CONCAT_(a, b)

// TRY(expr): returns the error of `expr` from the enclosing function, else goes on.
#define TRY(expr)                                               \
  do {                                                          \
    auto&& tango_try_ = (expr);                                 \
    if (!tango_try_.ok()) return std::move(tango_try_).error(); \
  } while (0)

// TRY_ASSIGN(auto x, expr): declares x from the value of `expr`, or returns its error.
#define TRY_ASSIGN(decl, expr) TRY_ASSIGN_(TANGO_CONCAT(tango_try_, __LINE__), decl, expr)
#define TRY_ASSIGN_(tmp, decl, expr)            \
  auto tmp = (expr);                            \
  if (!tmp.ok()) return std::move(tmp).error(); \
  decl = std::move(tmp).value()

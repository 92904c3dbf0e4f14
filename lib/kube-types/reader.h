// Reads JSON text straight into typed structs, in one pass (simdjson behind an opaque cursor, so
// this header is light). Used by core.cpp and by crdgen's output. Unknown fields are skipped:
// refusing them is the API server's and validate's duty.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/kube-types/meta.h"

namespace tango::kube {

class JsonCursor;  // the value that is being read; valid only inside the callback that gets it

// Where and why reading failed; the path is put together while the calls return.
struct ReadContext {
  std::string path;
  std::string_view reason;
  std::string problem;
  bool fail(std::string_view why, std::string text) {
    reason = why;
    problem = std::move(text);
    return false;
  }
  // Prepends one step to the path; returns false, as every failing read does.
  bool at(std::string_view key);
  bool at_index(std::size_t index);
};

// Non-owning reference to a callable.
template <typename Signature>
class FunctionRef;
template <typename R, typename... Args>
class FunctionRef<R(Args...)> {
 public:
  template <typename F, typename = std::enable_if_t<!std::is_same_v<std::decay_t<F>, FunctionRef>>>
  FunctionRef(F&& f)  // NOLINT
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* o, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(o))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// Calls `field` for every member of an object (null members are left out) / `item` for every
// element.
bool read_fields(JsonCursor& in, FunctionRef<bool(std::string_view key, JsonCursor&)> field,
                 ReadContext& ctx);
bool read_items(JsonCursor& in, FunctionRef<bool(JsonCursor&)> item, ReadContext& ctx);

bool read(JsonCursor& in, std::string& out, ReadContext& ctx);
bool read(JsonCursor& in, bool& out, ReadContext& ctx);
bool read(JsonCursor& in, std::int64_t& out, ReadContext& ctx);
bool read(JsonCursor& in, std::int32_t& out, ReadContext& ctx);
bool read(JsonCursor& in, double& out, ReadContext& ctx);
bool read(JsonCursor& in, TimePoint& out, ReadContext& ctx);
bool read(JsonCursor& in, Json& out, ReadContext& ctx);
bool read(JsonCursor& in, ObjectMeta& out, ReadContext& ctx);
bool read(JsonCursor& in, OwnerReference& out, ReadContext& ctx);
bool read(JsonCursor& in, Condition& out, ReadContext& ctx);
bool read(JsonCursor& in, LabelRequirement& out, ReadContext& ctx);
bool read(JsonCursor& in, LabelSelector& out, ReadContext& ctx);
// A string, or a number as its text ("Auto or number", quantities, ports).
bool read_scalar(JsonCursor& in, std::string& out, ReadContext& ctx);
bool read_scalar_map(JsonCursor& in, std::map<std::string, std::string>& out, ReadContext& ctx);

template <typename T>
bool read(JsonCursor& in, std::optional<T>& out, ReadContext& ctx);
template <typename T>
bool read(JsonCursor& in, std::vector<T>& out, ReadContext& ctx);
template <typename T>
bool read(JsonCursor& in, std::map<std::string, T>& out, ReadContext& ctx);

template <typename T>
bool read(JsonCursor& in, std::optional<T>& out, ReadContext& ctx) {
  return read(in, out.emplace(), ctx);
}
template <typename T>
bool read(JsonCursor& in, std::vector<T>& out, ReadContext& ctx) {
  out.clear();
  return read_items(
      in,
      [&](JsonCursor& item) {
        return read(item, out.emplace_back(), ctx) || ctx.at_index(out.size() - 1);
      },
      ctx);
}
template <typename T>
bool read(JsonCursor& in, std::map<std::string, T>& out, ReadContext& ctx) {
  out.clear();
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& value) {
        return read(value, out[std::string(key)], ctx) || ctx.at(key);
      },
      ctx);
}
// A member of an object: adds its key to the path on failure.
template <typename T>
bool read_at(std::string_view key, JsonCursor& in, T& out, ReadContext& ctx) {
  return read(in, out, ctx) || ctx.at(key);
}

// Reads one JSON text. Errors: InvalidJson, WrongType, UnknownEnumValue ("spec.task: ...").
Status read_text(std::string_view json, FunctionRef<bool(JsonCursor&, ReadContext&)> read_root);

template <typename T>
Result<T> read_object(std::string_view json) {
  T out;
  TRY(read_text(json, [&](JsonCursor& in, ReadContext& ctx) { return read(in, out, ctx); }));
  return out;
}

}  // namespace tango::kube

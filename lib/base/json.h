// JSON values (nlohmann, for small and mutable documents), bounded parsing and the canonical form
// that is hashed and signed. Hot readers (watch streams) use simdjson inside their own room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"

extern template class nlohmann::basic_json<>;

namespace tango {

using Json = nlohmann::json;  // objects are ordered by key

struct JsonLimits {
  std::size_t max_bytes = 16u << 20;
  int max_depth = 64;
};

// Parses one JSON text. Errors: InvalidJson (with byte offset), JsonTooLarge, JsonTooDeep,
// DuplicateKey (two equal keys in one object).
Result<Json> parse_json(std::string_view text, const JsonLimits& limits = {});

// Compact text; invalid UTF-8 is replaced. `indent` < 0 is one line.
std::string dump_json(const Json& value, int indent = -1);

// RFC 8785 (JSON Canonicalization Scheme): sorted keys, ECMAScript numbers. What inputHash,
// signatures and digests are computed over. NaN and infinities are refused.
Result<std::string> canonical_json(const Json& value);

// Typed look-ups in an object: the value, or `fallback` when the key is absent, null or of another
// type. For input that must be checked, use require_* which name the path in the error.
std::string get_string(const Json& object, std::string_view key, std::string_view fallback = {});
std::int64_t get_int(const Json& object, std::string_view key, std::int64_t fallback = 0);
double get_double(const Json& object, std::string_view key, double fallback = 0);
bool get_bool(const Json& object, std::string_view key, bool fallback = false);
// The member, or a static null when absent. Never throws.
const Json& get(const Json& object, std::string_view key);
// Follows dotted keys: at_path(j, "status.conditions"). Static null when absent.
const Json& at_path(const Json& object, std::string_view dotted);

// Errors: MissingField, WrongType; `where` is the path of `object` for the message.
Result<std::string> require_string(const Json& object, std::string_view key,
                                   std::string_view where);
Result<std::int64_t> require_int(const Json& object, std::string_view key, std::string_view where);
Result<Json> require_object(const Json& object, std::string_view key, std::string_view where);

// RFC 7386 merge patch, in place.
void merge_patch(Json& target, const Json& patch);

}  // namespace tango

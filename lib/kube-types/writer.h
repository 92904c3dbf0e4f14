// The other direction of reader.h: typed values into Json. Light overloads that core.cpp and
// crdgen's output share; never called with user types other than those with an encode() of their
// own.
#pragma once

#include <charconv>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/kube-types/meta.h"

namespace tango::kube {

inline Json to_value(const std::string& v) { return v; }
inline Json to_value(bool v) { return v; }
inline Json to_value(std::int64_t v) { return v; }
inline Json to_value(std::int32_t v) { return v; }
inline Json to_value(double v) { return v; }
inline Json to_value(const Json& v) { return v; }
inline Json to_value(TimePoint v) { return format_time(v); }
template <typename T>
Json to_value(const std::vector<T>& v);
template <typename T>
Json to_value(const std::map<std::string, T>& v);
template <typename T>
auto to_value(const T& v) -> decltype(encode(v)) {
  return encode(v);
}
template <typename T>
Json to_value(const std::vector<T>& v) {
  Json out = Json::array();
  for (const auto& item : v) out.push_back(to_value(item));
  return out;
}
template <typename T>
Json to_value(const std::map<std::string, T>& v) {
  Json out = Json::object();
  for (const auto& [key, item] : v) out[key] = to_value(item);
  return out;
}

// A number when the text is one ("8080", "4"), else the string ("Auto", "300Mi").
Json scalar_value(const std::string& text);
Json scalar_value(const std::map<std::string, std::string>& values);

template <typename T>
void put(Json& object, const char* key, const T& value) {
  object[key] = to_value(value);
}
template <typename T>
void put_optional(Json& object, const char* key, const std::optional<T>& value) {
  if (value) object[key] = to_value(*value);
}
// Strings, lists, maps and free-form objects: left out when empty.
template <typename T>
void put_filled(Json& object, const char* key, const T& value) {
  if (!value.empty()) object[key] = to_value(value);
}

}  // namespace tango::kube

#include "standalone/protobuf_body.h"

#include <cstdint>
#include <functional>
#include <string>

namespace tango::standalone {
namespace {

constexpr std::string_view kMagic("k8s\0", 4);

bool read_varint(std::string_view& in, std::uint64_t& out) {
  out = 0;
  for (int shift = 0; shift < 64 && !in.empty(); shift += 7) {
    auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    out |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

// Calls `visit` for every field; false: malformed.
bool each_field(std::string_view in,
                const std::function<void(std::uint64_t field, std::string_view bytes,
                                         std::uint64_t number)>& visit) {
  while (!in.empty()) {
    std::uint64_t key = 0, value = 0;
    if (!read_varint(in, key) || !((key & 7) == 0 || (key & 7) == 2) || !read_varint(in, value))
      return false;
    if ((key & 7) == 0) {
      visit(key >> 3, {}, value);
      continue;
    }
    if (value > in.size()) return false;
    visit(key >> 3, in.substr(0, value), 0);
    in.remove_prefix(value);
  }
  return true;
}

Json attributes(std::string_view bytes, bool& good) {
  static const char* const kNames[] = {"",        "namespace", "verb",        "group",
                                       "version", "resource",  "subresource", "name"};
  Json out = Json::object();
  good = good && each_field(bytes, [&](std::uint64_t field, std::string_view text, std::uint64_t) {
           if (field >= 1 && field <= 7) out[kNames[field]] = std::string(text);
         });
  return out;
}

Json token_spec(std::string_view bytes, bool& good) {
  Json out = {{"audiences", Json::array()}};
  good = good &&
         each_field(bytes, [&](std::uint64_t field, std::string_view text, std::uint64_t number) {
           if (field == 1) out["audiences"].push_back(std::string(text));
           if (field == 4) out["expirationSeconds"] = static_cast<std::int64_t>(number);
         });
  return out;
}

}  // namespace

std::optional<Json> protobuf_body(std::string_view bytes) {
  if (!bytes.starts_with(kMagic)) return std::nullopt;
  std::string version, kind;
  std::string_view raw;
  bool good = true;
  // runtime.Unknown: typeMeta = 1 {apiVersion = 1, kind = 2}, raw = 2.
  good = each_field(bytes.substr(kMagic.size()),
                    [&](std::uint64_t field, std::string_view value, std::uint64_t) {
                      if (field == 1) {
                        good =
                            each_field(value,
                                       [&](std::uint64_t f, std::string_view text, std::uint64_t) {
                                         if (f == 1) version = text;
                                         if (f == 2) kind = text;
                                       }) &&
                            good;
                      }
                      if (field == 2) raw = value;
                    }) &&
         good;
  Json out = {{"apiVersion", version}, {"kind", kind}, {"spec", Json::object()}};
  const bool access = kind == "SelfSubjectAccessReview", token = kind == "TokenRequest";
  if (!good || (!access && !token && kind != "SelfSubjectReview")) return std::nullopt;
  good = each_field(raw,
                    [&](std::uint64_t field, std::string_view spec, std::uint64_t) {
                      if (field != 2) return;
                      if (token) out["spec"] = token_spec(spec, good);
                      if (!access) return;
                      good = each_field(
                                 spec,
                                 [&](std::uint64_t f, std::string_view value, std::uint64_t) {
                                   if (f == 1)
                                     out["spec"]["resourceAttributes"] = attributes(value, good);
                                 }) &&
                             good;
                    }) &&
         good;
  if (!good) return std::nullopt;
  return out;
}

}  // namespace tango::standalone

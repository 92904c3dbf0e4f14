#include "lib/artifacts/strict.h"

namespace tango::artifacts {
namespace {
const Json kEmptyObject = Json::object();
const Json kEmptyArray = Json::array();
}  // namespace

StrictObject::StrictObject(const Json& value, std::string where, std::string_view reason)
    : value_(value.is_object() ? value : kEmptyObject), where_(std::move(where)), reason_(reason) {
  if (!value.is_object()) {
    status_ = make_error(Code::kInvalid, reason_,
                         (where_.empty() ? "the document" : where_) + " must be a JSON object");
  }
}

std::string StrictObject::path(std::string_view key) const {
  return where_.empty() ? std::string(key) : where_ + "." + std::string(key);
}

void StrictObject::fail(std::string_view key, std::string why) {
  if (!status_.ok()) return;
  status_ = make_error(Code::kInvalid, reason_, path(key) + " " + std::move(why));
}

void StrictObject::nest(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

bool StrictObject::has(std::string_view key) {
  seen_.emplace(key);
  return value_.find(key) != value_.end();
}

const Json* StrictObject::member(std::string_view key) {
  seen_.emplace(key);
  auto it = value_.find(key);
  if (it == value_.end()) {
    fail(key, "is missing");
    return nullptr;
  }
  return &*it;
}

std::string StrictObject::text(std::string_view key, std::size_t min, std::size_t max) {
  const Json* m = member(key);
  if (m == nullptr) return {};
  if (!m->is_string()) {
    fail(key, "must be a string");
    return {};
  }
  const auto& s = m->get_ref<const std::string&>();
  if (s.size() < min || s.size() > max) {
    fail(key, "must have " + std::to_string(min) + " to " + std::to_string(max) + " bytes");
    return {};
  }
  return s;
}

std::uint64_t StrictObject::number(std::string_view key, std::uint64_t max) {
  const Json* m = member(key);
  if (m == nullptr) return 0;
  if (!m->is_number_unsigned() || m->get<std::uint64_t>() > max) {
    fail(key, "must be an integer from 0 to " + std::to_string(max));
    return 0;
  }
  return m->get<std::uint64_t>();
}

bool StrictObject::boolean(std::string_view key) {
  const Json* m = member(key);
  if (m == nullptr) return false;
  if (!m->is_boolean()) {
    fail(key, "must be true or false");
    return false;
  }
  return m->get<bool>();
}

Digest StrictObject::digest(std::string_view key) {
  std::string s = text(key, 71, 71);
  auto d = Digest::parse(s);
  if (d.ok()) return *d;
  fail(key, "must be \"sha256:\" and 64 lower-case hexadecimal digits");
  return Digest(Digest::Bytes{});
}

Digest StrictObject::digest_hex(std::string_view key) {
  std::string s = text(key, 64, 64);
  auto d = Digest::from_hex(s);
  if (d.ok() && d->hex() == s) return *d;
  fail(key, "must be 64 lower-case hexadecimal digits");
  return Digest(Digest::Bytes{});
}

const Json& StrictObject::object(std::string_view key) {
  const Json* m = member(key);
  if (m == nullptr) return kEmptyObject;
  if (!m->is_object()) {
    fail(key, "must be an object");
    return kEmptyObject;
  }
  return *m;
}

const Json& StrictObject::array(std::string_view key, std::size_t max) {
  const Json* m = member(key);
  if (m == nullptr) return kEmptyArray;
  if (!m->is_array() || m->size() > max) {
    fail(key, "must be a list of at most " + std::to_string(max));
    return kEmptyArray;
  }
  return *m;
}

std::vector<std::string> StrictObject::texts(std::string_view key, std::size_t max,
                                             std::size_t max_text) {
  std::vector<std::string> out;
  for (const Json& item : array(key, max)) {
    if (!item.is_string() || item.get_ref<const std::string&>().size() > max_text) {
      fail(key, "must hold strings of at most " + std::to_string(max_text) + " bytes");
      return {};
    }
    out.push_back(item.get<std::string>());
  }
  return out;
}

void StrictObject::expect(std::string_view key, std::string_view wanted) {
  if (text(key, 0, 256) != wanted) fail(key, "must be \"" + std::string(wanted) + "\"");
}

Status StrictObject::finish() {
  for (const auto& [key, value] : value_.items()) {
    if (!seen_.contains(key)) fail(key, "is not a known member");
  }
  return status_;
}

Result<Json> parse_canonical(std::string_view bytes, std::size_t max_bytes, std::string_view reason,
                             std::string_view what) {
  if (bytes.size() > max_bytes) {
    return make_error(Code::kExhausted, "DocumentTooLarge",
                      "the " + std::string(what) + " has " + std::to_string(bytes.size()) +
                          " bytes; the limit is " + std::to_string(max_bytes));
  }
  auto wrong = [&](std::string why) {
    return make_error(Code::kInvalid, reason, "the " + std::string(what) + " " + std::move(why));
  };
  auto value = parse_json(bytes, JsonLimits{max_bytes, 16});
  if (!value.ok()) return wrong("is not JSON: " + value.error().message);
  auto again = canonical_json(*value);
  if (!again.ok() || *again != bytes) return wrong("is not in canonical form (RFC 8785)");
  return std::move(*value);
}

}  // namespace tango::artifacts

#include "lib/base/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

template class nlohmann::basic_json<>;

namespace tango {
namespace {

const Json kNull;

// SAX consumer that builds the value while it checks depth and duplicate keys.
class BoundedBuilder : public nlohmann::json_sax<Json> {
 public:
  explicit BoundedBuilder(int max_depth) : max_depth_(max_depth) {}

  bool null() override { return put(nullptr); }
  bool boolean(bool v) override { return put(v); }
  bool number_integer(number_integer_t v) override { return put(v); }
  bool number_unsigned(number_unsigned_t v) override { return put(v); }
  bool number_float(number_float_t v, const string_t&) override { return put(v); }
  bool string(string_t& v) override { return put(std::move(v)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& k) override {
    if (stack_.back()->contains(k)) {
      error_ = make_error(Code::kInvalid, "DuplicateKey",
                          "the key \"" + k + "\" appears twice in one object");
      return false;
    }
    key_ = std::move(k);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& e) override {
    std::string what = e.what();
    if (auto at = what.find("] "); at != std::string::npos) what = what.substr(at + 2);
    error_ = make_error(Code::kInvalid, "InvalidJson",
                        "not valid JSON at byte " + std::to_string(position) + ": " + what);
    return false;
  }

  Json root;
  Error error_ = make_error(Code::kInvalid, "InvalidJson", "not valid JSON");

 private:
  template <typename T>
  bool put(T&& v) {
    place(Json(std::forward<T>(v)));
    return true;
  }
  Json* place(Json v) {
    if (stack_.empty()) {
      root = std::move(v);
      return &root;
    }
    Json& top = *stack_.back();
    if (top.is_array()) {
      top.push_back(std::move(v));
      return &top.back();
    }
    return &(top[key_] = std::move(v));
  }
  bool open(Json v) {
    if (static_cast<int>(stack_.size()) >= max_depth_) {
      error_ = make_error(Code::kInvalid, "JsonTooDeep",
                          "JSON is nested deeper than " + std::to_string(max_depth_) + " levels");
      return false;
    }
    stack_.push_back(place(std::move(v)));
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  int max_depth_;
  std::vector<Json*> stack_;  // containers being filled; a child never moves while it is open
  std::string key_;
};

// ECMAScript Number::toString for finite doubles (RFC 8785 section 3.2.2.3).
std::string ecma_number(double v) {
  if (v == 0) return "0";
  char buf[64];
  auto end = std::to_chars(buf, buf + sizeof buf, v, std::chars_format::scientific).ptr;
  std::string text(buf, end);
  std::string sign;
  if (text[0] == '-') {
    sign = "-";
    text.erase(0, 1);
  }
  auto e = text.find('e');
  int exponent = std::stoi(text.substr(e + 1));
  std::string digits = text.substr(0, e);
  digits.erase(std::remove(digits.begin(), digits.end(), '.'), digits.end());
  int k = static_cast<int>(digits.size());
  int n = exponent + 1;
  if (k <= n && n <= 21) return sign + digits + std::string(static_cast<std::size_t>(n - k), '0');
  if (0 < n && n <= 21) {
    return sign + digits.substr(0, static_cast<std::size_t>(n)) + "." +
           digits.substr(static_cast<std::size_t>(n));
  }
  if (-6 < n && n <= 0)
    return sign + "0." + std::string(static_cast<std::size_t>(-n), '0') + digits;
  std::string exp = (n - 1 >= 0 ? "+" : "-") + std::to_string(std::abs(n - 1));
  if (k == 1) return sign + digits + "e" + exp;
  return sign + digits.substr(0, 1) + "." + digits.substr(1) + "e" + exp;
}

// UTF-16 code unit order, which differs from byte order only between U+E000..U+FFFF and the
// supplementary planes.
bool utf16_less(const std::string& a, const std::string& b) {
  auto weight = [](unsigned char c) {
    // Lead bytes F0..F4 (surrogate pairs, D800..DFFF) sort before EE, EF (U+E000..U+FFFF).
    if (c >= 0xF0) return static_cast<int>(c) - 0xF0 + 0xEE;
    if (c >= 0xEE) return static_cast<int>(c) + 0x10;
    return static_cast<int>(c);
  };
  std::size_t n = std::min(a.size(), b.size());
  for (std::size_t i = 0; i < n; ++i) {
    auto x = static_cast<unsigned char>(a[i]);
    auto y = static_cast<unsigned char>(b[i]);
    if (x != y) return weight(x) < weight(y);
  }
  return a.size() < b.size();
}

Status canonical(const Json& v, std::string& out) {
  switch (v.type()) {
    case Json::value_t::number_float: {
      double d = v.get<double>();
      if (!std::isfinite(d)) {
        return make_error(Code::kInvalid, "InvalidNumber",
                          "NaN and infinities have no canonical JSON form");
      }
      out += ecma_number(d);
      return Ok{};
    }
    case Json::value_t::array: {
      out += '[';
      bool first = true;
      for (const Json& item : v) {
        if (!first) out += ',';
        first = false;
        TRY(canonical(item, out));
      }
      out += ']';
      return Ok{};
    }
    case Json::value_t::object: {
      std::vector<const std::string*> keys;
      for (auto it = v.begin(); it != v.end(); ++it) keys.push_back(&it.key());
      std::sort(keys.begin(), keys.end(), [](auto* a, auto* b) { return utf16_less(*a, *b); });
      out += '{';
      bool first = true;
      for (const std::string* key : keys) {
        if (!first) out += ',';
        first = false;
        TRY(canonical(Json(*key), out));
        out += ':';
        TRY(canonical(v[*key], out));
      }
      out += '}';
      return Ok{};
    }
    case Json::value_t::binary:
    case Json::value_t::discarded:
      return make_error(Code::kInvalid, "InvalidJson", "value has no JSON form");
    case Json::value_t::string: {
      try {
        out += v.dump();
      } catch (const std::exception&) {
        return make_error(Code::kInvalid, "InvalidUtf8", "a string is not valid UTF-8");
      }
      return Ok{};
    }
    default:
      out += v.dump();
      return Ok{};
  }
}

}  // namespace

Result<Json> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return make_error(Code::kExhausted, "JsonTooLarge",
                      "JSON text has " + std::to_string(text.size()) + " bytes; the limit is " +
                          std::to_string(limits.max_bytes));
  }
  BoundedBuilder builder(limits.max_depth);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) return std::move(builder.error_);
  return std::move(builder.root);
}

std::string dump_json(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Result<std::string> canonical_json(const Json& value) {
  std::string out;
  TRY(canonical(value, out));
  return out;
}

const Json& get(const Json& object, std::string_view key) {
  if (!object.is_object()) return kNull;
  auto it = object.find(key);
  return it == object.end() ? kNull : *it;
}

const Json& at_path(const Json& object, std::string_view dotted) {
  const Json* at = &object;
  while (!dotted.empty()) {
    auto dot = dotted.find('.');
    at = &get(*at, dotted.substr(0, dot));
    dotted = dot == std::string_view::npos ? std::string_view{} : dotted.substr(dot + 1);
  }
  return *at;
}

std::string get_string(const Json& object, std::string_view key, std::string_view fallback) {
  const Json& v = get(object, key);
  return v.is_string() ? v.get<std::string>() : std::string(fallback);
}
std::int64_t get_int(const Json& object, std::string_view key, std::int64_t fallback) {
  const Json& v = get(object, key);
  return v.is_number_integer() ? v.get<std::int64_t>() : fallback;
}
double get_double(const Json& object, std::string_view key, double fallback) {
  const Json& v = get(object, key);
  return v.is_number() ? v.get<double>() : fallback;
}
bool get_bool(const Json& object, std::string_view key, bool fallback) {
  const Json& v = get(object, key);
  return v.is_boolean() ? v.get<bool>() : fallback;
}

namespace {
Result<const Json*> require(const Json& object, std::string_view key, std::string_view where) {
  std::string path = where.empty() ? std::string(key) : std::string(where) + "." + std::string(key);
  const Json& v = get(object, key);
  if (v.is_null()) return make_error(Code::kInvalid, "MissingField", path + " is missing");
  return &v;
}
Error wrong_type(std::string_view key, std::string_view where, std::string_view wanted,
                 const Json& got) {
  std::string path = where.empty() ? std::string(key) : std::string(where) + "." + std::string(key);
  return make_error(Code::kInvalid, "WrongType",
                    path + " must be " + std::string(wanted) + ", but is " + got.type_name());
}
}  // namespace

Result<std::string> require_string(const Json& object, std::string_view key,
                                   std::string_view where) {
  TRY_ASSIGN(const Json* v, require(object, key, where));
  if (!v->is_string()) return wrong_type(key, where, "a string", *v);
  return v->get<std::string>();
}
Result<std::int64_t> require_int(const Json& object, std::string_view key, std::string_view where) {
  TRY_ASSIGN(const Json* v, require(object, key, where));
  if (!v->is_number_integer()) return wrong_type(key, where, "an integer", *v);
  return v->get<std::int64_t>();
}
Result<Json> require_object(const Json& object, std::string_view key, std::string_view where) {
  TRY_ASSIGN(const Json* v, require(object, key, where));
  if (!v->is_object()) return wrong_type(key, where, "an object", *v);
  return Json(*v);
}

void merge_patch(Json& target, const Json& patch) {
  if (!patch.is_object()) {
    target = patch;
    return;
  }
  if (!target.is_object()) target = Json::object();
  for (auto it = patch.begin(); it != patch.end(); ++it) {
    if (it->is_null()) {
      target.erase(it.key());
    } else {
      merge_patch(target[it.key()], *it);
    }
  }
}

}  // namespace tango

// Kubernetes quantities (apimachinery's resource.Quantity, without its canonical rewriting).
#include <array>
#include <charconv>
#include <limits>

#include "lib/kube-types/meta.h"
#include "lib/kube-types/writer.h"

namespace tango::kube {
namespace {

__extension__ using Wide = __int128;

constexpr Wide kNano = 1'000'000'000;

struct Suffix {
  std::string_view text;
  Wide nanos;  // one unit, in 1e-9
};
constexpr Wide kKilo = 1000, kKibi = 1024;
constexpr std::array<Suffix, 16> kSuffixes{{
    {"", kNano},
    {"n", 1},
    {"u", 1000},
    {"m", 1'000'000},
    {"k", kNano* kKilo},
    {"M", kNano* kKilo* kKilo},
    {"G", kNano* kKilo* kKilo* kKilo},
    {"T", kNano* kKilo* kKilo* kKilo* kKilo},
    {"P", kNano* kKilo* kKilo* kKilo* kKilo* kKilo},
    {"E", kNano* kKilo* kKilo* kKilo* kKilo* kKilo* kKilo},
    {"Ki", kNano* kKibi},
    {"Mi", kNano* kKibi* kKibi},
    {"Gi", kNano* kKibi* kKibi* kKibi},
    {"Ti", kNano* kKibi* kKibi* kKibi* kKibi},
    {"Pi", kNano* kKibi* kKibi* kKibi* kKibi* kKibi},
    {"Ei", kNano* kKibi* kKibi* kKibi* kKibi* kKibi* kKibi},
}};

Error invalid(std::string_view text) {
  return make_error(Code::kInvalid, "InvalidQuantity",
                    "\"" + std::string(text.substr(0, 64)) +
                        "\" is not a quantity; write a number with an optional suffix, such as "
                        "300Mi, 1.5 or 500m");
}

// The value in 1e-9 units, rounded up.
Result<Wide> parse_nanos(std::string_view text) {
  constexpr std::size_t kMaxDigits = 18;  // beyond int64 in every unit that is used here
  std::string_view rest = text;
  bool negative = false;
  if (!rest.empty() && (rest[0] == '+' || rest[0] == '-')) {
    negative = rest[0] == '-';
    rest.remove_prefix(1);
  }
  Wide digits = 0;
  std::size_t count = 0, fraction = 0;
  bool seen_point = false;
  while (!rest.empty()) {
    char c = rest[0];
    if (c == '.' && !seen_point) {
      seen_point = true;
    } else if (c >= '0' && c <= '9') {
      if (digits != 0 || c != '0') ++count;
      if (count > kMaxDigits) return invalid(text);
      digits = digits * 10 + (c - '0');
      if (seen_point) ++fraction;
    } else {
      break;
    }
    rest.remove_prefix(1);
  }
  if (rest.size() == text.size() || (count == 0 && text.find('0') == std::string_view::npos)) {
    return invalid(text);
  }
  Wide unit = 0;
  if (rest.size() > 1 && (rest[0] == 'e' || rest[0] == 'E') && rest[1] != 'i') {
    std::string_view exponent_text = rest.substr(1);
    if (exponent_text[0] == '+') exponent_text.remove_prefix(1);
    int exponent = 0;
    auto [end, ec] = std::from_chars(exponent_text.data(),
                                     exponent_text.data() + exponent_text.size(), exponent);
    if (ec != std::errc() || end != exponent_text.data() + exponent_text.size() || exponent < -9 ||
        exponent > 18) {
      return invalid(text);
    }
    unit = 1;
    for (int i = 0; i < exponent + 9; ++i) unit *= 10;
  } else {
    for (const auto& s : kSuffixes) {
      if (s.text == rest) unit = s.nanos;
    }
    if (unit == 0) return invalid(text);
  }
  constexpr Wide kMaxValue = (Wide{1} << 126);
  if (digits != 0 && unit > kMaxValue / digits) return invalid(text);
  Wide value = digits * unit;
  Wide divisor = 1;
  for (std::size_t i = 0; i < fraction; ++i) divisor *= 10;
  value = (value + divisor - 1) / divisor;
  return negative ? -value : value;
}

Result<std::int64_t> scaled(std::string_view text, Wide unit) {
  TRY_ASSIGN(Wide nanos, parse_nanos(text));
  Wide value = nanos >= 0 ? (nanos + unit - 1) / unit : nanos / unit;
  if (value > std::numeric_limits<std::int64_t>::max() ||
      value < std::numeric_limits<std::int64_t>::min()) {
    return invalid(text);
  }
  return static_cast<std::int64_t>(value);
}

}  // namespace

Result<std::int64_t> parse_quantity_milli(std::string_view text) {
  return scaled(text, kNano / 1000);
}

Result<std::int64_t> parse_quantity(std::string_view text) { return scaled(text, kNano); }

Json scalar_value(const std::string& text) {
  std::int64_t number = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
  // "08080" or "+1" stay as they were written.
  if (ec == std::errc() && end == text.data() + text.size() && std::to_string(number) == text) {
    return number;
  }
  return text;
}

Json scalar_value(const std::map<std::string, std::string>& values) {
  Json out = Json::object();
  for (const auto& [key, value] : values) out[key] = scalar_value(value);
  return out;
}

}  // namespace tango::kube

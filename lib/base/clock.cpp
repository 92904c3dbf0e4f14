#include "lib/base/clock.h"

#include <time.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <thread>

namespace tango {
namespace {

class SystemClock : public Clock {
 public:
  TimePoint now() const override {
    return std::chrono::time_point_cast<Nanos>(std::chrono::system_clock::now());
  }
  Nanos monotonic() const override {
    timespec ts{};
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return Seconds{ts.tv_sec} + Nanos{ts.tv_nsec};
  }
  void sleep_for(Nanos d) override { std::this_thread::sleep_for(d); }
};

std::string format(TimePoint t, bool micros) {
  auto secs = std::chrono::floor<Seconds>(t);
  auto days = std::chrono::floor<std::chrono::days>(secs);
  std::chrono::year_month_day ymd{days};
  auto rest = secs - days;
  long long s = rest.count();
  char buf[64];
  int n = std::snprintf(buf, sizeof buf, "%04d-%02u-%02uT%02lld:%02lld:%02lld",
                        static_cast<int>(ymd.year()), static_cast<unsigned>(ymd.month()),
                        static_cast<unsigned>(ymd.day()), s / 3600, s / 60 % 60, s % 60);
  std::string out(buf, static_cast<std::size_t>(n));
  if (micros) {
    long long us = std::chrono::duration_cast<std::chrono::microseconds>(t - secs).count();
    n = std::snprintf(buf, sizeof buf, ".%06lld", us);
    out.append(buf, static_cast<std::size_t>(n));
  }
  return out + "Z";
}

}  // namespace

Clock& system_clock() {
  static SystemClock clock;
  return clock;
}

std::string format_time(TimePoint t) { return format(t, false); }
std::string format_time_micro(TimePoint t) { return format(t, true); }

Result<TimePoint> parse_time(std::string_view text) {
  auto bad = [&] {
    return make_error(Code::kInvalid, "InvalidTime",
                      "\"" + std::string(text.substr(0, 64)) +
                          "\" is not an RFC 3339 time such as 2026-01-31T12:00:00Z");
  };
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, used = 0;
  std::string s(text);
  if (s.size() < 20 || std::sscanf(s.c_str(), "%4d-%2d-%2d%*1[Tt]%2d:%2d:%2d%n", &year, &month,
                                   &day, &hour, &minute, &second, &used) != 6) {
    return bad();
  }
  std::chrono::year_month_day ymd{std::chrono::year{year},
                                  std::chrono::month{static_cast<unsigned>(month)},
                                  std::chrono::day{static_cast<unsigned>(day)}};
  // A TimePoint counts nanoseconds in 64 bits: it ends in 2262, and would wrap around silently.
  if (year < 1678 || year > 2261) return bad();
  if (!ymd.ok() || hour > 23 || minute > 59 || second > 60) return bad();
  TimePoint t = std::chrono::sys_days{ymd} + std::chrono::hours{hour} +
                std::chrono::minutes{minute} + Seconds{second};
  std::size_t i = static_cast<std::size_t>(used);
  if (i < s.size() && s[i] == '.') {
    long long scale = 100'000'000;
    for (++i; i < s.size() && s[i] >= '0' && s[i] <= '9'; ++i, scale /= 10)
      t += Nanos{(s[i] - '0') * scale};
  }
  if (i + 1 == s.size() && (s[i] == 'Z' || s[i] == 'z')) return t;
  int oh = 0, om = 0;
  char sign = 0;
  if (s.size() - i == 6 && std::sscanf(s.c_str() + i, "%c%2d:%2d", &sign, &oh, &om) == 3 &&
      (sign == '+' || sign == '-')) {
    auto offset = std::chrono::hours{oh} + std::chrono::minutes{om};
    return sign == '+' ? t - offset : t + offset;
  }
  return bad();
}

Result<Nanos> parse_duration(std::string_view text) {
  auto bad = [&] {
    return make_error(
        Code::kInvalid, "InvalidDuration",
        "\"" + std::string(text.substr(0, 64)) + "\" is not a duration such as 30s, 15ms or 1h30m");
  };
  std::string_view rest = text;
  bool negative = false;
  if (rest.starts_with('-') || rest.starts_with('+')) {
    negative = rest[0] == '-';
    rest.remove_prefix(1);
  }
  if (rest == "0") return Nanos{0};
  if (rest.empty() || rest.size() > 48) return bad();
  struct Unit {
    std::string_view name;
    double ns;
  };
  static constexpr std::array<Unit, 8> kUnits{{{"ns", 1},
                                               {"us", 1e3},
                                               {"\xC2\xB5s", 1e3},
                                               {"\xCE\xBCs", 1e3},
                                               {"ms", 1e6},
                                               {"s", 1e9},
                                               {"m", 60e9},
                                               {"h", 3600e9}}};
  double total = 0;
  while (!rest.empty()) {
    std::size_t n = 0;
    bool dot = false;
    while (n < rest.size() && ((rest[n] >= '0' && rest[n] <= '9') || (rest[n] == '.' && !dot)))
      dot |= rest[n++] == '.';
    if (n == 0 || (n == 1 && dot)) return bad();
    double value = std::stod(std::string(rest.substr(0, n)));
    rest.remove_prefix(n);
    const Unit* unit = nullptr;
    for (const Unit& u : kUnits) {
      // "m" must not swallow the "m" of "ms".
      if (rest.starts_with(u.name) && !(u.name == "m" && rest.starts_with("ms"))) {
        unit = &u;
        break;
      }
    }
    if (!unit) return bad();
    rest.remove_prefix(unit->name.size());
    total += value * unit->ns;
  }
  if (total > 9.2e18) return bad();
  auto ns = static_cast<std::int64_t>(std::llround(total));
  return Nanos{negative ? -ns : ns};
}

std::string format_duration(Nanos d) {
  std::int64_t ns = d.count();
  if (ns == 0) return "0s";
  std::string sign = ns < 0 ? "-" : "";
  std::uint64_t n = ns < 0 ? 0 - static_cast<std::uint64_t>(ns) : static_cast<std::uint64_t>(ns);
  auto fraction = [](std::uint64_t value, std::uint64_t unit) {
    std::string whole = std::to_string(value / unit);
    std::string part = std::to_string(unit + value % unit).substr(1);
    while (!part.empty() && part.back() == '0') part.pop_back();
    return part.empty() ? whole : whole + "." + part;
  };
  if (n < 1'000) return sign + std::to_string(n) + "ns";
  if (n < 1'000'000) return sign + fraction(n, 1'000) + "us";
  if (n < 1'000'000'000) return sign + fraction(n, 1'000'000) + "ms";
  std::uint64_t hours = n / 3'600'000'000'000ull;
  std::uint64_t minutes = n / 60'000'000'000ull % 60;
  std::string out = sign;
  if (hours) out += std::to_string(hours) + "h";
  if (hours || minutes) out += std::to_string(minutes) + "m";
  return out + fraction(n % 60'000'000'000ull, 1'000'000'000) + "s";
}

std::string human_age(Nanos d) {
  std::int64_t s = std::chrono::duration_cast<Seconds>(d).count();
  if (s < -1) return "<invalid>";
  if (s < 0) return "0s";
  auto two = [](std::int64_t a, const char* ua, std::int64_t b, const char* ub) {
    return b == 0 ? std::to_string(a) + ua : std::to_string(a) + ua + std::to_string(b) + ub;
  };
  if (s < 120) return std::to_string(s) + "s";
  if (s < 600) return two(s / 60, "m", s % 60, "s");
  if (s < 3 * 3600) return std::to_string(s / 60) + "m";
  if (s < 8 * 3600) return two(s / 3600, "h", s / 60 % 60, "m");
  if (s < 48 * 3600) return std::to_string(s / 3600) + "h";
  if (s < 8 * 86400) return two(s / 86400, "d", s / 3600 % 24, "h");
  if (s < 2 * 365 * 86400) return std::to_string(s / 86400) + "d";
  if (s < 8LL * 365 * 86400) return two(s / (365 * 86400), "y", s / 86400 % 365, "d");
  return std::to_string(s / (365 * 86400)) + "y";
}

}  // namespace tango

#include "lib/base/log.h"

#include <unistd.h>

#include <atomic>

#include "lib/base/clock.h"
#include "lib/base/json.h"

namespace tango {
namespace {

std::atomic<LogLevel> g_level{LogLevel::kInfo};
std::atomic<LogFormat> g_format{LogFormat::kText};

std::string_view name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "DEBUG";
    case LogLevel::kInfo:
      return "INFO";
    case LogLevel::kWarn:
      return "WARN";
    case LogLevel::kError:
      return "ERROR";
  }
  return "INFO";
}

constexpr std::size_t kMaxValueBytes = 4096;

}  // namespace

void configure_logging(LogLevel level, LogFormat format) {
  g_level = level;
  g_format = format;
}

void log(LogLevel level, std::string_view message, LogFields fields) {
  if (level < g_level.load()) return;
  std::string line;
  std::string time = format_time_micro(system_clock().now());
  if (g_format.load() == LogFormat::kJson) {
    Json out = {{"time", time}, {"level", name(level)}, {"msg", message}};
    for (const LogField& f : fields) out[f.key] = f.value.substr(0, kMaxValueBytes);
    line = dump_json(out);
  } else {
    line = time + " " + std::string(name(level)) + " " + std::string(message);
    for (const LogField& f : fields) {
      bool plain = !f.value.empty() && f.value.find_first_of(" \"\n\t=") == std::string::npos;
      std::string value = f.value.substr(0, kMaxValueBytes);
      line += " " + f.key + "=" + (plain ? value : dump_json(Json(value)));
    }
  }
  line += '\n';
  // One write per line, so that lines of several threads and processes do not mix.
  [[maybe_unused]] ssize_t n = ::write(2, line.data(), line.size());
}

}  // namespace tango

#include "device-agent/inventory.h"

#include <sys/statvfs.h>
#include <sys/utsname.h>

#include <set>
#include <thread>

#include "device-agent/slot.h"
#include "lib/base/clock.h"

namespace tango::agent {
namespace {

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// The value of "key<separator>value" in a file of such lines, without quotes.
std::string line_value(const std::string& text, std::string_view key, char separator) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line(text.data() + at, end - at);
    at = end + 1;
    if (!line.starts_with(key)) continue;
    const std::size_t sep = line.find(separator);
    if (sep == std::string_view::npos) continue;
    std::string_view name = line.substr(0, sep);
    while (!name.empty() && (name.back() == '\t' || name.back() == ' ')) name.remove_suffix(1);
    if (name != key) continue;
    std::string_view value = line.substr(sep + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '"')) value.remove_prefix(1);
    while (!value.empty() && value.back() == '"') value.remove_suffix(1);
    return std::string(value);
  }
  return {};
}

std::string file_text(const char* path) {
  return read_file(path, 1u << 20).value_or(std::string{});
}

}  // namespace

std::string machine_arch() {
#if defined(__x86_64__)
  return "amd64";
#elif defined(__aarch64__)
  return "arm64";
#elif defined(__arm__)
  return "armv7";
#else
#error "unsupported architecture"
#endif
}

std::string boot_id() { return trimmed(file_text("/proc/sys/kernel/random/boot_id")); }

Json read_inventory(const fs::path& root) {
  const std::string cpu = file_text("/proc/cpuinfo");
  const std::string os = file_text("/etc/os-release");
  utsname name{};
  ::uname(&name);
  Json flags = Json::array();
  const std::set<std::string_view> wanted = {"sse4_2", "avx",     "avx2",        "fma",
                                             "f16c",   "avx512f", "avx512_vnni", "asimd",
                                             "neon",   "asimddp", "fphp"};
  std::string list = line_value(cpu, "flags", ':');
  if (list.empty()) list = line_value(cpu, "Features", ':');
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t end = std::min(list.find(' ', at), list.size());
    const std::string_view flag(list.data() + at, end - at);
    if (wanted.contains(flag)) flags.push_back(std::string(flag));
    at = end + 1;
  }
  Json accelerators = Json::array();
  const std::pair<const char*, const char*> kNodes[] = {{"/dev/nvidia0", "nvidia"},
                                                        {"/dev/nvhost-gpu", "tegra"},
                                                        {"/dev/apex_0", "edgetpu"},
                                                        {"/dev/rknpu", "rknpu"}};
  std::error_code ec;
  for (const auto& [node, kind] : kNodes) {
    if (fs::exists(node, ec)) accelerators.push_back({{"kind", kind}, {"name", node}});
  }
  const Machine machine = this_machine();
  struct statvfs disk {};
  Json disk_json = {{"path", root.string()}};
  if (::statvfs(root.c_str(), &disk) == 0) {
    disk_json["totalBytes"] = static_cast<std::uint64_t>(disk.f_blocks) * disk.f_frsize;
    disk_json["freeBytes"] = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  }
  Json out = {
      {"arch", machine_arch()},
      {"os",
       {{"id", line_value(os, "ID", '=')},
        {"version", line_value(os, "VERSION_ID", '=')},
        {"kernel", name.release}}},
      {"cpu",
       {{"model", line_value(cpu, "model name", ':')},
        {"cores", std::thread::hardware_concurrency()},
        {"flags", flags}}},
      {"memory",
       {{"totalBytes", machine.memory_total()}, {"availableBytes", machine.memory_available()}}},
      {"disk", disk_json},
      {"accelerators", accelerators},
      {"engines", Json::array()},  // releases bring their own
      {"clock",
       {{"now", format_time(system_clock().now())},
        {"bootTimeMs", system_clock().monotonic() / Millis{1}}}}};
  const std::string heat = trimmed(file_text("/sys/class/thermal/thermal_zone0/temp"));
  if (!heat.empty()) out["temperatureMilliC"] = std::strtol(heat.c_str(), nullptr, 10);
  return out;
}

}  // namespace tango::agent

#include "standalone/container_dir.h"

#include <fcntl.h>
#include <sys/file.h>

#include "lib/base/json.h"

namespace tango::standalone {
namespace {

Result<Json> read_json(const fs::path& path) {
  TRY_ASSIGN(std::string text, read_file(path, 4u << 20));
  return parse_json(text);
}

}  // namespace

Status ContainerDir::write_spec(const ContainerSpec& s) const {
  Json j = {{"v", 1},
            {"argv", s.argv},
            {"env", s.env},
            {"cwd", s.cwd.string()},
            {"memoryLimit", s.memory_limit},
            {"graceMillis", std::chrono::duration_cast<Millis>(s.grace).count()}};
  return write_file_atomic(path_ / "spec.json", dump_json(j), 0600);
}

Result<ContainerSpec> ContainerDir::read_spec() const {
  TRY_ASSIGN(Json j, read_json(path_ / "spec.json"));
  ContainerSpec s;
  for (const Json& a : get(j, "argv")) {
    if (a.is_string()) s.argv.push_back(a);
  }
  if (const Json& env = get(j, "env"); env.is_object()) {
    for (const auto& [k, v] : env.items()) {
      if (v.is_string()) s.env[k] = v;
    }
  }
  s.cwd = get_string(j, "cwd");
  s.memory_limit = static_cast<std::uint64_t>(get_int(j, "memoryLimit"));
  s.grace = Millis{get_int(j, "graceMillis", 30000)};
  if (s.argv.empty())
    return make_error(Code::kInvalid, "InvalidSpec",
                      (path_ / "spec.json").string() + " names no program");
  return s;
}

Status ContainerDir::write_started(int pid, const std::string& at) const {
  return write_file_atomic(path_ / "started.json",
                           dump_json({{"v", 1}, {"shim", pid}, {"startedAt", at}}), 0600);
}
std::optional<ContainerDir::Started> ContainerDir::started() const {
  auto j = read_json(path_ / "started.json");
  if (!j.ok()) return std::nullopt;
  return Started{static_cast<int>(get_int(*j, "shim")), get_string(*j, "startedAt")};
}

Status ContainerDir::write_exit(const ContainerExit& e) const {
  Json j = {{"v", 1},
            {"code", e.code},
            {"reason", e.reason},
            {"message", e.message},
            {"startedAt", e.started_at},
            {"finishedAt", e.finished_at}};
  return write_file_atomic(path_ / "exit.json", dump_json(j), 0600);
}
std::optional<ContainerExit> ContainerDir::exit() const {
  auto j = read_json(path_ / "exit.json");
  if (!j.ok()) return std::nullopt;
  return ContainerExit{static_cast<int>(get_int(*j, "code")), get_string(*j, "reason"),
                       get_string(*j, "message"), get_string(*j, "startedAt"),
                       get_string(*j, "finishedAt")};
}

Status ContainerDir::write_grace(Nanos grace) const {
  return write_file_atomic(path_ / "grace",
                           std::to_string(std::chrono::duration_cast<Millis>(grace).count()), 0600);
}
Nanos ContainerDir::grace(Nanos fallback) const {
  auto text = read_file(path_ / "grace", 64);
  if (!text.ok()) return fallback;
  return Millis{std::atoll(text->c_str())};
}

bool ContainerDir::alive() const {
  Fd fd(::open(lock().c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return false;
  return ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0;
}

}  // namespace tango::standalone

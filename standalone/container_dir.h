// The folder of one run of a container: what the pod runner writes for tango-shim and what the shim
// leaves behind. Formats in docs/formats/container-dir.md. The shim holds a lock on the folder for
// its whole life, so "is it alive?" needs no process ids.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::standalone {

struct ContainerSpec {
  std::vector<std::string> argv;
  std::map<std::string, std::string> env;  // the whole environment
  fs::path cwd;
  std::uint64_t memory_limit = 0;  // bytes; 0: none
  Nanos grace = Seconds{30};       // between SIGTERM and SIGKILL
};

struct ContainerExit {
  int code = 0;
  std::string reason;  // Completed, Error, OOMKilled, StartError
  std::string message;
  std::string started_at, finished_at;
};

class ContainerDir {
 public:
  explicit ContainerDir(fs::path path) : path_(std::move(path)) {}
  const fs::path& path() const { return path_; }
  fs::path log() const { return path_ / "log"; }
  fs::path lock() const { return path_ / "lock"; }

  Status write_spec(const ContainerSpec& spec) const;
  Result<ContainerSpec> read_spec() const;
  Status write_started(int pid, const std::string& at) const;
  struct Started {
    int pid = 0;
    std::string at;
  };
  std::optional<Started> started() const;
  Status write_exit(const ContainerExit& exit) const;
  std::optional<ContainerExit> exit() const;
  // Overrides the grace of the spec for a stop that is under way.
  Status write_grace(Nanos grace) const;
  Nanos grace(Nanos fallback) const;
  bool alive() const;  // a shim holds the lock

 private:
  fs::path path_;
};

}  // namespace tango::standalone

// Child processes from argv arrays; there is no shell anywhere. The environment is explicit.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango {

struct ProcessOptions {
  std::vector<std::string> argv;  // argv[0] is looked up in PATH when it has no slash
  std::map<std::string, std::string> env =
      {};                  // added to (and overriding) the inherited environment
  bool clear_env = false;  // start from `env` alone
  fs::path cwd = {};       // empty: inherited
  int stdin_fd = -1;       // -1: /dev/null
  int stdout_fd = -1;      // -1: inherited (spawn) or captured (run_process)
  int stderr_fd = -1;
  bool new_session = false;        // setsid(): survives the terminal, own process group
  bool die_with_parent = false;    // PR_SET_PDEATHSIG SIGKILL
  std::vector<int> keep_fds = {};  // everything else above 2 is closed
};

// exit code, or 128+signal.
struct ExitStatus {
  int code = 0;
  bool signalled = false;
  bool ok() const { return code == 0; }
};

// A running child. The destructor does not kill: the owner decides (kill_and_wait) or detaches.
class ChildProcess {
 public:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}
  ChildProcess(ChildProcess&& o) noexcept : pid_(o.pid_), status_(o.status_) { o.pid_ = -1; }
  ChildProcess& operator=(ChildProcess&& o) noexcept;
  pid_t pid() const { return pid_; }
  // Non-blocking: the status once it has ended.
  std::optional<ExitStatus> poll();
  ExitStatus wait();
  bool signal(int signo);
  // SIGTERM, then SIGKILL after `grace`.
  ExitStatus kill_and_wait(Nanos grace);

 private:
  pid_t pid_ = -1;
  std::optional<ExitStatus> status_;
};

// Errors: NotFound (no such program), StartFailed.
Result<ChildProcess> spawn(const ProcessOptions& options);

struct ProcessOutput {
  ExitStatus status;
  std::string out;
  std::string err;
};
// Runs to the end, capturing both streams up to `max_output` each (then it is cut).
// Errors: as spawn, Timeout (child is killed).
Result<ProcessOutput> run_process(const ProcessOptions& options, Nanos timeout,
                                  std::string_view stdin_data = {},
                                  std::size_t max_output = 8u << 20);

}  // namespace tango

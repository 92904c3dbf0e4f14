// Keeps one release process of a slot alive: starts it through `tango-agent run`, captures what it
// writes, restarts it with back-off. The slot decides what runs; nothing here judges health.
// The process dies with the agent (a crash of the agent is followed by a clean start, never by two
// releases). Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "device-agent/release_log.h"
#include "lib/artifacts/bundle.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/result.h"
#include "lib/base/subprocess.h"

namespace tango::agent {

// What `tango-agent run` starts and how.
struct LaunchSpec {
  Digest digest;                  // of the release
  fs::path release_dir;           // working folder
  fs::path run_dir;               // private folder of the slot, TANGO_RUN_DIR
  std::vector<std::string> argv;  // of the index, configuration's arguments appended
  std::map<std::string, std::string> env;
  bool http = false;       // append --listen
  std::uint16_t port = 0;  // 0: any free
  std::string ready_path;
};

struct SupervisorOptions {
  fs::path agent_binary;  // this program, for role `run`; empty: starts argv itself
  Nanos backoff_initial = Millis{500};
  Nanos backoff_cap = Seconds{30};
  Nanos stable_after = Seconds{30};  // running this long resets the back-off
  Nanos stop_grace = Seconds{3};
};

struct ProcessState {
  bool running = false;
  pid_t pid = -1;
  std::uint16_t port = 0;
  std::uint32_t restarts = 0;
  std::string last_exit;  // "exit code 3", "signal 11"; empty: never ended
  std::optional<Digest> digest;
};

class Supervisor {
 public:
  Supervisor(SupervisorOptions options, ReleaseLog& log);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Starts it (stopping what ran before). With `restart` off its first end is final, until
  // keep_running(). Errors: StartFailed, NotFound (the program), IoError.
  Status start(const LaunchSpec& spec, bool restart);
  void keep_running();
  void stop();
  ProcessState state() const;
  // True once GET ready_path answered 200 (a release without HTTP: it runs).
  bool ready() const;
  // Peak resident set of the process, bytes; 0 when unknown.
  std::uint64_t peak_rss() const;

 private:
  void loop();
  Status spawn_now();
  void drain(std::unique_lock<std::mutex>& lock, int timeout_ms);

  SupervisorOptions options_;
  ReleaseLog& log_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<LaunchSpec> spec_;
  std::optional<ChildProcess> child_;
  Fd output_;
  bool restart_ = false, stopping_ = false, quit_ = false;
  bool spawn_requested_ = false;
  std::optional<Status> spawn_result_;
  ProcessState state_;
  Nanos started_at_{0}, next_start_{0}, backoff_{0};
  std::thread thread_;
};

// The environment of a release and of its tests: nothing inherited.
std::map<std::string, std::string> release_environment(const LaunchSpec& spec);

}  // namespace tango::agent

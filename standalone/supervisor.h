// Keeps child processes running: restart with back-off, logs to a file, a pid file with the start
// time so that a later start can tell a stale child from a stranger with the same pid.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/subprocess.h"

namespace tango::standalone {

struct ChildSpec {
  std::string name;
  std::vector<std::string> argv;
  std::map<std::string, std::string> env;
  fs::path log;
  Nanos stop_grace = Seconds{10};
};

class Supervisor {
 public:
  explicit Supervisor(fs::path run_dir) : run_dir_(std::move(run_dir)) {}
  ~Supervisor() { stop(); }
  // Ends what an earlier, killed supervisor left behind.
  Status end_stale_children();
  // Starts the child and keeps it running. Errors: of the first start.
  Status start(ChildSpec spec);
  bool running(const std::string& name) const;
  // Ends all children, last started first.
  void stop();

 private:
  struct Child {
    ChildSpec spec;
    std::optional<ChildProcess> process;
    std::chrono::steady_clock::time_point started, retry_at;
    int failures = 0;
  };
  Status launch(Child& child);
  void run();
  fs::path pid_file(const std::string& name) const { return run_dir_ / (name + ".pid"); }

  fs::path run_dir_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Child>> children_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tango::standalone

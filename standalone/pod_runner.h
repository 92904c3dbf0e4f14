// The local kubelet: runs the pods of the embedded API server as supervised processes, one
// tango-shim per container, for images of a built-in table; any other image gets ErrImagePull. Pods
// outlive this process: at start, shims that still run are found by their folders and adopted.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/subprocess.h"
#include "standalone/api_server.h"
#include "standalone/container_dir.h"
#include "standalone/up.h"

namespace tango::standalone {

struct PodRunnerOptions {
  fs::path dir;                      // <state>/pods
  fs::path shim;                     // tango-shim
  std::vector<BuiltInImage> images;  // absolute programs
  std::string node = "local";
  int max_running = 64;  // containers at once
};

class PodRunner {
 public:
  PodRunner(Operations& operations, PodRunnerOptions options);
  ~PodRunner();
  Status start();
  // Leaves the pods running; stop_pods() first to end them.
  void stop();
  void stop_pods(Nanos grace);
  LogFinder log_finder() const;

 private:
  struct Container {
    int attempt = 0;
    std::optional<ContainerDir> dir;  // of the current attempt, once started
    Json waiting;                     // state.waiting while nothing runs
    std::optional<ContainerExit> exit, last_exit;
    std::chrono::steady_clock::time_point restart_at{};
    bool stopping = false;
  };
  struct Pod {
    std::map<std::string, Container> containers;
    std::chrono::steady_clock::time_point retry_at{};
  };

  void run();
  void sync();
  void sync_pod(const StoredObject& object);
  void bind(const StoredObject& object);
  void start_containers(const Json& pod, Pod& local);
  Status start_container(const Json& pod, const Json& spec, Container& c);
  void poll_containers(const Json& pod, Pod& local);
  void stop_containers(const Json& pod, Pod& local);
  void report(const Json& pod, Pod& local);
  Pod& adopt(const Json& pod);
  void clean_up();
  fs::path pod_dir(const Json& pod) const;
  ContainerDir attempt_dir(const Json& pod, const std::string& container, int attempt) const;
  const BuiltInImage* image(const std::string& name) const;
  void event(const Json& pod, const char* type, const char* reason, const std::string& message);

  Operations& operations_;
  Store& store_;
  PodRunnerOptions options_;
  std::map<std::string, Pod> pods_;  // by uid
  std::vector<ChildProcess> shims_;  // to reap
  int running_ = 0;
  std::uint64_t subscription_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool changed_ = true, stopping_ = false;
  std::thread thread_;
};

}  // namespace tango::standalone

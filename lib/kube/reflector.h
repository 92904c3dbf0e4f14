// Keeps one Store equal to the server. ReflectorCore translates between bytes, the WatchMachine and
// the Store without I/O; Reflector runs it on a thread of its own over a KubeClient.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/http.h"
#include "lib/base/metrics.h"
#include "lib/base/random.h"
#include "lib/kube/client.h"
#include "lib/kube/store.h"
#include "lib/kube/watch_machine.h"

namespace tango::kube {

// What the core wants done; answers come back through its on_*() calls, never from inside these.
class ReflectorPort {
 public:
  virtual ~ReflectorPort() = default;
  virtual void list(std::string target) = 0;
  virtual void open_watch(std::string target, Nanos silence_limit) = 0;
  virtual void cancel_watch() = 0;  // nothing of this watch may arrive afterwards
  virtual void wait(Nanos delay) = 0;
};

struct ReflectorOptions {
  std::string ns;  // "" = all
  WatchOptions watch;
  // Beyond the time after which the server should have ended a watch, it is taken for dead.
  Nanos silence_margin = Seconds{30};
  MetricsRegistry* metrics = nullptr;  // nullptr: default
};

class ReflectorCore {
 public:
  using ChangeHandler = std::function<void(const Change&)>;
  ReflectorCore(Store& store, ReflectorPort& port, const ReflectorOptions& options, Random& random,
                ChangeHandler on_change);

  void start(Nanos now);
  void on_list(Result<HttpResponse> response, Nanos now);
  void on_watch_head(int status, const HttpHeaders& headers, Nanos now);
  void on_watch_data(std::string_view chunk, Nanos now);
  void on_watch_end(const Status& end, Nanos now);
  // Bytes of the watch were dropped: whatever state it is in, the kind is listed again.
  void on_watch_overflow(Nanos now);
  void on_timer(Nanos now);

  const WatchMachine& machine() const { return machine_; }

 private:
  void step(const WatchEvent& event, Nanos now, Frame* frame = nullptr);
  void deliver(Frame& frame);
  void pass_on(const std::vector<Change>& changes);
  void report(std::string_view reason, std::string_view message);

  Store& store_;
  ReflectorPort& port_;
  const ReflectorOptions options_;
  const ListOptions scope_;
  MetricsRegistry& metrics_;
  WatchMachine machine_;
  ChangeHandler on_change_;
  std::vector<StoredPtr> buffer_;  // pages of the list in progress
  FrameSplitter splitter_;
  int head_status_ = 0;
  HttpHeaders head_;
  std::string refusal_;  // body of a watch that was not answered by 200
  std::string last_report_;
};

class Reflector {
 public:
  Reflector(KubeClient& client, Store& store, const ReflectorOptions& options, Clock& clock,
            Random& random, ReflectorCore::ChangeHandler on_change);
  ~Reflector();  // stops
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tango::kube

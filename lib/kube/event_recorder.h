// Kubernetes Events about objects, as kubectl describe shows them: repeated ones are counted on one
// object, floods of similar ones are combined, and a talkative object is cut off. EventCorrelator
// decides; EventRecorder writes on a thread of its own and never holds up a reconcile.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "lib/base/clock.h"
#include "lib/kube-types/meta.h"
#include "lib/kube-types/outcome.h"
#include "lib/kube/client.h"

namespace tango::kube {

struct InvolvedObject {
  std::string api_version, kind, ns, name, uid, resource_version;
};

struct EventOptions {                // client-go's correlator
  std::size_t aggregate_after = 10;  // different messages of one reason and object ...
  Nanos aggregate_window = Seconds{600};
  double burst = 25;            // per object
  Nanos refill = Seconds{300};  // one more event
  std::size_t remembered = 4096;
  std::size_t queue = 1000;
  std::size_t max_message = 1024;
};

class EventCorrelator {
 public:
  EventCorrelator(std::string component, const EventOptions& options)
      : component_(std::move(component)), options_(options) {}
  struct Write {
    bool create = true;
    std::string ns, name;
    Json body;  // the Event, or the merge patch of its count
  };
  // nullopt: filtered as spam.
  std::optional<Write> correlate(const InvolvedObject& about, EventNote note, TimePoint wall,
                                 Nanos now);
  // The Event that was to be counted up is gone: the next one is created.
  void forget(const std::string& event_name);

 private:
  struct Seen {
    std::string name;
    TimePoint first;
    int count = 0;
  };
  struct Bucket {
    double tokens;
    Nanos at;
  };
  struct Similar {
    std::set<std::string> messages;
    Nanos since{};
  };
  const std::string component_;
  const EventOptions options_;
  std::map<std::string, Seen> seen_;
  std::map<std::string, Bucket> spam_;
  std::map<std::string, Similar> similar_;
  std::uint64_t number_ = 0;
};

class EventRecorder {
 public:
  EventRecorder(KubeClient& client, std::string component, Clock& clock,
                const EventOptions& options = {});
  ~EventRecorder();
  void record(const InvolvedObject& about, const EventNote& note);
  // Writes what is queued, for at most `limit`, and ends the thread.
  void stop(Nanos limit = Seconds{2});

 private:
  void run();

  KubeClient& client_;
  Clock& clock_;
  const EventOptions options_;
  EventCorrelator correlator_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<InvolvedObject, EventNote>> queue_;
  bool stopping_ = false;
  bool abandon_ = false;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace tango::kube

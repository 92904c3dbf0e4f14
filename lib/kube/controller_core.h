// One controller's work on one key, from cache to written Outcome: the imperative shell around the
// pure reconcile function. Synchronous and without threads of its own; the manager calls it from
// its workers, tests call it directly.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/metrics.h"
#include "lib/kube/caches.h"
#include "lib/kube/client.h"
#include "lib/kube/event_recorder.h"
#include "lib/kube/manager.h"
#include "lib/kube/work_table.h"

namespace tango::kube {

struct ControllerSurroundings {
  const Caches& caches;
  KubeClient& client;
  KindRegistry& kinds;
  WorkTable& work;
  Clock& clock;
  MetricsRegistry& metrics;
  std::function<void(const InvolvedObject&, const EventNote&)> record;
};

class ControllerCore {
 public:
  ControllerCore(ControllerSpec spec, ControllerSurroundings surroundings);
  const ControllerSpec& spec() const { return spec_; }

  struct Done {
    enum class Kind {
      kSuccess,   // forget failures; requeue_after may be set
      kStale,     // the cache has not reached our own last write: look again soon
      kConflict,  // somebody was faster: again, after the failure delay, without complaint
      kError      // again, after the failure delay
    } kind = Kind::kSuccess;
    std::optional<Nanos> requeue_after = {};
    std::optional<Error> error = {};
  };
  // Never called for one key twice at a time.
  Done reconcile(const ObjectKey& key);

 private:
  // What we wrote and the cache has to show before we decide again.
  struct Expectation {
    const Store* store = nullptr;
    std::string version;  // reached ...
    ObjectKey gone_key;   // ... or: this object is gone, deleting, or another one
    std::string gone_uid;
    bool met() const;
  };
  struct Applied {
    std::string hash, uid, version;
    std::int64_t generation = 0;
    Nanos at{};
  };
  struct KeyState {
    std::string uid;
    std::vector<Expectation> expectations;
    std::optional<Nanos> waiting_since;
    std::map<std::string, Applied> applied;      // by ManifestName
    std::map<std::string, std::string> created;  // of kinds without cache: name -> uid
    std::string status_hash, status_version;     // of our last status write
    std::vector<EventNote> notes;
  };
  struct Pass;  // one reconcile under way

  std::shared_ptr<KeyState> state_of(const ObjectKey& key);
  void forget(const ObjectKey& key);
  Done finish(const ObjectKey& key, Pass& pass, const Outcome& outcome);

  Status ensure_finalizer(Pass& pass);
  Status release_finalizer(Pass& pass);
  Status create_once(Pass& pass, const Json& manifest);
  Status apply(Pass& pass, const Json& manifest);
  Status patch(Pass& pass, const Patch& patch);
  Status remove(Pass& pass, const Removal& removal);
  Status write_status(Pass& pass, const Json& status);
  Status check_existing(const Json& manifest, const Json& existing);
  void note_events(Pass& pass, const std::vector<EventNote>& notes);
  void expect(Pass& pass, const Store* store, const Json& written);
  WriteOptions write_options() const;

  const ControllerSpec spec_;
  const std::string manager_;  // field manager
  const ControllerSurroundings s_;
  std::mutex mutex_;
  std::map<ObjectKey, std::shared_ptr<KeyState>> states_;
};

}  // namespace tango::kube

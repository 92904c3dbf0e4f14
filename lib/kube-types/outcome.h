// What a reconcile sees and what it decides. `Outcome reconcile(const T& self, const Observed&,
// TimePoint)` is a pure function; lib/kube carries the Outcome out. Nothing here does I/O.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <typeindex>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/kube-types/meta.h"

namespace tango::kube {

// A side effect outside Kubernetes, carried out by an executor (SSH, registry, signer). The same
// key is never started twice while its state is known.
struct Work {
  std::string executor;  // "registry", "signer", "ssh"
  std::string key;       // idempotency key: says what is done, to what, in which version
  Json input;
  Nanos deadline = Seconds{60};
  bool operator==(const Work&) const = default;
};

struct WorkState {
  enum class Phase { kRunning, kSucceeded, kFailed };
  Phase phase = Phase::kRunning;
  Json output;  // of kSucceeded; progress of kRunning
  Error error;  // of kFailed
  TimePoint started{};
  TimePoint finished{};
};

// Read-only view of the caches and executors at one instant.
class Observed {
 public:
  virtual ~Observed() = default;

  template <typename T>
  const T* get(std::string_view ns, std::string_view name) const {
    return static_cast<const T*>(find(typeid(T), ns, name));
  }
  // All objects of T in `ns` ("" = every namespace), ordered by name.
  template <typename T>
  std::vector<const T*> list(std::string_view ns) const {
    return cast<T>(find_all(typeid(T), ns));
  }
  // Objects of T whose controller owner has this uid.
  template <typename T>
  std::vector<const T*> owned(std::string_view owner_uid) const {
    return cast<T>(find_owned(typeid(T), owner_uid));
  }
  // State of a requested piece of work, or nullptr when it is not known (never asked, or
  // forgotten).
  virtual const WorkState* work(std::string_view key) const = 0;

 protected:
  virtual const void* find(std::type_index type, std::string_view ns,
                           std::string_view name) const = 0;
  virtual std::vector<const void*> find_all(std::type_index type, std::string_view ns) const = 0;
  virtual std::vector<const void*> find_owned(std::type_index type, std::string_view uid) const = 0;

 private:
  template <typename T>
  static std::vector<const T*> cast(const std::vector<const void*>& in) {
    std::vector<const T*> out;
    out.reserve(in.size());
    for (const void* p : in) out.push_back(static_cast<const T*>(p));
    return out;
  }
};

// Observed over plain maps, for tests and offline rendering. Objects are shared, never copied.
class MapObserved : public Observed {
 public:
  template <typename T>
  void put(T object) {
    auto p = std::make_shared<const T>(std::move(object));
    put_erased(typeid(T), p->metadata, std::static_pointer_cast<const void>(p));
  }
  void put_work(std::string key, WorkState state) { work_[std::move(key)] = std::move(state); }
  const WorkState* work(std::string_view key) const override;

 protected:
  const void* find(std::type_index type, std::string_view ns, std::string_view name) const override;
  std::vector<const void*> find_all(std::type_index type, std::string_view ns) const override;
  std::vector<const void*> find_owned(std::type_index type, std::string_view uid) const override;

 private:
  struct Entry {
    std::string ns, name, owner_uid;
    std::shared_ptr<const void> object;
  };
  void put_erased(std::type_index type, const ObjectMeta& meta, std::shared_ptr<const void> object);
  std::map<std::type_index, std::map<std::string, Entry>> objects_;
  std::map<std::string, WorkState, std::less<>> work_;
};

struct Removal {
  KindInfo kind;
  std::string ns, name;
  std::string uid;               // precondition, required
  std::string resource_version;  // precondition, optional
};

// Merge patch of another object's metadata or spec (approval hand-over, finalizers on children).
struct Patch {
  KindInfo kind;
  std::string ns, name;
  Json merge_patch;
};

struct EventNote {
  std::string type = "Normal";  // Normal | Warning
  std::string reason;
  std::string message;
  bool operator==(const EventNote&) const = default;
};

enum class Finalizer { kKeep, kRelease };

// What should be true now. Empty members change nothing; omission never deletes.
struct Outcome {
  std::vector<Json> apply;  // full manifests, server-side applied by the controller's field manager
  std::vector<Json> create_once;  // manifests; AlreadyExists with our owner uid is success
  std::vector<Removal> remove;
  std::vector<Patch> patch;
  std::optional<Json> status;  // whole status; written (by resourceVersion) only when it differs
  Finalizer finalizer = Finalizer::kKeep;
  std::vector<Work> work;
  std::vector<EventNote> events;  // beyond those derived from condition changes
  std::optional<Nanos> requeue_after;
};

}  // namespace tango::kube

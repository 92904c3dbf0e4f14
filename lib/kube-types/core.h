// The kinds of Kubernetes itself that TANGO touches, reduced to the fields that it reads.
// Controllers and tangoctl use them; manifests that TANGO creates are written as Json, so encode()
// gives back only what is listed here and is never used to overwrite an object.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/secret.h"
#include "lib/kube-types/codec.h"
#include "lib/kube-types/meta.h"

namespace tango::kube {

struct Namespace {
  static constexpr KindInfo kKind{"", "v1", "Namespace", "namespaces", false};
  ObjectMeta metadata;
  std::string phase;  // Active | Terminating
};

struct ConfigMap {
  static constexpr KindInfo kKind{"", "v1", "ConfigMap", "configmaps", true};
  ObjectMeta metadata;
  std::map<std::string, std::string> data;
  std::map<std::string, std::string> binary_data;  // decoded
  bool immutable = false;
};

struct KubeSecret {
  static constexpr KindInfo kKind{"", "v1", "Secret", "secrets", true};
  ObjectMeta metadata;
  std::string type = "Opaque";
  std::map<std::string, Secret<std::string>> data;  // decoded
};

struct ServiceAccount {
  static constexpr KindInfo kKind{"", "v1", "ServiceAccount", "serviceaccounts", true};
  ObjectMeta metadata;
};

struct ContainerState {
  enum class Kind { kNone, kWaiting, kRunning, kTerminated };
  Kind kind = Kind::kNone;
  std::string reason;
  std::string message;
  std::int32_t exit_code = 0;  // of kTerminated
  std::int32_t signal = 0;
  std::optional<TimePoint> started_at;
  std::optional<TimePoint> finished_at;
  bool terminated() const { return kind == Kind::kTerminated; }
};

struct ContainerStatus {
  std::string name;
  bool ready = false;
  std::int32_t restart_count = 0;
  std::string image;
  ContainerState state;
  ContainerState last_state;
};

struct Pod {
  static constexpr KindInfo kKind{"", "v1", "Pod", "pods", true};
  ObjectMeta metadata;
  std::string node_name;
  struct Status {
    std::string phase;  // Pending | Running | Succeeded | Failed | Unknown
    std::string reason;
    std::string message;
    std::string pod_ip;
    std::optional<TimePoint> start_time;
    std::vector<ContainerStatus> container_statuses;
    std::vector<ContainerStatus> init_container_statuses;
    std::vector<Condition> conditions;
  } status;
  // Exit code of the first container that has ended, if one has.
  std::optional<std::int32_t> exit_code() const;
};

struct Job {
  static constexpr KindInfo kKind{"batch", "v1", "Job", "jobs", true};
  ObjectMeta metadata;
  bool suspend = false;
  std::optional<std::int32_t> backoff_limit;
  struct Status {
    std::int32_t active = 0;
    std::int32_t succeeded = 0;
    std::int32_t failed = 0;
    std::optional<TimePoint> start_time;
    std::optional<TimePoint> completion_time;
    std::vector<Condition> conditions;  // Complete, Failed, Suspended
  } status;
  bool complete() const { return is_true(status.conditions, "Complete"); }
  bool failed() const { return is_true(status.conditions, "Failed"); }
};

struct ObjectReference {
  std::string api_version;
  std::string kind;
  std::string ns;
  std::string name;
  std::string uid;
};

struct Event {
  static constexpr KindInfo kKind{"", "v1", "Event", "events", true};
  ObjectMeta metadata;
  ObjectReference involved_object;
  std::string type;  // Normal | Warning
  std::string reason;
  std::string message;
  std::string component;
  std::int32_t count = 0;
  std::optional<TimePoint> first_timestamp;
  std::optional<TimePoint> last_timestamp;
};

struct Lease {
  static constexpr KindInfo kKind{"coordination.k8s.io", "v1", "Lease", "leases", true};
  ObjectMeta metadata;
  std::string holder_identity;
  std::int32_t lease_duration_seconds = 0;
  std::int32_t lease_transitions = 0;
  std::optional<TimePoint> acquire_time;
  std::optional<TimePoint> renew_time;
};

struct CustomResourceDefinition {
  static constexpr KindInfo kKind{"apiextensions.k8s.io", "v1", "CustomResourceDefinition",
                                  "customresourcedefinitions", false};
  ObjectMeta metadata;
  std::string group;
  std::string scope;  // Namespaced | Cluster
  std::string kind;
  std::string plural;
  std::string singular;
  std::vector<std::string> short_names;
  std::vector<std::string> categories;
  std::vector<std::string> served_versions;
  std::vector<Condition> conditions;
  bool established() const { return is_true(conditions, "Established"); }
};

#define TANGO_CORE_CODEC(T)                        \
  template <>                                      \
  struct Codec<T> {                                \
    static Result<T> parse(std::string_view json); \
    static Json encode(const T& object);           \
  }
TANGO_CORE_CODEC(Namespace);
TANGO_CORE_CODEC(ConfigMap);
TANGO_CORE_CODEC(KubeSecret);
TANGO_CORE_CODEC(ServiceAccount);
TANGO_CORE_CODEC(Pod);
TANGO_CORE_CODEC(Job);
TANGO_CORE_CODEC(Event);
TANGO_CORE_CODEC(Lease);
TANGO_CORE_CODEC(CustomResourceDefinition);
#undef TANGO_CORE_CODEC

}  // namespace tango::kube

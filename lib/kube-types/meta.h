// The parts of Kubernetes' API that every object shares: ObjectMeta, owner references, conditions,
// and KindInfo, which names a kind to clients. Used by crds, kube and the controllers; no I/O here.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::kube {

// Static facts of a kind. Every typed object T has `static constexpr KindInfo kKind`.
struct KindInfo {
  std::string_view group;  // "" for core
  std::string_view version;
  std::string_view kind;
  std::string_view plural;
  bool namespaced = true;
  std::string api_version() const {
    return group.empty() ? std::string(version) : std::string(group) + "/" + std::string(version);
  }
  auto operator<=>(const KindInfo&) const = default;
};

struct OwnerReference {
  std::string api_version;
  std::string kind;
  std::string name;
  std::string uid;
  bool controller = false;
  bool block_owner_deletion = false;
  bool operator==(const OwnerReference&) const = default;
};

struct ObjectMeta {
  std::string name;
  std::string generate_name;
  std::string ns;  // metadata.namespace
  std::string uid;
  std::string resource_version;
  std::int64_t generation = 0;
  std::optional<TimePoint> creation_timestamp;
  std::optional<TimePoint> deletion_timestamp;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  std::vector<OwnerReference> owner_references;
  std::vector<std::string> finalizers;

  bool deleting() const { return deletion_timestamp.has_value(); }
  std::string label(std::string_view key) const;
  std::string annotation(std::string_view key) const;
  const OwnerReference* controller_owner() const;
  std::string key() const { return ns.empty() ? name : ns + "/" + name; }
};
ObjectMeta parse_object_meta(const Json& metadata);
Json encode(const ObjectMeta& meta);  // omits empty fields

// metav1.Condition.
struct Condition {
  std::string type;
  std::string status = "Unknown";  // True | False | Unknown
  std::string reason;              // CamelCase, never empty on the wire
  std::string message;
  std::int64_t observed_generation = 0;
  std::optional<TimePoint> last_transition_time;
  bool operator==(const Condition&) const = default;
};
Condition parse_condition(const Json& value);
Json encode(const Condition& condition);

const Condition* find_condition(const std::vector<Condition>& conditions, std::string_view type);
bool is_true(const std::vector<Condition>& conditions, std::string_view type);
// Inserts or updates by type. lastTransitionTime moves only when `status` changes.
void set_condition(std::vector<Condition>& conditions, Condition next, TimePoint now);

// Label selectors of metav1 (matchLabels + matchExpressions In, NotIn, Exists, DoesNotExist).
struct LabelRequirement {
  std::string key;
  std::string op;
  std::vector<std::string> values;
  bool operator==(const LabelRequirement&) const = default;
};
struct LabelSelector {
  std::map<std::string, std::string> match_labels;
  std::vector<LabelRequirement> match_expressions;
  bool all = false;  // our selectors: `all: true`; an empty one without it matches nothing
  bool operator==(const LabelSelector&) const = default;
};
LabelSelector parse_label_selector(const Json& value);
Json encode(const LabelSelector& selector);
bool matches(const LabelSelector& selector, const std::map<std::string, std::string>& labels);
// "a=b,c in (d,e),!f" as kubectl -l writes it. Errors: InvalidSelector.
Result<LabelSelector> parse_selector_string(std::string_view text);

// Kubernetes quantities: "300Mi", "1.5", "100m" -> milli-units. Errors: InvalidQuantity.
Result<std::int64_t> parse_quantity_milli(std::string_view text);
// Whole units (bytes), rounded up.
Result<std::int64_t> parse_quantity(std::string_view text);

// <owner>-<stage>-<first 8 hex of hash>, cut to at most 63 characters and still unique.
std::string child_name(std::string_view owner, std::string_view stage, std::string_view input_hash);
OwnerReference owner_of(const KindInfo& kind, const ObjectMeta& meta);

}  // namespace tango::kube

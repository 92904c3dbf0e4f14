// Small steps that every controller takes with its status: setting conditions for the generation
// it has seen, and writing the status only as a whole.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/kube-types/meta.h"
#include "lib/kube-types/outcome.h"

namespace tango::controllers {

// Condition messages are cut at this length; the CRDs allow 4,096 bytes.
inline constexpr std::size_t kMaxMessage = 2000;
std::string clip(std::string text, std::size_t max = kMaxMessage);

// Sets conditions of one object in one reconcile.
class Conditions {
 public:
  Conditions(std::vector<kube::Condition>& list, std::int64_t generation, TimePoint now)
      : list_(list), generation_(generation), now_(now) {}
  void set(std::string_view type, std::string_view status, std::string_view reason,
           std::string message = {});
  void yes(std::string_view type, std::string_view reason, std::string message = {}) {
    set(type, "True", reason, std::move(message));
  }
  void no(std::string_view type, std::string_view reason, std::string message = {}) {
    set(type, "False", reason, std::move(message));
  }
  void unknown(std::string_view type, std::string_view reason, std::string message = {}) {
    set(type, "Unknown", reason, std::move(message));
  }
  void drop(std::string_view type);

 private:
  std::vector<kube::Condition>& list_;
  std::int64_t generation_;
  TimePoint now_;
};

// metadata.ownerReferences entry that makes `meta` the controlling owner.
Json owner_reference(const kube::KindInfo& kind, const kube::ObjectMeta& meta);

// Status times have whole seconds on the wire; comparing needs the same.
TimePoint whole_seconds(TimePoint t);

}  // namespace tango::controllers

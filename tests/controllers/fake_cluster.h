// A cluster of plain maps for tests of reconcile functions: carries Outcomes out as the runtime
// would (create once, apply, status only when changed), counts every write, and answers Work by a
// function of the test.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "controllers/common/settings.h"
#include "lib/kube-types/outcome.h"

namespace tango::controllers {

class FakeCluster {
 public:
  FakeCluster();

  // Adds objects from a YAML stream, with defaults, uid and generation.
  void apply_yaml(std::string_view text);
  Json& object(std::string_view kind, std::string_view name, std::string_view ns = "default");
  bool has(std::string_view kind, std::string_view name) const;
  std::vector<std::string> names(std::string_view kind) const;
  void erase(std::string_view kind, std::string_view name);
  void mark_deleted(std::string_view kind, std::string_view name);
  // Changes the spec and raises the generation.
  void patch_spec(std::string_view kind, std::string_view name, const Json& patch);

  // One pass over every object of ours; returns the number of writes it made.
  int pass();
  // Until a pass writes nothing and starts no work. Fails the test after `limit` passes.
  void settle(int limit = 60);
  const kube::Outcome& last(std::string_view kind, std::string_view name);

  // Answers a piece of work: nullopt leaves it running.
  std::function<std::optional<Result<Json>>(const kube::Work&)> answer;
  std::vector<kube::Work> started;
  std::set<std::string> forgotten;  // no effect; for readability of tests
  std::map<std::string, kube::WorkState> works;
  int count_started(std::string_view executor, std::string_view key_part = {}) const;

  // Jobs: what a batch controller and a kubelet would report.
  void finish_job(const std::string& name, int exit_code, const std::string& reason = "");
  std::function<void(const std::string& job)> on_job;  // called for every new Job

  std::string condition(std::string_view kind, std::string_view name,
                        std::string_view type);  // "True/Reason"
  std::string message(std::string_view kind, std::string_view name, std::string_view type);

  kube::MapObserved observed() const;
  TimePoint now{Seconds{1'700'000'000}};
  Settings settings;
  int writes = 0;

 private:
  struct Key {
    std::string kind, ns, name;
    auto operator<=>(const Key&) const = default;
  };
  kube::Outcome reconcile(const Key& key, const Json& object, const kube::Observed& world);
  bool carry_out(const Key& key, const kube::Outcome& outcome);
  void put(Json object);
  std::map<Key, Json> objects_;
  std::map<Key, kube::Outcome> last_;
  int next_uid_ = 1;
};

}  // namespace tango::controllers

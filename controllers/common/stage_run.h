// Running one stage as a Job until its result artifact is there: looks the result up first, creates
// ConfigMap and Job once per attempt, judges exit codes and retries within bounds. Dataset,
// TrainJob and ImageBuild share it; it decides, the runtime acts.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "controllers/common/settings.h"
#include "controllers/common/work.h"
#include "lib/kube-types/core.h"
#include "lib/kube-types/outcome.h"
#include "lib/run/stage.h"

namespace tango::controllers {

struct StageRequest {
  kube::KindInfo owner_kind;
  const kube::ObjectMeta* owner = nullptr;
  std::string project;  // label; empty: none
  std::string stage;    // "data", "train", ...
  std::string type;     // Dataset, Train, ...
  int type_version = 1;
  Json config = Json::object();
  std::map<std::string, std::string> inputs;
  std::string repository;
  std::string image;
  Json data_volume;  // core/v1 Volume source; null: none
  std::string data_sub_path;
  Json pod_template;  // of the spec; null: none
  std::int64_t active_deadline_seconds = kStageSeconds;
  int retries = 3;
  bool suspend = false;
};

// What is kept in the owner's status between reconciles.
struct StageMemory {
  int attempt = 0;                       // 0: none yet
  std::optional<TimePoint> retry_after;  // only told, never read back
  std::optional<TimePoint> started_at;
  std::optional<std::int32_t> exit_code;
};

struct StageView {
  enum class State { kWaiting, kRunning, kStopping, kStopped, kSucceeded, kFailed };
  State state = State::kWaiting;
  std::string reason, message;
  std::string input_hash;
  std::string job;  // of the current attempt; empty: none
  StageMemory memory;
  run::StageResult result;  // of kSucceeded
  std::string result_digest;
};

StageView run_stage(const StageRequest& request, const StageMemory& memory,
                    const kube::Observed& world, TimePoint now, const Settings& settings,
                    kube::Outcome& out);

// Names and ids that others need to find a stage's things.
std::string stage_job_name(const std::string& base, int attempt);
std::string run_id(std::string_view ns, std::string_view base);
std::string repository_of(const Settings& settings, std::string_view ns, std::string_view name);

// A podTemplate that asks for a service account outside the allow-list, or empty.
std::string refused_service_account(const Json& pod_template, const Settings& settings);

}  // namespace tango::controllers

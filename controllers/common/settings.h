// What the operator's flags decide for all controllers, and every limit and delay of this room with
// its default. Plain data: reconcile functions get it as an argument and stay pure.
#pragma once

#include <set>
#include <string>

#include "lib/base/clock.h"

namespace tango::controllers {

struct Settings {
  std::string registry_url;               // as pods reach it
  std::string repository_root = "tango";  // repositories are <root>/<namespace>/<name>
  std::string trainer_image = "tango.local/trainer:dev";
  std::string builder_image = "tango.local/builder:dev";
  std::string run_api;  // URL that stages post events to; empty: none
  bool allow_host_path = false;
  std::set<std::string> service_accounts;  // that a podTemplate may name
};

inline constexpr Nanos kLookupDeadline = Seconds{60};
inline constexpr Nanos kSignDeadline = Seconds{120};
inline constexpr Nanos kProvisionDeadline = Seconds{300};
inline constexpr Nanos kProbeDeadline = Seconds{60};
inline constexpr Nanos kDeployDeadline = Seconds{3600};
inline constexpr Nanos kRemoveDeadline = Seconds{300};
inline constexpr Nanos kPodStartDeadline = Seconds{900};  // a pod that never starts
inline constexpr Nanos kPodStatusGrace = Seconds{30};     // a failed Job whose pod is not seen yet
inline constexpr Nanos kRetryInitial = Seconds{5};
inline constexpr Nanos kRetryCap = Seconds{300};
inline constexpr int kWorkRetries = 64;  // of one piece of work, then it is an error
inline constexpr std::int64_t kStageSeconds = 6 * 3600;    // activeDeadlineSeconds of short stages
inline constexpr std::int64_t kTrainSeconds = 14 * 86400;  // of training stages
inline constexpr int kMaxAttempts = 32;
inline constexpr int kFallbackBatch = 64;  // first batch after running out of memory

inline constexpr std::string_view kFinalizer = "ml-tango.io/cleanup";
inline constexpr std::string_view kInUseFinalizer = "ml-tango.io/in-use";
inline constexpr std::string_view kProjectLabel = "ml-tango.io/project";
inline constexpr std::string_view kStageLabel = "ml-tango.io/stage";
inline constexpr std::string_view kInputHashLabel = "ml-tango.io/input-hash";
inline constexpr std::string_view kRetryAnnotation = "ml-tango.io/retry";
inline constexpr std::string_view kRunAnnotation = "ml-tango.io/run-id";

}  // namespace tango::controllers

// The manifests of one attempt of a stage: ConfigMap with stage.json, and the batch/v1 Job.
#pragma once

#include <string>

#include "controllers/common/stage_run.h"

namespace tango::controllers {

struct StageAttempt {
  std::string base;  // child name without the attempt
  std::string job;
  std::string input_hash;
  int number = 1;
  Json config;  // as resolved for this attempt
};

Json stage_config_map(const StageRequest& request, const StageAttempt& attempt,
                      const Settings& settings);
Json stage_job(const StageRequest& request, const StageAttempt& attempt, const Settings& settings);

}  // namespace tango::controllers

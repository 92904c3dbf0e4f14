// The Build stage: stage.json in, an unsigned bundle and a result artifact in the registry, an exit
// code out (lib/run/stage.h). main() of tango-builder only calls this.
#pragma once

#include "lib/artifacts/registry_client.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/run/events.h"
#include "lib/run/stage.h"

namespace tango::builder {

struct StageOptions {
  fs::path runtime;  // tango-infer
  Clock* clock = &system_clock();
};

// Pulls inputs["model"], builds, pushes the bundle and its SBOM, then the result under
// result-<input hash>. A result that is there already is success.
Result<run::StageResult> run_build_stage(const run::StageSpec& stage, const run::RunPaths& paths,
                                         const std::string& input_hash,
                                         artifacts::RegistryClient& registry,
                                         run::EventWriter& events, const StageOptions& options);

// Everything of main(): environment, stage.json, events, exit code.
int run_builder(const StageOptions& options);

}  // namespace tango::builder

// The stage contract between the operator and the programs it runs in pods: what stage.json says,
// what a stage answers, and with which exit code. docs/formats/stage.md holds the exact bytes.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/digest.h"
#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/base/secret.h"

namespace tango::run {

// Exit codes of a stage program; nothing else is ever returned.
enum ExitCode : int {
  kDone = 0,
  kOther = 1,
  kBadInput = 10,         // never retried
  kOutOfMemory = 11,      // retried with a smaller batch
  kInterrupted = 12,      // SIGTERM, after a checkpoint
  kRegistryFailure = 13,  // registry or network; retried
};
int exit_code_for(const Error& error);

struct RegistryTarget {
  std::string url;
  std::string repository;
};

struct StageSpec {
  std::string stage;  // name within the recipe: "train"
  std::string type;   // Dataset | Train | Distill | Evaluate | Export | Build ...
  int type_version = 1;
  Json config = Json::object();               // resolved configuration
  std::map<std::string, std::string> inputs;  // port -> "sha256:..." digest of an artifact
  RegistryTarget registry;
  std::string run_id;
  int attempt = 1;
  std::string run_api;  // URL; empty: none
};
Json encode(const StageSpec& spec);
// Errors: MissingField, WrongType, UnknownField (unknown keys are refused, with their path).
Result<StageSpec> parse_stage(const Json& value);

// Lower-case hex SHA-256 of canonical JSON {type, typeVersion, config, inputs}. `config` must be
// the one without values that were resolved from Auto.
Result<std::string> input_hash(std::string_view type, int type_version, const Json& config,
                               const std::map<std::string, std::string>& inputs);
std::string result_tag(std::string_view input_hash);  // "result-<hash>"

struct StageResult {
  std::map<std::string, std::string> outputs;  // port -> digest
  Json metrics = Json::object();
  std::vector<Json> warnings;  // {reason, message}
};
Json encode(const StageResult& result);
Result<StageResult> parse_result(const Json& value);

// Where a stage program finds its things. From TANGO_RUN_DIR (required), TANGO_WORK_DIR,
// TANGO_DATA_DIR, TANGO_TOKEN_FILE, TANGO_INPUT_HASH.
struct RunPaths {
  std::filesystem::path run_dir;  // stage.json is here; events.jsonl is written here
  std::filesystem::path
      work_dir;  // scratch that outlives a restart of the same attempt (checkpoints)
  std::filesystem::path data_dir;  // where the Dataset source is mounted; may be empty
  std::filesystem::path token_file;
};
Result<RunPaths> run_paths_from_env();
Result<StageSpec> load_stage(const RunPaths& paths);

}  // namespace tango::run

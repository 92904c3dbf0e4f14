#include "lib/run/stage.h"

#include <cstdlib>

#include "lib/base/file.h"

namespace tango::run {
namespace {

constexpr std::uint64_t kMaxStageBytes = 4u << 20;

Status refuse_unknown(const Json& value, std::initializer_list<std::string_view> known,
                      std::string_view where) {
  for (auto it = value.begin(); it != value.end(); ++it) {
    bool found = false;
    for (std::string_view k : known) found = found || it.key() == k;
    if (!found) {
      return make_error(Code::kInvalid, "UnknownField",
                        (where.empty() ? it.key() : std::string(where) + "." + it.key()) +
                            " is not a known field");
    }
  }
  return Ok{};
}

Result<std::map<std::string, std::string>> digest_map(const Json& value, std::string_view where) {
  std::map<std::string, std::string> out;
  if (value.is_null()) return out;
  if (!value.is_object())
    return make_error(Code::kInvalid, "WrongType", std::string(where) + " must be an object");
  for (auto it = value.begin(); it != value.end(); ++it) {
    std::string path = std::string(where) + "." + it.key();
    if (!it->is_string())
      return make_error(Code::kInvalid, "WrongType", path + " must be a digest");
    auto digest = Digest::parse(it->get<std::string>());
    if (!digest.ok()) return std::move(digest).error().with_context("reading " + path);
    out[it.key()] = digest->to_string();
  }
  return out;
}

}  // namespace

int exit_code_for(const Error& error) {
  if (error.reason == "OutOfMemory") return kOutOfMemory;
  switch (error.code) {
    case Code::kInvalid:
    case Code::kUnsupported:
    case Code::kNotFound:
      return kBadInput;
    case Code::kUnavailable:
    case Code::kTimeout:
      return kRegistryFailure;
    case Code::kCancelled:
      return kInterrupted;
    default:
      return kOther;
  }
}

Json encode(const StageSpec& spec) {
  return Json{{"stage", spec.stage},
              {"type", spec.type},
              {"typeVersion", spec.type_version},
              {"config", spec.config},
              {"inputs", spec.inputs},
              {"registry", {{"url", spec.registry.url}, {"repository", spec.registry.repository}}},
              {"runId", spec.run_id},
              {"attempt", spec.attempt},
              {"runApi", spec.run_api}};
}

Result<StageSpec> parse_stage(const Json& value) {
  if (!value.is_object())
    return make_error(Code::kInvalid, "WrongType", "stage.json must hold an object");
  TRY(refuse_unknown(value,
                     {"stage", "type", "typeVersion", "config", "inputs", "registry", "runId",
                      "attempt", "runApi"},
                     ""));
  StageSpec spec;
  TRY_ASSIGN(spec.stage, require_string(value, "stage", ""));
  TRY_ASSIGN(spec.type, require_string(value, "type", ""));
  TRY_ASSIGN(std::int64_t version, require_int(value, "typeVersion", ""));
  TRY_ASSIGN(std::int64_t attempt, require_int(value, "attempt", ""));
  if (version < 1 || attempt < 1 || version > 1'000'000 || attempt > 1'000'000) {
    return make_error(Code::kInvalid, "WrongType", "typeVersion and attempt must be at least 1");
  }
  spec.type_version = static_cast<int>(version);
  spec.attempt = static_cast<int>(attempt);
  TRY_ASSIGN(spec.config, require_object(value, "config", ""));
  TRY_ASSIGN(spec.inputs, digest_map(get(value, "inputs"), "inputs"));
  if (const Json& registry = get(value, "registry"); !registry.is_null()) {
    if (!registry.is_object())
      return make_error(Code::kInvalid, "WrongType", "registry must be an object");
    TRY(refuse_unknown(registry, {"url", "repository"}, "registry"));
    spec.registry = {get_string(registry, "url"), get_string(registry, "repository")};
  }
  TRY_ASSIGN(spec.run_id, require_string(value, "runId", ""));
  spec.run_api = get_string(value, "runApi");
  return spec;
}

Result<std::string> input_hash(std::string_view type, int type_version, const Json& config,
                               const std::map<std::string, std::string>& inputs) {
  TRY_ASSIGN(std::string text, canonical_json(Json{{"type", std::string(type)},
                                                   {"typeVersion", type_version},
                                                   {"config", config},
                                                   {"inputs", inputs}}));
  return sha256(text).hex();
}

std::string result_tag(std::string_view hash) { return "result-" + std::string(hash); }

Json encode(const StageResult& result) {
  return Json{
      {"outputs", result.outputs}, {"metrics", result.metrics}, {"warnings", result.warnings}};
}

Result<StageResult> parse_result(const Json& value) {
  if (!value.is_object())
    return make_error(Code::kInvalid, "WrongType", "result.json must hold an object");
  TRY(refuse_unknown(value, {"outputs", "metrics", "warnings"}, ""));
  StageResult result;
  TRY_ASSIGN(result.outputs, digest_map(get(value, "outputs"), "outputs"));
  if (const Json& metrics = get(value, "metrics"); !metrics.is_null()) result.metrics = metrics;
  if (const Json& warnings = get(value, "warnings"); warnings.is_array()) {
    result.warnings.assign(warnings.begin(), warnings.end());
  }
  return result;
}

Result<RunPaths> run_paths_from_env() {
  auto env = [](const char* name) {
    const char* v = std::getenv(name);
    return std::string(v ? v : "");
  };
  RunPaths paths;
  paths.run_dir = env("TANGO_RUN_DIR");
  if (paths.run_dir.empty()) {
    return make_error(
        Code::kInvalid, "MissingEnvironment",
        "TANGO_RUN_DIR is not set: a stage program is started by a pod, or by hand with --stage");
  }
  paths.work_dir = env("TANGO_WORK_DIR");
  if (paths.work_dir.empty()) paths.work_dir = paths.run_dir / "work";
  paths.data_dir = env("TANGO_DATA_DIR");
  paths.token_file = env("TANGO_TOKEN_FILE");
  return paths;
}

Result<StageSpec> load_stage(const RunPaths& paths) {
  auto file = paths.run_dir / "stage.json";
  TRY_ASSIGN(std::string text, read_file(file, kMaxStageBytes));
  auto json = parse_json(text);
  if (!json.ok()) return std::move(json).error().with_context("reading " + file.string());
  auto spec = parse_stage(*json);
  if (!spec.ok()) return std::move(spec).error().with_context("reading " + file.string());
  return spec;
}

}  // namespace tango::run

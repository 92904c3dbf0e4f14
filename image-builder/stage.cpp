#include "image-builder/stage.h"

#include <cstdlib>
#include <iostream>

#include "image-builder/build.h"
#include "image-builder/build_config.h"
#include "lib/base/http.h"
#include "lib/base/log.h"

namespace tango::builder {
namespace {

constexpr std::string_view kTitle = "org.opencontainers.image.title";
constexpr std::string_view kSbomType = "application/spdx+json";
constexpr std::string_view kJsonType = "application/json";
constexpr std::string_view kEventsType = "application/jsonl";
constexpr std::string_view kManifestType = "application/vnd.oci.image.manifest.v1+json";
constexpr std::uint64_t kMaxModelFileBytes = 2ull << 30;
constexpr std::uint64_t kMaxEventsBytes = 64u << 20;
constexpr std::uint64_t kMaxTokenBytes = 64u << 10;

Result<std::map<std::string, std::string>> pull_model(artifacts::RegistryClient& registry,
                                                      const Digest& digest) {
  TRY_ASSIGN(const artifacts::Manifest manifest, registry.get_manifest(digest.to_string()));
  if (manifest.artifact_type != artifacts::kModelArtifact) {
    return make_error(Code::kInvalid, "NotAModel",
                      digest.to_string() + " is an artifact of type \"" + manifest.artifact_type +
                          "\", not a model");
  }
  std::map<std::string, std::string> files;
  for (const std::string_view title : kModelFiles) {
    const artifacts::Descriptor* layer = manifest.layer_titled(title);
    if (layer == nullptr) continue;  // build_release names what is missing
    if (layer->size > kMaxModelFileBytes) {
      return make_error(Code::kInvalid, "ModelTooLarge",
                        std::string(title) + " has " + std::to_string(layer->size) + " bytes");
    }
    TRY_ASSIGN(files[std::string(title)], registry.pull_blob(*layer));
  }
  return files;
}

// The bundle's manifest as descriptor, for referrers.
Result<artifacts::Descriptor> describe(artifacts::RegistryClient& registry, const Digest& digest) {
  TRY_ASSIGN(const std::string bytes, registry.get_manifest_bytes(digest.to_string()));
  artifacts::Descriptor out{std::string(kManifestType),
                            digest,
                            bytes.size(),
                            std::string(artifacts::kBundleArtifact),
                            {}};
  return out;
}

Status push_result(artifacts::RegistryClient& registry, const run::StageResult& result,
                   const fs::path& events, const std::string& input_hash) {
  TRY_ASSIGN(const std::string text, canonical_json(run::encode(result)));
  TRY_ASSIGN(auto result_layer, registry.push_blob(text, kJsonType));
  result_layer.annotations[std::string(kTitle)] = "result.json";
  TRY_ASSIGN(const std::string lines, read_file(events, kMaxEventsBytes));
  TRY_ASSIGN(auto events_layer, registry.push_blob(lines, kEventsType));
  events_layer.annotations[std::string(kTitle)] = "events.jsonl";
  TRY(registry.push_artifact(artifacts::kRunArtifact, {result_layer, events_layer}, {},
                             run::result_tag(input_hash)));
  return ok_status();
}

// A result of an earlier attempt that died after pushing it.
Result<std::optional<run::StageResult>> earlier_result(artifacts::RegistryClient& registry,
                                                       const std::string& input_hash) {
  const auto manifest = registry.get_manifest(run::result_tag(input_hash));
  if (!manifest.ok()) {
    if (manifest.error().code == Code::kNotFound) return std::optional<run::StageResult>();
    return manifest.error();
  }
  const artifacts::Descriptor* layer = manifest->layer_titled("result.json");
  if (layer == nullptr) return std::optional<run::StageResult>();
  TRY_ASSIGN(const std::string text, registry.pull_blob(*layer));
  TRY_ASSIGN(const Json value, parse_json(text));
  TRY_ASSIGN(run::StageResult result, run::parse_result(value));
  return std::optional<run::StageResult>(std::move(result));
}

Result<int> run_all(const StageOptions& options) {
  TRY_ASSIGN(const run::RunPaths paths, run::run_paths_from_env());
  TRY(make_dirs(paths.work_dir));
  TRY_ASSIGN(const run::StageSpec stage, run::load_stage(paths));
  run::EventWriter events(paths.run_dir / "events.jsonl", stage.run_id, stage.attempt,
                          *options.clock);
  const auto outcome = [&]() -> Status {
    const char* given = std::getenv("TANGO_INPUT_HASH");
    std::string hash = given != nullptr ? given : "";
    if (hash.empty()) {
      TRY_ASSIGN(hash, run::input_hash(stage.type, stage.type_version, stage.config, stage.inputs));
    }
    artifacts::RegistryOptions registry_options;
    registry_options.url = stage.registry.url;
    registry_options.repository = stage.registry.repository;
    if (!paths.token_file.empty()) {
      TRY_ASSIGN(std::string token, read_file(paths.token_file, kMaxTokenBytes));
      while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
      registry_options.token = Secret<std::string>(std::move(token));
    }
    const auto http = make_curl_client({});
    artifacts::RegistryClient registry(*http, registry_options);
    TRY(run_build_stage(stage, paths, hash, registry, events, options));
    return ok_status();
  }();
  if (outcome.ok()) return run::kDone;
  const Error& error = outcome.error();
  events.emit("failed", {{"reason", error.reason}, {"message", error.to_string()}});
  log_error("Build failed", {{error}});
  return run::exit_code_for(error);
}

}  // namespace

Result<run::StageResult> run_build_stage(const run::StageSpec& stage, const run::RunPaths& paths,
                                         const std::string& input_hash,
                                         artifacts::RegistryClient& registry,
                                         run::EventWriter& events, const StageOptions& options) {
  if (stage.type != "Build" || stage.type_version != 1) {
    return make_error(Code::kUnsupported, "Unsupported",
                      "tango-builder runs stages of type Build, version 1; this one is " +
                          stage.type + ", version " + std::to_string(stage.type_version));
  }
  const auto input = stage.inputs.find("model");
  if (input == stage.inputs.end() || stage.inputs.size() != 1) {
    return make_error(Code::kInvalid, "MissingField",
                      "a Build stage has exactly one input, called model");
  }
  TRY_ASSIGN(const Digest model, Digest::parse(input->second));
  BuildInput build;
  TRY_ASSIGN(build.spec, parse_build_config(stage.config));
  build.spec.model = model;  // the lineage that the signer checks
  build.runtime = options.runtime;
  build.work = paths.work_dir;

  TRY_ASSIGN(auto earlier, earlier_result(registry, input_hash));
  if (earlier) {
    events.emit("done", {{"outputs", earlier->outputs}});
    return std::move(*earlier);
  }

  events.emit("phase", {{"phase", "pull"}, {"model", model.to_string()}});
  TRY_ASSIGN(build.model_files, pull_model(registry, model));
  events.emit("phase", {{"phase", "build"}});
  TRY_ASSIGN(const Built built, build_release(build));
  events.emit("phase",
              {{"phase", "gate"}, {"selfTest", built.self_test}, {"rejected", built.rejected}});

  events.emit("phase", {{"phase", "push"}});
  TRY_ASSIGN(const Digest bundle, artifacts::push_bundle(registry, built.bundle));
  TRY_ASSIGN(auto sbom, registry.push_blob(built.sbom, kSbomType));
  sbom.annotations[std::string(kTitle)] = "sbom.spdx.json";
  TRY_ASSIGN(const artifacts::Descriptor subject, describe(registry, bundle));
  TRY(registry.push_artifact(kSbomType, {sbom}, {}, {}, subject));

  run::StageResult result;
  result.outputs["bundle"] = bundle.to_string();
  result.metrics = {{"indexDigest", built.bundle.digest().to_string()},
                    {"bytes", built.bundle.index.total_bytes},
                    {"files", built.bundle.index.files.size()},
                    {"chunks", built.bundle.index.chunk_count},
                    {"sharedObjects", built.objects.size()},
                    {"sbomDigest", sbom.digest.to_string()},
                    {"selfTest", built.self_test},
                    {"gateRejected", built.rejected}};
  events.emit("artifact", {{"port", "bundle"},
                           {"digest", bundle.to_string()},
                           {"bytes", built.bundle.index.total_bytes}});
  events.emit("done", {{"outputs", result.outputs}});
  TRY(push_result(registry, result, events.file(), input_hash));
  return result;
}

int run_builder(const StageOptions& options) {
  try {
    const auto code = run_all(options);
    if (code.ok()) return *code;
    log_error("Build failed", {{code.error()}});
    return run::exit_code_for(code.error());
  } catch (const std::bad_alloc&) {
    return run::kOutOfMemory;
  } catch (const std::exception& e) {
    log_error("Build failed", {{"what", e.what()}});
    return run::kOther;
  }
}

}  // namespace tango::builder

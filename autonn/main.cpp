// tango-trainer: runs one stage, as a pod (TANGO_RUN_DIR) or by hand (run --stage FILE --out DIR).

#include <malloc.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "autonn/event_poster.h"
#include "autonn/stages.h"
#include "lib/artifacts/registry_client.h"
#include "lib/base/file.h"
#include "lib/base/log.h"

namespace tango::autonn {
namespace {

std::atomic<bool> g_stop{false};
void on_signal(int) { g_stop.store(true); }

constexpr const char* kHelp =
    "tango-trainer runs one stage of a project: Dataset, Train, Distill, Evaluate or Export.\n"
    "\n"
    "  tango-trainer                               as a pod: reads $TANGO_RUN_DIR/stage.json\n"
    "  tango-trainer run --stage FILE --out DIR [--data DIR]\n"
    "                                              by hand: without a registry, results in DIR\n"
    "  tango-trainer --help | --version\n"
    "\n"
    "Exit codes: 0 done, 10 bad input, 11 out of memory, 12 interrupted after a checkpoint,\n"
    "13 registry or network, 1 other.\n";

struct Arguments {
  bool by_hand = false;
  std::string stage;
  std::string out;
  std::string data;
};

Result<Arguments> parse_arguments(int argc, char** argv) {
  Arguments a;
  if (argc == 1) return a;
  if (std::string_view(argv[1]) != "run") {
    return make_error(
        Code::kInvalid, "UnknownArgument",
        "unknown argument \"" + std::string(argv[1]) + "\"; see tango-trainer --help");
  }
  a.by_hand = true;
  for (int i = 2; i < argc; ++i) {
    const std::string_view key = argv[i];
    std::string* value = key == "--stage"  ? &a.stage
                         : key == "--out"  ? &a.out
                         : key == "--data" ? &a.data
                                           : nullptr;
    if (value == nullptr || i + 1 >= argc) {
      return make_error(Code::kInvalid, "UnknownArgument",
                        "\"" + std::string(key) + "\" is unknown or lacks its value; see --help");
    }
    *value = argv[++i];
  }
  if (a.stage.empty() || a.out.empty()) {
    return make_error(Code::kInvalid, "MissingArgument", "run needs --stage FILE and --out DIR");
  }
  return a;
}

// By hand the envelope may be left out of the file: {"type": ..., "config": {...}} is enough.
Result<run::StageSpec> read_stage_by_hand(const std::string& path) {
  TRY_ASSIGN(const std::string text, read_file(path, 4u << 20));
  TRY_ASSIGN(Json json, parse_json(text));
  if (json.is_object()) {
    const Json defaults{{"stage", "local"}, {"typeVersion", 1},         {"attempt", 1},
                        {"runId", "local"}, {"inputs", Json::object()}, {"config", Json::object()}};
    for (const auto& [key, value] : defaults.items()) {
      if (!json.contains(key)) json[key] = value;
    }
  }
  auto spec = run::parse_stage(json);
  if (!spec.ok()) return std::move(spec).error().with_context("while reading " + path);
  return spec;
}

Status publish(StageContext& c, const run::StageResult& result) {
  c.events.emit("done", {{"outputs", result.outputs}});
  TRY_ASSIGN(const std::string events, read_file(c.events.file()));
  const std::string text = dump_json(run::encode(result));
  TRY_ASSIGN(const Digest unused,
             c.store.push({std::string(artifacts::kRunArtifact),
                           {{"result.json", std::string(kJsonType), text},
                            {"events.jsonl", std::string(kJsonLinesType), events}},
                           {{"ml-tango.io/stage-type", c.spec.type},
                            {"ml-tango.io/input-hash", c.input_hash}}},
                          run::result_tag(c.input_hash)));
  (void)unused;
  return ok_status();
}

Result<Secret<std::string>> read_token(const std::filesystem::path& file) {
  if (file.empty()) return Secret<std::string>();
  TRY_ASSIGN(std::string text, read_file(file, 64u << 10));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return Secret<std::string>(std::move(text));
}

Status run_all(const Arguments& arguments) {
  run::RunPaths paths;
  run::StageSpec spec;
  if (arguments.by_hand) {
    paths.run_dir = arguments.out;
    paths.work_dir = paths.run_dir / "work";
    const char* data = std::getenv("TANGO_DATA_DIR");
    paths.data_dir = !arguments.data.empty() ? arguments.data : data != nullptr ? data : "";
    TRY_ASSIGN(spec, read_stage_by_hand(arguments.stage));
    TRY(make_dirs(paths.run_dir));
  } else {
    TRY_ASSIGN(paths, run::run_paths_from_env());
    TRY_ASSIGN(spec, run::load_stage(paths));
  }
  const char* hash = std::getenv("TANGO_INPUT_HASH");
  std::string input_hash = hash != nullptr && !arguments.by_hand ? hash : "";
  if (input_hash.empty()) {
    TRY_ASSIGN(input_hash, run::input_hash(spec.type, spec.type_version, spec.config, spec.inputs));
  }
  TRY_ASSIGN(const Secret<std::string> token, read_token(paths.token_file));
  const auto http = make_curl_client({});
  std::unique_ptr<ArtifactStore> store;
  if (arguments.by_hand) {
    store = make_folder_store(paths.run_dir);
  } else if (spec.registry.url.empty()) {
    return make_error(Code::kInvalid, "MissingField", "stage.json names no registry.url");
  } else {
    store = make_registry_store(*http, spec.registry, token);
  }
  run::EventWriter events(paths.run_dir / "events.jsonl", spec.run_id, spec.attempt,
                          system_clock());
  std::optional<EventPoster> poster;
  if (!spec.run_api.empty()) poster.emplace(*http, spec.run_api, token, events.file());
  StageContext context{spec, paths, input_hash, *store, events, system_clock(), g_stop};
  events.emit("phase", {{"phase", "start"}, {"stage", spec.stage}, {"stageType", spec.type}});

  auto result = run_stage(context);
  Status status = ok_status();
  if (result.ok()) {
    status = publish(context, *result);
    if (status.ok() && arguments.by_hand) {
      status = write_file_atomic(paths.run_dir / "result.json",
                                 dump_json(run::encode(*result), 2) + "\n");
    }
  } else {
    status = std::move(result).error();
  }
  if (!status.ok()) {
    const Error& error = status.error();
    const bool interrupted = error.code == Code::kCancelled;
    events.emit(interrupted ? "warning" : "failed",
                {{"reason", error.reason}, {"message", error.to_string()}});
  }
  return status;
}

}  // namespace
}  // namespace tango::autonn

int main(int argc, char** argv) {
  using namespace tango;
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first == "--help" || first == "-h") {
    std::fputs(autonn::kHelp, stdout);
    return 0;
  }
  if (first == "--version") {
    std::puts("tango-trainer " TANGO_VERSION);
    return 0;
  }
  // OpenMP reads its settings before main: threads that spin while they wait would take the CPU
  // away from the loader threads and from neighbours (measured: 10 times slower on a busy machine).
  if (std::getenv("OMP_WAIT_POLICY") == nullptr && std::getenv("GOMP_SPINCOUNT") == nullptr) {
    ::setenv("OMP_WAIT_POLICY", "passive", 1);
    ::execv("/proc/self/exe", argv);
  }
  // Activations of every step have the same sizes: keep the memory instead of giving it back to the
  // kernel and faulting it in again (measured: a fifth of the CPU time).
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 2'000'000'000);
  mallopt(M_TOP_PAD, 64 << 20);
  struct sigaction action = {};
  action.sa_handler = autonn::on_signal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  auto arguments = autonn::parse_arguments(argc, argv);
  const Status status = arguments.ok() ? autonn::run_all(*arguments) : Status(arguments.error());
  if (status.ok()) return run::kDone;
  log_error("Stage did not complete", {status.error()});
  return run::exit_code_for(status.error());
}

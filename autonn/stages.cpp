#include "autonn/stages.h"

#include <algorithm>
#include <new>

#include "autonn/config.h"
#include "autonn/golden.h"
#include "autonn/loader.h"
#include "autonn/model_files.h"
#include "autonn/onnx_export.h"
#include "autonn/parity.h"
#include "autonn/trainer.h"
#include "lib/artifacts/registry_client.h"
#include "lib/base/file.h"
#include "lib/graph/infer.h"
#include "lib/graph/select.h"
#include "lib/graph/zoo.h"

namespace tango::autonn {
namespace {

constexpr int kTypeVersion = 1;
constexpr std::size_t kStatisticsSamples = 2000;
constexpr int kLargestOwnSize = 64;  // images up to this side keep their size
constexpr int kDefaultSize = 224;    // larger ones are scaled down to this
constexpr int kMaxConfusionInMetrics = 20;
constexpr std::int64_t kEvaluateBatch = 256;
constexpr int kMaxLoaderThreads = 4;
constexpr const char* kStateTitle = "trainer-state.safetensors";

Result<std::filesystem::path> data_root(const StageContext& c, const DataConfig& config) {
  if (c.paths.data_dir.empty()) {
    return make_error(Code::kInvalid, "MissingEnvironment",
                      "TANGO_DATA_DIR is not set: there is no dataset to read");
  }
  if (config.path.empty()) return c.paths.data_dir;
  TRY(check_relative_path(config.path));
  return c.paths.data_dir / config.path;
}

Result<std::shared_ptr<const data::Dataset>> open_dataset(StageContext& c, const DataConfig& config,
                                                          int threads) {
  c.events.emit("phase", {{"phase", "data"}});
  TRY_ASSIGN(const std::filesystem::path root, data_root(c, config));
  TRY_ASSIGN(data::OpenOptions options, data::parse_options(config.options));
  options.threads = threads;
  TRY_ASSIGN(auto set, data::Dataset::open(root, options));
  auto expected = c.spec.inputs.find("dataset");
  if (expected != c.spec.inputs.end() && expected->second != set->digest().to_string()) {
    return make_error(Code::kInvalid, "DatasetChanged",
                      "the dataset at " + root.string() + " has digest " +
                          set->digest().to_string() + ", but this stage was made for " +
                          expected->second + "; the files changed after they were validated");
  }
  Json splits = Json::object();
  for (const data::Split s : data::kSplits) splits[std::string(data::to_string(s))] = set->size(s);
  c.events.emit("dataset", {{"format", data::to_string(set->format())},
                            {"digest", set->digest().to_string()},
                            {"classes", set->classes().size()},
                            {"splits", splits}});
  return set;
}

Result<Model> pull_model(StageContext& c, const std::string& port) {
  auto it = c.spec.inputs.find(port);
  if (it == c.spec.inputs.end()) {
    return make_error(Code::kInvalid, "MissingInput",
                      "stage " + c.spec.type + " needs input \"" + port + "\"");
  }
  auto artifact = c.store.pull(it->second);
  if (!artifact.ok())
    return std::move(artifact).error().with_context("while reading input " + port);
  auto model = read_model(*artifact);
  if (!model.ok()) return std::move(model).error().with_context("while reading input " + port);
  return model;
}

Status check_classes(const Model& model, const data::Dataset& set, const std::string& what) {
  if (model.spec.classes == set.classes()) return ok_status();
  return make_error(Code::kInvalid, "ClassesDiffer",
                    "the classes of the " + what + " (" +
                        std::to_string(model.spec.classes.size()) +
                        ") are not those of the dataset (" + std::to_string(set.classes().size()) +
                        ") in the same order");
}

// Size, colour and normalisation from the train images.
Result<vision::InputSpec> input_spec(const data::Dataset& set, const TrainingConfig& config) {
  const std::shared_ptr<const data::Dataset> borrowed(std::shared_ptr<void>(), &set);
  TRY_ASSIGN(const ImageShape shape, image_shape(set, data::Split::kTrain, kStatisticsSamples));
  vision::InputSpec input;
  input.color = shape.gray ? vision::ColorOrder::kGray : vision::ColorOrder::kRgb;
  if (config.image_size) {
    input.height = input.width = static_cast<int>(*config.image_size);
  } else if (shape.uniform && std::max(shape.height, shape.width) <= kLargestOwnSize) {
    input.height = shape.height;
    input.width = shape.width;
  } else {
    const int side = std::min(kDefaultSize, (std::min(shape.height, shape.width) + 31) / 32 * 32);
    input.height = input.width = std::max(32, side);
  }
  const auto channels = static_cast<std::size_t>(input.channels());
  input.mean.assign(channels, 0);
  input.std.assign(channels, 1);
  const SampleSource source(borrowed, data::Split::kTrain, input);
  TRY_ASSIGN(const PixelStatistics statistics, pixel_statistics(source, kStatisticsSamples));
  input.mean = statistics.mean;
  input.std = statistics.std;
  return input;
}

Result<std::string> network_name(const TrainingConfig& config, const data::Dataset& set,
                                 const vision::InputSpec& input) {
  if (config.network != "Auto") return config.network;
  graph::SelectionInput in;
  in.task = "Classification";
  in.classes = static_cast<std::int64_t>(set.classes().size());
  in.channels = input.channels();
  in.height = input.height;
  in.width = input.width;
  TRY_ASSIGN(const graph::Selection s, graph::select_base_model(in));
  return s.name;
}

std::map<std::string, std::string> lineage(const StageContext& c) {
  std::map<std::string, std::string> out{{"ml-tango.io/stage-type", c.spec.type},
                                         {"ml-tango.io/input-hash", c.input_hash}};
  for (const auto& [port, digest] : c.spec.inputs) out["ml-tango.io/input-" + port] = digest;
  return out;
}

Result<run::StageResult> dataset_stage(StageContext& c) {
  TRY_ASSIGN(const DataConfig config, parse_dataset_stage(c.spec.config));
  c.events.emit("phase", {{"phase", "validate"}});
  TRY_ASSIGN(const std::filesystem::path root, data_root(c, config));
  TRY_ASSIGN(data::OpenOptions options, data::parse_options(config.options));
  options.threads = available_cpus();
  TRY_ASSIGN(const Json report, data::dataset_report(root, options));
  run::StageResult out;
  out.outputs["dataset"] = get_string(report, "digest");
  out.metrics = report;
  for (const Json& w : get(report, "warnings")) {
    out.warnings.push_back(w.is_object() ? w : Json{{"reason", "DatasetWarning"}, {"message", w}});
  }
  c.events.emit("dataset", {{"format", get(report, "format")},
                            {"digest", get(report, "digest")},
                            {"splits", get(report, "splits")}});
  return out;
}

// The saved state: what the work folder has, else what an earlier pod pushed.
void fetch_state(StageContext& c, const std::filesystem::path& file, const std::string& tag) {
  std::error_code ignored;
  if (std::filesystem::exists(file, ignored)) return;
  auto artifact = c.store.pull(tag);
  if (!artifact.ok()) return;
  const auto state = artifact->file(kStateTitle);
  if (!state.ok()) return;
  // Without it training starts anew, which is only slower.
  if (write_file_atomic(file, state.value()->bytes).ok()) {
    c.events.emit("phase", {{"phase", "checkpointFetched"}, {"tag", tag}});
  }
}

Result<run::StageResult> train_stage(StageContext& c, bool distill) {
  TRY_ASSIGN(const TrainingConfig config, parse_training(c.spec.config, distill));
  const int cpus = available_cpus();
  TRY_ASSIGN(auto set, open_dataset(c, config.data, cpus));

  TrainJob job;
  job.config = config;
  job.dataset = set;
  std::optional<Model> start;    // fine-tuning
  std::optional<Model> teacher;  // distillation
  if (c.spec.inputs.contains("model")) {
    TRY_ASSIGN(start, pull_model(c, "model"));
    TRY(check_classes(*start, *set, "model"));
  }
  if (distill && c.spec.inputs.contains("teacher")) {
    TRY_ASSIGN(teacher, pull_model(c, "teacher"));
    TRY(check_classes(*teacher, *set, "teacher"));
  }
  // Both networks see the same pixels, so a given model's input wins over the data's own.
  vision::NetworkSpec& spec = job.network;
  if (teacher || start) {
    spec.input = (teacher ? *teacher : *start).spec.input;
    if (config.image_size && *config.image_size != spec.input.height) {
      return make_error(Code::kInvalid, "InputDiffers",
                        "config.imageSize is " + std::to_string(*config.image_size) +
                            ", but the given model works at " + std::to_string(spec.input.height));
    }
  } else {
    TRY_ASSIGN(spec.input, input_spec(*set, config));
  }
  spec.classes = set->classes();
  if (start) {
    job.graph = start->network.graph;
    job.initial = start->network.weights;
    spec.name = start->spec.name;
  } else {
    TRY_ASSIGN(spec.name, network_name(config, *set, spec.input));
    auto graph = graph::build_zoo_network(
        spec.name, {static_cast<std::int64_t>(spec.classes.size()), spec.input.channels()});
    if (!graph.ok()) return std::move(graph).error().with_context("while building config.network");
    job.graph = std::move(graph).value();
  }
  TRY_ASSIGN(const graph::Graph frozen,
             graph::freeze_input(job.graph, 1, spec.input.height, spec.input.width));
  TRY_ASSIGN(const graph::Cost cost, graph::cost(frozen));

  auto images = static_cast<std::int64_t>(set->size(data::Split::kTrain));
  if (config.limit_train > 0) images = std::min(images, config.limit_train);
  job.resolved = resolve_auto(config, images, cpus);
  if (distill && !teacher && config.ema == 0) {
    return make_error(
        Code::kInvalid, "OutOfRange",
        "config.ema must be above 0 when there is no teacher input: the moving average "
        "is the teacher");
  }
  job.method = distill ? make_distillation(config, teacher.has_value()) : make_supervised(config);
  if (teacher) job.frozen.emplace("teacher", teacher->network);
  c.events.emit("phase", {{"phase", "train"},
                          {"network", spec.name},
                          {"method", job.method->name()},
                          {"parameters", cost.params},
                          {"flops", cost.flops},
                          {"imageSize", {spec.input.height, spec.input.width}},
                          {"epochs", job.resolved.epochs},
                          {"batchSize", job.resolved.batch_size},
                          {"learningRate", job.resolved.learning_rate},
                          {"threads", job.resolved.threads}});

  const std::string tag = "checkpoint-" + c.input_hash;
  job.state_file = c.paths.work_dir / ("state-" + c.input_hash + ".safetensors");
  TRY(make_dirs(c.paths.work_dir));
  fetch_state(c, job.state_file, tag);
  const std::filesystem::path state_file = job.state_file;
  std::optional<Digest> state_digest;
  job.state_saved = [&] {
    auto bytes = read_file(state_file);
    if (!bytes.ok()) return;
    auto pushed = c.store.push({std::string(kTrainerStateArtifact),
                                {{kStateTitle, std::string(kSafetensorsType), std::move(*bytes)}},
                                lineage(c)},
                               tag);
    if (pushed.ok()) {
      state_digest = *pushed;
    } else {
      c.events.emit("warning",
                    {{"reason", "CheckpointNotPushed"}, {"message", pushed.error().to_string()}});
    }
  };
  const Resolved resolved = job.resolved;
  Model model;
  model.network.graph = job.graph;
  model.spec = spec;
  TRY_ASSIGN(TrainOutcome trained, train(std::move(job), c.events, c.clock, c.stop));
  model.network.weights = std::move(trained.weights);
  model.metrics = {{"val", trained.metrics}, {"params", cost.params}, {"flops", cost.flops}};
  TRY_ASSIGN(const Artifact artifact, model_artifact(model, lineage(c)));
  TRY_ASSIGN(const Digest digest, c.store.push(artifact));
  c.events.emit("artifact", {{"port", "model"}, {"digest", digest.to_string()}});

  run::StageResult out;
  out.outputs["model"] = digest.to_string();
  if (state_digest) out.outputs["trainerState"] = state_digest->to_string();
  out.metrics = trained.metrics;
  out.metrics.update(trained.timing);
  out.metrics["params"] = cost.params;
  out.metrics["flops"] = cost.flops;
  out.metrics["network"] = model.spec.name;
  out.metrics["batchSize"] = resolved.batch_size;
  return out;
}

Result<run::StageResult> evaluate_stage(StageContext& c) {
  TRY_ASSIGN(const EvaluateConfig config, parse_evaluate(c.spec.config));
  TRY_ASSIGN(const data::Split split, data::parse_split(config.split));
  const int cpus = available_cpus();
  TRY_ASSIGN(auto set, open_dataset(c, config.data, cpus));
  TRY_ASSIGN(const Model model, pull_model(c, "model"));
  TRY(check_classes(model, *set, "model"));
  c.events.emit("phase", {{"phase", "evaluate"}, {"split", config.split}});
  set_compute_threads(static_cast<int>(config.threads.value_or(cpus)));
  TRY_ASSIGN(const auto network, TorchNetwork::create(model.network.graph, model.network.weights));
  const SampleSource source(set, split, model.spec.input);
  EvaluationOptions options;
  options.batch_size = config.batch_size.value_or(kEvaluateBatch);
  options.loader_threads = std::min(cpus, kMaxLoaderThreads);
  TRY_ASSIGN(Json report, evaluate(*network, source, model.spec.classes, options));
  report["split"] = config.split;

  TRY_ASSIGN(const std::string text, canonical_json(report));
  TRY_ASSIGN(const Digest digest, c.store.push({std::string(artifacts::kRunArtifact),
                                                {{"report.json", std::string(kJsonType), text}},
                                                lineage(c)}));
  c.events.emit("artifact", {{"port", "report"}, {"digest", digest.to_string()}});
  run::StageResult out;
  out.outputs["report"] = digest.to_string();
  out.metrics = report;
  if (model.spec.classes.size() > static_cast<std::size_t>(kMaxConfusionInMetrics)) {
    out.metrics.erase("confusion");
    out.metrics.erase("perClass");
  }
  return out;
}

// The split golden samples come from: the first that has enough images.
data::Split golden_split(const data::Dataset& set, std::int64_t count) {
  for (const data::Split s : {data::Split::kVal, data::Split::kTest}) {
    if (set.size(s) >= static_cast<std::size_t>(count)) return s;
  }
  return data::Split::kTrain;
}

Result<run::StageResult> export_stage(StageContext& c) {
  TRY_ASSIGN(const ExportConfig config, parse_export(c.spec.config));
  const int cpus = available_cpus();
  TRY_ASSIGN(auto set, open_dataset(c, config.data, cpus));
  TRY_ASSIGN(const Model trained, pull_model(c, "model"));
  TRY(check_classes(trained, *set, "model"));

  c.events.emit("phase",
                {{"phase", "export"}, {"format", "ONNX"}, {"precision", config.precision}});
  Model deploy;
  deploy.spec = trained.spec;
  TRY_ASSIGN(graph::Graph eval, graph::select_mode(trained.network.graph, graph::When::kEval));
  graph::TensorStore eval_weights;
  TRY_ASSIGN(const auto specs, graph::param_specs(eval));
  for (const graph::ParamSpec& p : specs) {
    TRY_ASSIGN(const graph::Tensor* t, trained.network.weights.get(p.key));
    eval_weights.put(p.key, *t);
  }
  TRY_ASSIGN(deploy.network, graph::fuse_conv_bn({std::move(eval), std::move(eval_weights)}));
  TRY_ASSIGN(deploy.network.graph,
             graph::freeze_input(std::move(deploy.network.graph), 1, deploy.spec.input.height,
                                 deploy.spec.input.width));
  TRY_ASSIGN(const std::string onnx,
             export_onnx(deploy.network, deploy.spec.input.name, deploy.spec.output.name));

  // The reference is the trained network as it was evaluated, before folding.
  set_compute_threads(static_cast<int>(config.threads.value_or(cpus)));
  TRY_ASSIGN(const auto network,
             TorchNetwork::create(trained.network.graph, trained.network.weights));
  const SampleSource source(set, golden_split(*set, config.golden_samples), deploy.spec.input);
  TRY_ASSIGN(const Golden golden, make_golden(source, deploy.spec, config.golden_samples,
                                              [&](const std::vector<float>& inputs) {
                                                return reference_outputs(*network, inputs,
                                                                         deploy.spec.input);
                                              }));
  c.events.emit("phase", {{"phase", "parity"}, {"samples", golden.outputs.size()}});
  TRY_ASSIGN(const Parity parity, check_parity(onnx, deploy.spec, golden.inputs, golden.outputs));
  TRY_ASSIGN(const graph::Cost cost, graph::cost(deploy.network.graph));
  deploy.metrics = trained.metrics;
  deploy.metrics["params"] = cost.params;
  deploy.metrics["flops"] = cost.flops;
  deploy.metrics["parity"] = {{"engine", "OpenCV DNN"},
                              {"maxAbsDiff", parity.max_abs_diff},
                              {"limit", parity.limit},
                              {"samples", parity.samples}};
  TRY_ASSIGN(Artifact artifact, model_artifact(deploy, lineage(c)));
  artifact.files.push_back({"model.onnx", std::string(kOnnxType), onnx});
  artifact.files.insert(artifact.files.end(), golden.files.begin(), golden.files.end());
  TRY_ASSIGN(const Digest digest, c.store.push(artifact));
  c.events.emit("artifact", {{"port", "model"}, {"digest", digest.to_string()}});

  run::StageResult out;
  out.outputs["model"] = digest.to_string();
  out.metrics = {{"params", cost.params},
                 {"flops", cost.flops},
                 {"modelBytes", onnx.size()},
                 {"peakActivationBytes", cost.peak_activation_bytes},
                 {"parity", deploy.metrics["parity"]}};
  return out;
}

Result<run::StageResult> dispatch(StageContext& c) {
  const std::string& type = c.spec.type;
  if (c.spec.type_version != kTypeVersion) {
    return make_error(Code::kUnsupported, "Unsupported",
                      "typeVersion " + std::to_string(c.spec.type_version) + " of stage type " +
                          type + " is not supported; this build has version 1");
  }
  if (type == "Dataset") return dataset_stage(c);
  if (type == "Train") return train_stage(c, false);
  if (type == "Distill") return train_stage(c, true);
  if (type == "Evaluate") return evaluate_stage(c);
  if (type == "Export") return export_stage(c);
  return make_error(Code::kUnsupported, "Unsupported",
                    "stage type \"" + type +
                        "\" is not run by this version of tango-trainer; it runs Dataset, Train, "
                        "Distill, Evaluate and Export");
}

}  // namespace

Result<run::StageResult> run_stage(StageContext& c) {
  // Libraries below report by exceptions; what train() did not turn into a Result ends here.
  try {
    return dispatch(c);
  } catch (const std::exception& e) {
    const std::string what = e.what();
    const bool memory = dynamic_cast<const std::bad_alloc*>(&e) != nullptr ||
                        what.find("allocate memory") != std::string::npos;
    if (memory) {
      return make_error(Code::kExhausted, "OutOfMemory",
                        "stage " + c.spec.type + " ran out of memory: give the pod more memory");
    }
    return make_error(Code::kInternal, "StageFailed",
                      "stage " + c.spec.type + ": " + what.substr(0, what.find('\n')));
  }
}

}  // namespace tango::autonn

#include "controllers/dataset/dataset.h"

#include "controllers/common/conditions.h"
#include "controllers/common/stage_run.h"
#include "controllers/common/status.h"
#include "crds/dataset.h"
#include "crds/validate.h"

namespace tango::controllers {
namespace {

Error unsupported(std::string path) {
  return make_error(
      Code::kUnsupported, "Unsupported",
      path + " is not implemented by this version; use spec.source.hostPath or spec.source.pvc");
}

std::string source_identity(const crds::Dataset& dataset) {
  return dump_json(kube::to_value(dataset.spec.source));
}

constexpr std::size_t kMaxNamed = 20;
constexpr std::size_t kMaxClasses = 1000;
constexpr std::size_t kMaxPerClass = 100;

void cut(Json& list, std::size_t max) {
  if (list.size() > max) list.erase(list.begin() + static_cast<std::ptrdiff_t>(max), list.end());
}

Json split_status(const Json& split) {
  Json out = Json::object();
  for (const char* key : {"images", "labels"}) out[key] = get_int(split, key);
  for (const char* key : {"missing", "empty"}) out[key] = get_int(get(split, key), "count");
  const Json& corrupt = get(split, "corrupt");
  out["corruptCount"] = get_int(corrupt, "count");
  out["corrupt"] = get(corrupt, "names").is_array() ? get(corrupt, "names") : Json::array();
  cut(out["corrupt"], kMaxNamed);
  return out;
}

// Images by class over all splits; the report has all of them.
Json class_counts(const Json& rows) {
  Json out = Json::object();
  for (const Json& row : rows) {
    if (out.size() >= kMaxPerClass) break;
    std::int64_t images = 0;
    for (const auto& [key, value] : row.items()) {
      if (value.is_number_integer()) images += value.get<std::int64_t>();
    }
    out[get_string(row, "class")] = images;
  }
  return out;
}

// The channel count that most images have: {"1": 70000} -> 1.
std::int64_t channels_of(const Json& by_count) {
  std::int64_t best = 0, images = 0;
  for (const auto& [channels, count] : by_count.items()) {
    if (!count.is_number_integer() || count.get<std::int64_t>() <= images) continue;
    images = count.get<std::int64_t>();
    best = channels.size() == 1 ? channels[0] - '0' : 0;
  }
  return best;
}

// Takes the report of lib/data over, in the words of the CRD. False when it does not read as one.
bool take_statistics(const Json& report, crds::DatasetStatus& status) {
  Json merged = kube::to_value(status);
  for (const char* key : {"format", "classCount", "classes", "digest", "reportDigest", "images"}) {
    if (report.contains(key)) merged[key] = report[key];
  }
  if (merged.contains("classes") && merged["classes"].is_array())
    cut(merged["classes"], kMaxClasses);
  if (const std::int64_t channels = channels_of(get(report, "channels")); channels > 0)
    merged["channels"] = channels;
  merged["perClass"] = class_counts(get(report, "perClass"));
  merged["splits"] = Json::object();
  for (const auto& [name, split] : get(report, "splits").items())
    merged["splits"][name] = split_status(split);
  const Json& width = at_path(report, "size.width");
  const Json& height = at_path(report, "size.height");
  if (width.is_object() && height.is_object()) {
    merged["size"] =
        Json{{"minWidth", get_int(width, "min")},      {"medianWidth", get_int(width, "p50")},
             {"maxWidth", get_int(width, "max")},      {"minHeight", get_int(height, "min")},
             {"medianHeight", get_int(height, "p50")}, {"maxHeight", get_int(height, "max")}};
  }
  return replace_status(status, merged);
}

}  // namespace

Result<DataMount> data_mount(const crds::Dataset& dataset, const Settings& settings) {
  const auto& source = dataset.spec.source;
  if (source.host_path) {
    if (!settings.allow_host_path) {
      return make_error(Code::kDenied, "HostPathNotAllowed",
                        "spec.source.hostPath needs an operator started with --allow-host-path");
    }
    return DataMount{Json{{"hostPath", {{"path", source.host_path->path}, {"type", "Directory"}}}},
                     {}};
  }
  if (source.pvc) {
    return DataMount{Json{{"persistentVolumeClaim",
                           {{"claimName", source.pvc->claim_name}, {"readOnly", true}}}},
                     source.pvc->path};
  }
  if (source.http) return unsupported("spec.source.http");
  if (source.s3) return unsupported("spec.source.s3");
  if (source.oci) return unsupported("spec.source.oci");
  return make_error(Code::kInvalid, "InvalidSource", "spec.source names no source");
}

Json data_config(const crds::Dataset& dataset) {
  Json config{{"format", std::string(to_string(dataset.spec.format))}};
  if (!dataset.spec.classes.empty()) config["classes"] = dataset.spec.classes;
  // Shares that the user did not touch leave the data's own division alone.
  const Json splits = kube::to_value(dataset.spec.splits);
  const Json untouched = kube::to_value(decltype(dataset.spec.splits){});
  if (splits != untouched) config["splits"] = splits;
  if (!dataset.spec.classes.empty()) config["classes"] = dataset.spec.classes;
  return config;
}

kube::Outcome reconcile_dataset(const crds::Dataset& self, const kube::Observed& world,
                                TimePoint now, const Settings& settings) {
  kube::Outcome out;
  if (self.metadata.deleting()) {
    out.finalizer = kube::Finalizer::kRelease;
    return out;
  }
  crds::DatasetStatus status = self.status;
  status.observed_generation = self.metadata.generation;
  Conditions conditions(status.conditions, self.metadata.generation, now);
  const auto finish = [&] {
    out.status = kube::to_value(status);
    return std::move(out);
  };
  const auto refuse = [&](const std::string& reason, const std::string& message) {
    conditions.no("Accepted", reason, message);
    conditions.no("Ready", reason, message);
    return finish();
  };
  if (auto valid = check_object(self); !valid.ok())
    return refuse(valid.error().reason, valid.error().message);
  if (!self.spec.unlabeled.empty()) {
    const Error e = unsupported("spec.unlabeled");
    return refuse(e.reason, "spec.unlabeled is not implemented by this version; leave it out");
  }
  auto mount = data_mount(self, settings);
  if (!mount.ok()) return refuse(mount.error().reason, mount.error().message);
  conditions.yes("Accepted", "Valid");

  StageRequest request;
  request.owner_kind = crds::Dataset::kKind;
  request.owner = &self.metadata;
  request.stage = "data";
  request.type = "Dataset";
  request.config = data_config(self);
  // Another folder is another input, although its content is only known afterwards; and after a
  // failure the annotation asks for another look at the same one.
  request.inputs["source"] = sha256(source_identity(self)).to_string();
  if (const std::string token = self.metadata.annotation(kRetryAnnotation); !token.empty()) {
    request.inputs["retry"] = sha256(token).to_string();
  }
  request.repository = repository_of(settings, self.metadata.ns, self.metadata.name);
  request.image = settings.trainer_image;
  request.data_volume = mount->volume;
  request.data_sub_path = mount->sub_path;
  const auto hash =
      run::input_hash(request.type, request.type_version, request.config, request.inputs);
  if (hash.ok() && *hash == self.status.input_hash &&
      kube::is_true(self.status.conditions, "Ready")) {
    return finish();  // validated already; nothing is asked again
  }
  StageMemory memory;
  if (hash.ok() && *hash == self.status.input_hash)
    memory.attempt = attempt_of(self.status.attempt);
  const StageView view = run_stage(request, memory, world, now, settings, out);
  if (view.input_hash != self.status.input_hash) {
    status = crds::DatasetStatus{};
    status.conditions = self.status.conditions;
    status.observed_generation = self.metadata.generation;
    conditions.yes("Accepted", "Valid");
  }
  status.input_hash = view.input_hash;
  status.job = view.job;
  set_attempt(status.attempt, view.memory.attempt);
  switch (view.state) {
    case StageView::State::kSucceeded:
      if (!take_statistics(view.result.metrics, status)) status.digest.clear();
      conditions.yes("Fetched", "Fetched");
      conditions.yes("Validated", "Validated",
                     std::to_string(status.images.value_or(0)) + " images");
      if (status.digest.empty()) {
        conditions.no("Ready", "ResultInvalid", "the validation's report cannot be read");
      } else {
        conditions.yes("Ready", "Ready",
                       std::to_string(status.images.value_or(0)) + " images in " +
                           std::to_string(status.class_count.value_or(0)) + " classes");
      }
      break;
    case StageView::State::kFailed:
      conditions.no("Validated", view.reason, view.message);
      conditions.no("Ready", view.reason, view.message);
      break;
    default:
      conditions.unknown("Validated", view.reason, view.message);
      conditions.no("Ready", "Validating",
                    view.reason + (view.message.empty() ? "" : ": " + view.message));
  }
  return finish();
}

}  // namespace tango::controllers

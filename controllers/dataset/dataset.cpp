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

// Copies what the Job measured into the status; the Job's words are those of the CRD.
// The report's list [{class, <split>: n, ...}] as images by class, the first 100.
Json images_by_class(const Json& per_class) {
  Json out = Json::object();
  for (const Json& row : per_class) {
    if (out.size() == 100) break;
    std::int64_t images = 0;
    for (const auto& [key, value] : row.items()) {
      if (value.is_number_integer()) images += value.get<std::int64_t>();
    }
    out[get_string(row, "class")] = images;
  }
  return out;
}

Json size_quantiles(const Json& size) {
  Json out = Json::object();
  for (const auto& [axis, name] : {std::pair{"width", "Width"}, {"height", "Height"}}) {
    const Json& q = get(size, axis);
    for (const auto& [from, to] : {std::pair{"min", "min"}, {"p50", "median"}, {"max", "max"}}) {
      if (q.contains(from)) out[std::string(to) + name] = q[from];
    }
  }
  return out;
}

// The number of channels that most images have, of {"1": n, "3": m}.
Json common_channels(const Json& channels) {
  Json best;
  std::int64_t most = 0;
  for (const auto& [key, count] : channels.items()) {
    if (!count.is_number_integer() || count.get<std::int64_t>() <= most) continue;
    most = count.get<std::int64_t>();
    best = std::atoi(key.c_str());
  }
  return best;
}

// Statistics of the report (docs/formats/dataset.md) in the words of Dataset.status. False: they do
// not fit.
bool take_statistics(const Json& metrics, crds::DatasetStatus& status) {
  Json merged = kube::to_value(status);
  for (const char* key :
       {"format", "classCount", "classes", "digest", "reportDigest", "images"}) {
    if (metrics.contains(key)) merged[key] = metrics[key];
  }
  merged["perClass"] = images_by_class(get(metrics, "perClass"));
  merged["size"] = size_quantiles(get(metrics, "size"));
  if (Json channels = common_channels(get(metrics, "channels")); !channels.is_null()) {
    merged["channels"] = std::move(channels);
  }
  if (const Json& splits = get(metrics, "splits"); splits.is_object()) {
    Json out = Json::object();
    std::int64_t images = 0;
    for (const auto& [name, split] : splits.items()) {
      Json s = Json::object();
      for (const char* key : {"images", "labels"}) s[key] = get_int(split, key);
      images += get_int(split, "images");
      for (const char* key : {"missing", "empty"}) {
        const Json& v = get(split, key);
        s[key] = v.is_object() ? get_int(v, "count") : get_int(split, key);
      }
      s["missing"] = s["missing"].get<std::int64_t>() + get_int(get(split, "unlabelled"), "count");
      const Json& corrupt = get(split, "corrupt");
      s["corruptCount"] =
          corrupt.is_object() ? get_int(corrupt, "count") : get_int(split, "corruptCount");
      Json names = corrupt.is_object() ? get(corrupt, "names") : corrupt;
      if (!names.is_array()) names = Json::array();
      while (names.size() > 20) names.erase(names.size() - 1);
      s["corrupt"] = std::move(names);
      out[name] = std::move(s);
    }
    merged["splits"] = std::move(out);
    if (!metrics.contains("images")) merged["images"] = images;
  }
  if (Json& classes = merged["classes"]; classes.is_array()) {
    if (!metrics.contains("classCount")) merged["classCount"] = classes.size();
    while (classes.size() > 1000) classes.erase(classes.size() - 1);
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
      conditions.yes("Fetched", "Fetched");
      if (!take_statistics(view.result.metrics, status)) {
        conditions.no("Validated", "ResultInvalid", "the validation's statistics cannot be read");
        conditions.no("Ready", "ResultInvalid", "the validation's statistics cannot be read");
        break;
      }
      conditions.yes("Validated", "Validated",
                     std::to_string(status.images.value_or(0)) + " images");
      if (status.digest.empty()) {
        conditions.no("Ready", "ResultInvalid", "the validation gave no digest");
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

#include "operator/executors.h"

#include <algorithm>

#include "crds/image_build.h"
#include "crds/model.h"
#include "lib/artifacts/bundle_store.h"
#include "lib/artifacts/trust_store.h"
#include "lib/base/log.h"
#include "lib/kube-types/core.h"
#include "lib/run/events.h"
#include "lib/run/stage.h"

namespace tango::op {
namespace {

constexpr int kRegistryThreads = 4;
constexpr int kSignerThreads = 1;
constexpr int kRunsThreads = 2;
constexpr std::uint64_t kMaxResultBytes = 4u << 20;
constexpr std::uint64_t kMaxEventsBytes = 64u << 20;
constexpr int kLogTail = 200;

void store_events(RunStore* runs, std::string_view text) {
  if (runs == nullptr) return;
  std::vector<run::Event> events;
  std::size_t start = 0;
  while (start < text.size()) {
    const auto end = std::min(text.find('\n', start), text.size());
    if (auto event = run::parse_event(text.substr(start, end - start)); event.ok())
      events.push_back(*event);
    start = end + 1;
  }
  if (auto stored = runs->append(events); !stored.ok()) {
    log_warn("Storing the events of a finished run failed", {stored.error()});
  }
}

Error lineage(std::string message) {
  return make_error(Code::kDenied, "LineageMismatch", std::move(message));
}

// The ImageBuild that asks must exist as it says, and the bundle must be made of its Model.
Status check_lineage(kube::KubeClient& client, const Json& input,
                     const artifacts::BundleIndex& index) {
  const std::string ns = get_string(input, "namespace"), name = get_string(input, "imageBuild");
  TRY_ASSIGN(const Json object, client.get(crds::ImageBuild::kKind, ns, name));
  if (get_string(get(object, "metadata"), "uid") != get_string(input, "imageBuildUid")) {
    return lineage("ImageBuild " + name + " is another object than the one that was built");
  }
  TRY_ASSIGN(const Json model, client.get(crds::Model::kKind, ns,
                                          get_string(at_path(object, "spec.modelRef"), "name")));
  const std::string digest = get_string(get(model, "spec"), "digest");
  if (digest != get_string(input, "modelDigest")) {
    return lineage("the Model of ImageBuild " + name + " has digest " + digest + ", not " +
                   get_string(input, "modelDigest"));
  }
  if (!index.model || index.model->to_string() != digest) {
    return lineage("the bundle says that it was made of model " +
                   (index.model ? index.model->to_string() : std::string("(none)")) + ", not of " +
                   digest);
  }
  return ok_status();
}

}  // namespace

artifacts::RegistryClient RegistryAccess::client(std::string repository) const {
  artifacts::RegistryOptions options;
  options.url = url;
  options.repository = std::move(repository);
  options.token = token;
  options.max_attempts = 2;  // the controllers ask again
  return artifacts::RegistryClient(*http, std::move(options));
}

void PooledExecutor::start(const kube::Work& work, Callbacks callbacks) {
  pool_.submit(work.key, [this, work, callbacks = std::move(callbacks)](std::stop_token stop) {
    if (stop.stop_requested()) {
      callbacks.done(
          make_error(Code::kCancelled, "Cancelled", "the work was cancelled before it began"));
      return;
    }
    callbacks.done(run_(work, callbacks.progress, stop));
  });
}

Result<Json> look_up_result(const RegistryAccess& access, const Json& input, RunStore* runs) {
  artifacts::RegistryClient registry = access.client(get_string(input, "repository"));
  const std::string tag = get_string(input, "tag");
  auto digest = registry.resolve(tag);
  if (!digest.ok()) {
    if (digest.error().code == Code::kNotFound) return Json{{"found", false}};
    return std::move(digest).error();
  }
  TRY_ASSIGN(const artifacts::Manifest manifest, registry.get_manifest(digest->to_string()));
  const artifacts::Descriptor* layer = manifest.layer_titled("result.json");
  if (manifest.artifact_type != artifacts::kRunArtifact || layer == nullptr ||
      layer->size > kMaxResultBytes) {
    return make_error(
        Code::kInvalid, "ResultInvalid",
        "tag " + tag + " of " + get_string(input, "repository") + " is no run result");
  }
  TRY_ASSIGN(const std::string text, registry.pull_blob(*layer));
  TRY_ASSIGN(Json result, parse_json(text));
  if (const auto* events = manifest.layer_titled("events.jsonl");
      events != nullptr && events->size <= kMaxEventsBytes) {
    if (auto bytes = registry.pull_blob(*events); bytes.ok()) store_events(runs, *bytes);
  }
  return Json{{"found", true}, {"digest", digest->to_string()}, {"result", std::move(result)}};
}

Result<Json> look_up_artifact(const RegistryAccess& access, const Json& input) {
  artifacts::RegistryClient registry = access.client(get_string(input, "repository"));
  auto manifest = registry.get_manifest(get_string(input, "digest"));
  if (!manifest.ok()) {
    if (manifest.error().code == Code::kNotFound) return Json{{"found", false}};
    return std::move(manifest).error();
  }
  std::uint64_t size = 0;
  for (const auto& layer : manifest->layers) size += layer.size;
  return Json{{"found", true}, {"size", size}};
}

Result<Json> sign_bundle(const RegistryAccess& access, const artifacts::KeySet& keys,
                         kube::KubeClient& client, const Json& input) {
  artifacts::RegistryClient registry = access.client(get_string(input, "repository"));
  TRY_ASSIGN(const Digest bundle, Digest::parse(get_string(input, "bundleDigest")));
  TRY_ASSIGN(const std::string index_bytes,
             artifacts::pull_bundle_index(registry, bundle.to_string()));
  TRY_ASSIGN(const artifacts::BundleIndex index, artifacts::parse_index(index_bytes));
  TRY(check_lineage(client, input, index));
  const artifacts::SigningKey* key = keys.key(artifacts::Role::kRelease);
  if (key == nullptr) {
    return make_error(Code::kDenied, "KeyMissing",
                      "the signer has no key of role release; see `tangoctl keys`");
  }
  const artifacts::Envelope envelope =
      artifacts::sign_document(index_bytes, artifacts::kIndexType, *key);
  TRY_ASSIGN(const Digest signature, artifacts::push_bundle_signature(registry, bundle, envelope));
  return Json{{"signatureDigest", signature.to_string()},
              {"keyIds", Json::array({key->id()})},
              {"indexDigest", sha256(index_bytes).to_string()},
              {"bytes", index.total_bytes},
              {"version", index.display_version}};
}

Json failure_of_log(std::string_view log) {
  Json out = Json::object();
  std::size_t start = 0;
  while (start < log.size()) {
    const auto end = std::min(log.find('\n', start), log.size());
    auto event = run::parse_event(log.substr(start, end - start));
    start = end + 1;
    if (!event.ok() || event->type != "failed") continue;
    out["reason"] = get_string(event->fields, "reason");
    out["message"] = get_string(event->fields, "message");
  }
  return out;
}

std::unique_ptr<kube::Executor> make_registry_executor(RegistryAccess access, RunStore* runs) {
  return std::make_unique<PooledExecutor>(
      "registry", kRegistryThreads,
      [access = std::move(access), runs](const kube::Work& work, const auto&,
                                         std::stop_token) -> Result<Json> {
        const std::string op = get_string(work.input, "op");
        if (op == "result") return look_up_result(access, work.input, runs);
        if (op == "exists") return look_up_artifact(access, work.input);
        return make_error(Code::kUnsupported, "Unsupported", "registry: no operation " + op);
      });
}

std::unique_ptr<kube::Executor> make_signer_executor(RegistryAccess access,
                                                     const artifacts::KeySet& keys,
                                                     kube::KubeClient& client) {
  return std::make_unique<PooledExecutor>(
      "signer", kSignerThreads,
      [access = std::move(access), &keys, &client](const kube::Work& work, const auto&,
                                                   std::stop_token) {
        return sign_bundle(access, keys, client, work.input);
      });
}

std::unique_ptr<kube::Executor> make_runs_executor(kube::KubeClient& client) {
  return std::make_unique<PooledExecutor>(
      "runs", kRunsThreads,
      [&client](const kube::Work& work, const auto&, std::stop_token) -> Result<Json> {
        const std::string path =
            kube::resource_path(kube::Pod::kKind, get_string(work.input, "namespace"),
                                get_string(work.input, "pod"), "log") +
            "?tailLines=" + std::to_string(kLogTail);
        TRY_ASSIGN(const HttpResponse response, client.raw("GET", path, {}, "*/*"));
        if (response.status == 404) return Json::object();
        if (response.status != 200) {
          return make_error(Code::kUnavailable, "LogUnavailable",
                            "the pod's log answered " + std::to_string(response.status));
        }
        return failure_of_log(response.body);
      });
}

}  // namespace tango::op

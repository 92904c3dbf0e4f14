#include "operator/fleet_service.h"

#include <algorithm>
#include <condition_variable>
#include <set>

#include "controllers/common/settings.h"
#include "crds/device.h"
#include "lib/artifacts/bundle_store.h"
#include "lib/base/log.h"
#include "lib/fleet/deploy.h"
#include "lib/fleet/provision.h"
#include "lib/kube-types/core.h"
#include "operator/fleet_json.h"

namespace tango::op {
namespace {

constexpr std::string_view kPrivateKey = "id_ed25519";
constexpr std::string_view kPublicKey = "id_ed25519.pub";
constexpr std::string_view kAllowedAddresses = "ml-tango.io/allowed-addresses";
constexpr Nanos kEvaluateTimeout = Seconds{600};
constexpr std::size_t kMaxLogBytes = 256u << 10;

// One session for work per device; the calls of people open their own beside it.
class DeviceLocks {
 public:
  class Hold {
   public:
    Hold(DeviceLocks& locks, std::string uid) : locks_(&locks), uid_(std::move(uid)) {}
    Hold(Hold&& o) noexcept : locks_(o.locks_), uid_(std::move(o.uid_)) { o.locks_ = nullptr; }
    Hold(const Hold&) = delete;
    ~Hold() {
      if (locks_ != nullptr) locks_->release(uid_);
    }

   private:
    DeviceLocks* locks_;
    std::string uid_;
  };
  // Errors: Cancelled.
  Result<Hold> take(const std::string& uid, std::stop_token stop) {
    std::unique_lock lock(mutex_);
    const bool got = freed_.wait(lock, stop, [&] { return !held_.contains(uid); });
    if (!got)
      return make_error(Code::kCancelled, "Cancelled",
                        "stopped while another session held the device");
    held_.insert(uid);
    return Hold(*this, uid);
  }

 private:
  void release(const std::string& uid) {
    {
      const std::lock_guard lock(mutex_);
      held_.erase(uid);
    }
    freed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable_any freed_;
  std::set<std::string> held_;
};

// A wrong credential may be put right at any time without a change of the Device.
Error may_pass(Error e) {
  if (e.reason == "AuthFailed") e.code = Code::kConflict;
  return e;
}

class Service : public FleetService {
 public:
  explicit Service(FleetOptions options)
      : options_(std::move(options)),
        clock_(options_.clock != nullptr ? *options_.clock : system_clock()) {}

  std::unique_ptr<kube::Executor> executor() override {
    return std::make_unique<PooledExecutor>(
        "ssh", options_.threads,
        [this](const kube::Work& work, const std::function<void(Json)>& progress,
               std::stop_token stop) { return carry_out(work.input, progress, stop); });
  }

  Result<Json> carry_out(const Json& input, const std::function<void(Json)>& progress,
                         std::stop_token stop) override {
    auto result = dispatch(input, progress, stop);
    if (!result.ok()) return may_pass(std::move(result).error());
    return result;
  }

  Result<HttpResponse> relay(const crds::Device& device, std::string_view slot,
                             const HttpRequest& request) override {
    TRY_ASSIGN(auto session, open(target_of(device), {}));
    fleet::RelayRequest out;
    out.slot = slot;
    out.method = request.method;
    out.path = request.url;
    if (const std::string type = header(request.headers, "content-type"); !type.empty()) {
      out.headers["content-type"] = type;
    }
    out.body = request.body;
    TRY_ASSIGN(fleet::RelayReply reply, session->relay(out));
    HttpResponse response{reply.status, {}, std::move(reply.body)};
    for (auto& [name, value] : reply.headers) response.headers.emplace(name, value);
    return response;
  }

  Result<Json> evaluate(const crds::Device& device, std::string_view slot, std::string_view format,
                        std::string_view tar) override {
    TRY_ASSIGN(const auto files, fleet::read_tar(tar));
    TRY_ASSIGN(auto session, open(target_of(device), {}));
    return session->evaluate(slot, format, files, kEvaluateTimeout);
  }

  Result<Json> logs(const crds::Device& device, std::string_view slot, std::string_view cursor,
                    std::size_t max_bytes) override {
    TRY_ASSIGN(auto session, open(target_of(device), {}));
    TRY_ASSIGN(const fleet::LogPage page,
               session->logs(slot, cursor, std::min(max_bytes, kMaxLogBytes)));
    return Json{{"text", page.text}, {"next", page.next}, {"truncated", page.truncated}};
  }

 private:
  static Json target_of(const crds::Device& d) {
    Json fingerprints = Json::array();
    for (const auto& f : d.spec.host_key.fingerprints) fingerprints.push_back(f);
    return Json{{"namespace", d.metadata.ns},
                {"device", d.metadata.name},
                {"uid", d.metadata.uid},
                {"address", d.spec.connection.address},
                {"port", d.spec.connection.port},
                {"user", d.spec.connection.user},
                {"fingerprints", std::move(fingerprints)},
                {"deviceId", d.status.identity ? d.status.identity->device_id : std::string()}};
  }

  Result<Json> dispatch(const Json& input, const std::function<void(Json)>& progress,
                        std::stop_token stop) {
    const std::string op = get_string(input, "op");
    if (op == "hostKey") return host_key(input, stop);
    TRY_ASSIGN(const auto hold, locks_.take(get_string(input, "uid"), stop));
    if (op == "provision") return provision(input, progress, stop);
    if (op == "probe") return probe(input, stop);
    if (op == "deploy") return deploy(input, progress, stop);
    if (op == "remove") return remove(input, stop);
    return make_error(Code::kUnsupported, "Unsupported", "ssh: no operation " + op);
  }

  static fleet::SshTarget ssh_target(const Json& input) {
    fleet::SshTarget t;
    t.address = get_string(input, "address");
    t.port = static_cast<std::uint16_t>(get_int(input, "port", 22));
    for (const Json& f : get(input, "fingerprints")) {
      if (f.is_string()) t.fingerprints.push_back(f.get<std::string>());
    }
    return t;
  }

  Result<fleet::HelloParams> hello(const Json& input) const {
    const std::int64_t epoch = options_.fleet_epoch();
    if (epoch <= 0) {
      return make_error(Code::kUnavailable, "NotLeader",
                        "only the leading replica speaks to devices");
    }
    const artifacts::SigningKey* key = options_.keys->key(artifacts::Role::kAssignment);
    if (key == nullptr) {
      return make_error(Code::kDenied, "KeyMissing",
                        "the operator has no key of role assignment; see `tangoctl keys`");
    }
    fleet::HelloParams p;
    p.fleet_epoch = static_cast<std::uint64_t>(epoch);
    p.epoch = fleet::sign_epoch(*key, p.fleet_epoch, clock_.now());
    p.root = options_.keys->signed_root;
    p.root_chain = options_.keys->chain;
    p.expected_device_id = get_string(input, "deviceId");
    return p;
  }

  Result<fleet::AgentTarget> agent_target(const Json& input) {
    fleet::AgentTarget t;
    t.ssh = ssh_target(input);
    TRY_ASSIGN(t.credential, operator_key(get_string(input, "namespace")));
    t.credential.user = get_string(input, "user");
    TRY_ASSIGN(t.hello, hello(input));
    return t;
  }

  Result<std::unique_ptr<fleet::AgentSession>> open(const Json& input, std::stop_token stop) {
    TRY_ASSIGN(const fleet::AgentTarget target, agent_target(input));
    return fleet::open_agent(target, stop);
  }

  // The key that the operator made for this namespace; the Secret is its only home.
  Result<fleet::SshCredential> operator_key(const std::string& ns) {
    const std::lock_guard lock(keys_mutex_);
    if (auto it = keys_.find(ns); it != keys_.end()) return it->second;
    for (int attempt = 0; attempt < 2; ++attempt) {
      auto secret = options_.client->get(kube::KubeSecret::kKind, ns, kOperatorKeySecret);
      if (secret.ok()) {
        TRY_ASSIGN(std::string key, from_base64(get_string(get(*secret, "data"), kPrivateKey)));
        if (key.empty()) {
          return make_error(Code::kNotFound, "SecretInvalid",
                            "Secret " + std::string(kOperatorKeySecret) + " has no entry " +
                                std::string(kPrivateKey));
        }
        fleet::SshCredential credential;
        credential.private_key = Secret<std::string>(std::move(key));
        return keys_.emplace(ns, std::move(credential)).first->second;
      }
      if (secret.error().code != Code::kNotFound) return std::move(secret).error();
      TRY_ASSIGN(const fleet::SshKeyPair pair, fleet::generate_ssh_key());
      const Json manifest{{"apiVersion", "v1"},
                          {"kind", "Secret"},
                          {"metadata",
                           {{"name", std::string(kOperatorKeySecret)},
                            {"namespace", ns},
                            {"labels", {{"app.kubernetes.io/managed-by", "tango"}}}}},
                          {"type", "Opaque"},
                          {"data",
                           {{std::string(kPrivateKey), to_base64(pair.private_key.reveal())},
                            {std::string(kPublicKey), to_base64(pair.public_line + "\n")}}}};
      auto created = options_.client->create(kube::KubeSecret::kKind, manifest);
      // Somebody else may have made it: then theirs is read.
      if (!created.ok() && created.error().code != Code::kExists) return std::move(created).error();
    }
    return make_error(Code::kUnavailable, "SecretUnavailable",
                      "the operator's SSH key could not be read back");
  }

  Result<fleet::SshCredential> bootstrap_credential(const Json& input) {
    fleet::SshCredential out;
    out.user = get_string(input, "user");
    const std::string name = get_string(input, "credentialsSecret");
    if (name.empty()) return out;
    auto secret =
        options_.client->get(kube::KubeSecret::kKind, get_string(input, "namespace"), name);
    if (!secret.ok()) {
      if (secret.error().code != Code::kNotFound) return std::move(secret).error();
      return make_error(Code::kNotFound, "SecretNotFound",
                        "there is no Secret " + name + " in namespace " +
                            get_string(input, "namespace") + " (spec.bootstrap.credentialsRef)");
    }
    const Json& data = get(*secret, "data");
    for (const char* key : {"ssh-privatekey", "privateKey", "id_ed25519", "id_rsa"}) {
      if (!data.contains(key)) continue;
      TRY_ASSIGN(std::string text, from_base64(get_string(data, key)));
      out.private_key = Secret<std::string>(std::move(text));
    }
    if (data.contains("password")) {
      const std::string allowed =
          get_string(get(get(*secret, "metadata"), "annotations"), kAllowedAddresses);
      if (("," + allowed + ",").find("," + get_string(input, "address") + ",") ==
          std::string::npos) {
        return make_error(Code::kConflict, "PasswordNotAllowed",
                          "Secret " + name + " holds a password, but its annotation " +
                              std::string(kAllowedAddresses) + " does not name " +
                              get_string(input, "address"));
      }
      TRY_ASSIGN(std::string text, from_base64(get_string(data, "password")));
      out.password = Secret<std::string>(std::move(text));
    }
    if (out.private_key.empty() && out.password.empty()) {
      return make_error(Code::kNotFound, "SecretInvalid",
                        "Secret " + name + " has neither ssh-privatekey nor password");
    }
    return out;
  }

  Result<Json> host_key(const Json& input, std::stop_token stop) {
    TRY_ASSIGN(const std::string fingerprint, fleet::observe_host_key(ssh_target(input), stop));
    return Json{{"fingerprint", fingerprint}, {"type", "ssh"}};
  }

  Result<Json> provision(const Json& input, const std::function<void(Json)>& progress,
                         std::stop_token stop) {
    const std::string mode = get_string(input, "mode");
    if (mode == "System" || mode == "Auto") {
      return make_error(
          Code::kUnsupported, "Unsupported",
          "spec.provision.mode " + mode + " is not implemented by this version; use User");
    }
    fleet::ProvisionRequest request;
    request.ssh = ssh_target(input);
    TRY_ASSIGN(request.bootstrap, bootstrap_credential(input));
    TRY_ASSIGN(request.operator_key, operator_key(get_string(input, "namespace")));
    request.operator_key.user = get_string(input, "user");
    request.root = get_string(input, "agentRoot");
    request.authorized_keys_file = get_string(input, "authorizedKeysFile", "Default");
    request.binaries = [this](std::string_view arch) { return binaries(arch); };
    TRY_ASSIGN(request.hello, hello(input));
    TRY_ASSIGN(const fleet::ProvisionReport report, fleet::provision(
                                                        request,
                                                        [&](const fleet::Progress& p) {
                                                          progress(Json{{"step", p.phase}});
                                                        },
                                                        stop));
    TRY_ASSIGN(const std::string public_line,
               fleet::ssh_public_line(request.operator_key.private_key));
    Json out{{"agent", agent_json(report.hello)},         {"identity", identity_json(report.hello)},
             {"sandbox", sandbox_json(report.hello)},     {"slots", slots_json(report.hello.slots)},
             {"operatorKey", public_line.substr(0, 128)}, {"fingerprint", report.host_fingerprint}};
    Json with_id = input;
    with_id["deviceId"] = report.hello.device_id;
    if (auto session = open(with_id, stop); session.ok()) {
      if (auto inventory = (*session)->inventory(); inventory.ok())
        out["inventory"] = inventory_json(*inventory);
    }
    return out;
  }

  std::optional<fleet::AgentBinaries> binaries(std::string_view arch) const {
    std::error_code ignored;
    for (const fs::path& dir : {options_.agents / arch, options_.agents}) {
      if (dir == options_.agents && arch != "amd64") continue;
      fleet::AgentBinaries b{dir / "tango-agent", dir / "tango-gate"};
      if (fs::exists(b.agent, ignored) && fs::exists(b.gate, ignored)) return b;
    }
    return std::nullopt;
  }

  Result<Json> probe(const Json& input, std::stop_token stop) {
    TRY_ASSIGN(auto session, open(input, stop));
    return Json{{"slots", slots_json(session->hello().slots)},
                {"agent", agent_json(session->hello())}};
  }

  Result<Json> deploy(const Json& input, const std::function<void(Json)>& progress,
                      std::stop_token stop) {
    artifacts::RegistryClient registry = options_.registry.client(get_string(input, "repository"));
    const std::string release = get_string(input, "bundle");
    TRY_ASSIGN(const Digest manifest, Digest::parse(release));
    progress(Json{{"step", "fetching the bundle"}});
    TRY_ASSIGN(const artifacts::Bundle bundle, pull(registry, release));
    fleet::DeployRequest request;
    request.bundle = &bundle;
    TRY_ASSIGN(request.index_envelope,
               artifacts::pull_bundle_signature(registry, manifest, bundle.index_bytes));
    request.assignment_key = options_.keys->key(artifacts::Role::kAssignment);
    request.slot = get_string(input, "slot", "main");
    request.sequence = static_cast<std::uint64_t>(get_int(input, "sequence"));
    request.release = release;
    request.deployment_uid = get_string(input, "deploymentUid");
    request.generation = static_cast<std::uint64_t>(get_int(input, "generation"));
    request.retry_token = get_string(input, "retryToken");
    request.fleet_epoch = static_cast<std::uint64_t>(options_.fleet_epoch());
    TRY_ASSIGN(request.config, artifacts::parse_config(get_string(input, "config", "{}")));
    request.clock = &clock_;
    fleet::ResumeOptions resume;
    resume.max_connections = 3;
    auto report =
        fleet::deploy_resuming([&] { return open(input, stop); }, request, resume,
                               [&](const fleet::Progress& p) {
                                 std::string step = p.phase;
                                 if (p.total > 0)
                                   step += " " + std::to_string(100 * p.done / p.total) + " %";
                                 progress(Json{{"step", std::move(step)}});
                               },
                               stop);
    Json out;
    if (report.ok()) {
      out = report_json(*report);
    } else if (report.error().reason == "SequenceStale") {
      out = Json{{"outcome", "stale"}};  // the slots below say how far the device is
    } else {
      return std::move(report).error();
    }
    TRY_ASSIGN(auto session, open(input, stop));
    out["slots"] = slots_json(session->hello().slots);
    if (report.ok() && report->outcome == "committed")
      add_measured(out["slots"], request.slot, report->measured);
    return out;
  }

  static void add_measured(Json& slots, const std::string& name, const fleet::Measured& measured) {
    fleet::SlotState one;
    one.measured = measured;
    const Json values = slot_json(one);
    for (Json& slot : slots) {
      if (get_string(slot, "name") != name) continue;
      for (const char* key : {"latency", "memoryBytes"}) {
        if (values.contains(key) && !slot.contains(key)) slot[key] = values[key];
      }
    }
  }

  // Devices that get the same release share one copy; only one of them fetches it.
  Result<artifacts::Bundle> pull(artifacts::RegistryClient& registry, const std::string& release) {
    const std::lock_guard lock(pull_mutex_);
    return artifacts::pull_bundle(registry, release, options_.cache);
  }

  Result<Json> remove(const Json& input, std::stop_token stop) {
    TRY_ASSIGN(auto session, open(input, stop));
    const auto removed =
        session->remove(get_string(input, "slot"), get_string(input, "deploymentUid"));
    // The release of another Deployment is there by now: nothing of this one is left.
    if (!removed.ok() && removed.error().reason != "AssignmentMismatch") return removed.error();
    return Json::object();
  }

  FleetOptions options_;
  Clock& clock_;
  DeviceLocks locks_;
  std::mutex keys_mutex_;
  std::map<std::string, fleet::SshCredential> keys_;
  std::mutex pull_mutex_;
};

}  // namespace

std::unique_ptr<FleetService> FleetService::create(FleetOptions options) {
  return std::make_unique<Service>(std::move(options));
}

}  // namespace tango::op

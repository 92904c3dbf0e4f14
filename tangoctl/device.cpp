// device provision, approve, list, show.
#include <chrono>
#include <istream>
#include <iterator>
#include <ostream>
#include <thread>

#include "crds/types.h"
#include "crds/validate.h"
#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/kube-types/core.h"
#include "tangoctl/resources.h"
#include "tangoctl/verbs.h"

namespace tango::ctl {
namespace {

constexpr std::uint64_t kMaxCredential = 64u << 10;

Result<std::map<std::string, std::string>> pairs(const std::vector<std::string>& items,
                                                 std::string_view flag) {
  std::map<std::string, std::string> out;
  for (const auto& item : items) {
    std::size_t eq = item.find('=');
    if (eq == std::string::npos || eq == 0) {
      return make_error(Code::kInvalid, "InvalidArgument",
                        std::string(flag) + " needs key=value, not \"" + item + "\"");
    }
    out[item.substr(0, eq)] = item.substr(eq + 1);
  }
  return out;
}

// The bootstrap Secret; nothing of it is ever printed.
Result<Json> bootstrap_secret(Session& session, const ProvisionOptions& options,
                              const std::string& ns) {
  Json secret{{"apiVersion", "v1"},
              {"kind", "Secret"},
              {"metadata", {{"name", options.name + "-bootstrap"}, {"namespace", ns}}}};
  if (!options.identity.empty()) {
    TRY_ASSIGN(std::string key, read_file(options.identity, kMaxCredential));
    if (key.find("PRIVATE KEY") == std::string::npos) {
      return make_error(Code::kInvalid, "InvalidKey",
                        options.identity + " is not a private key; give the file without .pub");
    }
    if (key.find("ENCRYPTED") != std::string::npos) {
      return make_error(
          Code::kUnsupported, "EncryptedKey",
          options.identity + " is encrypted; use a key without passphrase for the first contact");
    }
    secret["type"] = "kubernetes.io/ssh-auth";
    secret["data"]["ssh-privatekey"] = to_base64(key);
    return secret;
  }
  std::string password;
  if (options.password_file == "-") {
    std::getline(session.io().in, password);
  } else {
    TRY_ASSIGN(password, read_file(options.password_file, kMaxCredential));
    while (!password.empty() && (password.back() == '\n' || password.back() == '\r'))
      password.pop_back();
  }
  if (password.empty())
    return make_error(Code::kInvalid, "InvalidPassword", "the password is empty");
  secret["type"] = "kubernetes.io/basic-auth";
  // A password is only ever sent to the address it was given for.
  secret["metadata"]["annotations"]["ml-tango.io/allowed-addresses"] = options.address;
  secret["data"]["username"] = to_base64(options.user);
  secret["data"]["password"] = to_base64(password);
  return secret;
}

Result<Json> device_manifest(const ProvisionOptions& options, const std::string& ns,
                             bool with_secret) {
  TRY_ASSIGN(auto labels, pairs(options.labels, "--label"));
  TRY_ASSIGN(auto parameters, pairs(options.parameters, "--parameter"));
  Json spec{{"profileRef", {{"name", options.profile}}},
            {"connection",
             {{"type", "Direct"},
              {"address", options.address},
              {"port", options.port},
              {"user", options.user}}},
            {"provision", {{"mode", options.mode}}}};
  if (options.trust_on_first_use) {
    spec["hostKey"]["policy"] = "TrustOnFirstUse";
  } else {
    spec["hostKey"]["policy"] = "Pinned";
    spec["hostKey"]["fingerprints"] = options.fingerprints;
  }
  if (with_secret) spec["bootstrap"]["credentialsRef"]["name"] = options.name + "-bootstrap";
  if (!options.root.empty()) spec["agent"]["root"] = options.root;
  if (!options.authorized_keys.empty())
    spec["agent"]["authorizedKeysFile"] = options.authorized_keys;
  if (!parameters.empty()) spec["parameters"] = parameters;
  Json out{{"apiVersion", "ml-tango.io/v1alpha1"},
           {"kind", "Device"},
           {"metadata", {{"name", options.name}, {"namespace", ns}}},
           {"spec", std::move(spec)}};
  if (!labels.empty()) out["metadata"]["labels"] = labels;
  return out;
}

const Json& condition_of(const Json& object, std::string_view type) {
  static const Json none;
  for (const auto& c : get(get(object, "status"), "conditions")) {
    if (get_string(c, "type") == type) return c;
  }
  return none;
}

int wait_provisioned(Session& session, kube::KubeClient& client, const std::string& ns,
                     const std::string& name, Nanos timeout) {
  constexpr auto kPoll = std::chrono::milliseconds(500);
  TimePoint deadline = system_clock().now() + timeout;
  std::string last;
  while (true) {
    auto device = client.get(crds::Device::kKind, ns, name);
    if (!device.ok() && device.error().code != Code::kUnavailable)
      return session.fail(device.error());
    if (device.ok()) {
      const Json& provisioned = condition_of(*device, "Provisioned");
      const Json& ready = condition_of(*device, "Ready");
      if (get_string(provisioned, "status") == "True") {
        session.out() << "device.ml-tango.io/" << name << " provisioned\n";
        return kOk;
      }
      std::string now = get_string(ready, "reason");
      if (std::string message = get_string(ready, "message"); !message.empty())
        now += ": " + message;
      if (!now.empty() && now != last)
        session.err() << "device.ml-tango.io/" << name << " " << now << "\n";
      last = now;
      if (get_string(ready, "reason") == "AwaitingApproval") {
        const Json& key = get(get(*device, "status"), "observedHostKey");
        session.out() << "host key " << get_string(key, "fingerprint")
                      << "; compare it on the device, then run: tangoctl device approve " << name
                      << "\n";
        return kOk;
      }
      if (get_string(condition_of(*device, "Accepted"), "status") == "False")
        return kFinishedFailed;
    }
    if (system_clock().now() >= deadline) {
      session.err() << "error: timed out waiting for device " << name
                    << (last.empty() ? "" : " (" + last + ")") << "\n";
      return kWaitTimeout;
    }
    std::this_thread::sleep_for(kPoll);
  }
}

int approve_one(Session& session, kube::KubeClient& client, const Json& device) {
  const Json& meta = get(device, "metadata");
  std::string name = get_string(meta, "name");
  std::string fingerprint =
      get_string(get(get(device, "status"), "observedHostKey"), "fingerprint");
  if (fingerprint.empty()) {
    return session.fail(make_error(
        Code::kNotFound, "NothingToApprove",
        "device " + name + " has shown no host key yet; see `tangoctl device show " + name + "`"));
  }
  // The resourceVersion ties the approval to the key that was just read.
  Json patch{{"metadata", {{"resourceVersion", get_string(meta, "resourceVersion")}}},
             {"spec",
              {{"hostKey", {{"policy", "Pinned"}, {"fingerprints", Json::array({fingerprint})}}}}}};
  kube::WriteOptions write;
  write.field_manager = "tangoctl";
  auto done = client.patch(crds::Device::kKind, get_string(meta, "namespace"), name,
                           kube::PatchType::kMerge, patch, write);
  if (!done.ok()) return session.fail(done.error());
  session.out() << "device.ml-tango.io/" << name << " approved (" << fingerprint << ")\n";
  return kOk;
}

}  // namespace

int device_provision(Session& session, const ProvisionOptions& options) {
  if (options.fingerprints.empty() && !options.trust_on_first_use) {
    return session.usage(
        "give the device's host key with --fingerprint (ssh-keygen -lf on the device), or "
        "--trust-on-first-use and approve what is found");
  }
  auto timeout = parse_duration(options.timeout);
  if (!timeout.ok()) return session.usage(timeout.error().message);
  auto ns = session.ns();
  if (!ns.ok()) return session.fail(ns.error());
  bool with_secret = !options.identity.empty() || !options.password_file.empty();
  auto device = device_manifest(options, *ns, with_secret);
  if (!device.ok()) return session.usage(device.error().message);
  auto violations = crds::validate_object(*device);
  for (const auto& v : violations) session.err() << "error: " << v.to_string() << "\n";
  if (!violations.empty()) return kError;
  auto client = session.kube();
  if (!client.ok()) return session.fail(client.error());
  kube::WriteOptions write;
  write.field_manager = "tangoctl";
  if (with_secret) {
    auto secret = bootstrap_secret(session, options, *ns);
    if (!secret.ok()) return session.fail(secret.error());
    auto made = (*client)->apply(kube::KubeSecret::kKind, *secret, write);
    if (!made.ok()) return session.fail(made.error());
    session.out() << "secret/" << options.name << "-bootstrap applied\n";
  }
  auto made = (*client)->apply(crds::Device::kKind, *device, write);
  if (!made.ok()) return session.fail(made.error());
  session.out() << "device.ml-tango.io/" << options.name << " applied\n";
  if (!options.wait) return kOk;
  return wait_provisioned(session, **client, *ns, options.name, *timeout);
}

int device_approve(Session& session, const std::vector<std::string>& names,
                   const std::string& selector) {
  if (names.empty() && selector.empty())
    return session.usage("name the devices, or give -l SELECTOR");
  auto client = session.kube();
  if (!client.ok()) return session.fail(client.error());
  auto ns = session.ns();
  if (!ns.ok()) return session.fail(ns.error());
  std::vector<Json> devices;
  for (const auto& name : names) {
    auto device = (*client)->get(crds::Device::kKind, *ns, name);
    if (!device.ok()) return session.fail(device.error());
    devices.push_back(std::move(*device));
  }
  if (names.empty()) {
    kube::ListOptions list;
    list.ns = *ns;
    list.label_selector = selector;
    auto found = (*client)->list(crds::Device::kKind, list);
    if (!found.ok()) return session.fail(found.error());
    // By label only those that wait are meant; a pinned device is not touched.
    for (auto& d : found->items) {
      if (get_string(condition_of(d, "Ready"), "reason") == "AwaitingApproval")
        devices.push_back(std::move(d));
    }
    if (devices.empty()) session.err() << "No device waits for approval.\n";
  }
  int code = kOk;
  for (const auto& d : devices) {
    if (int one = approve_one(session, **client, d); one != kOk) code = one;
  }
  return code;
}

int device_list(Session& session, const GetOptions& options) {
  GetOptions all = options;
  all.args.insert(all.args.begin(), "devices.ml-tango.io");
  return get_objects(session, all);
}

int device_show(Session& session, const std::string& name) {
  return describe_objects(session, {{"devices.ml-tango.io", name}, ""});
}

}  // namespace tango::ctl

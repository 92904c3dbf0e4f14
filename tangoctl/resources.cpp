#include "tangoctl/resources.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <deque>
#include <istream>
#include <iterator>

#include "crds/crds.h"
#include "lib/base/file.h"
#include "lib/kube/request.h"

namespace tango::ctl {
namespace {

struct BuiltIn {
  kube::KindInfo info;
  std::string_view singular;
  std::string_view short_name;
};
constexpr std::array<BuiltIn, 19> kBuiltIns{{
    {{"", "v1", "Pod", "pods", true}, "pod", "po"},
    {{"", "v1", "ConfigMap", "configmaps", true}, "configmap", "cm"},
    {{"", "v1", "Secret", "secrets", true}, "secret", ""},
    {{"", "v1", "Service", "services", true}, "service", "svc"},
    {{"", "v1", "ServiceAccount", "serviceaccounts", true}, "serviceaccount", "sa"},
    {{"", "v1", "Event", "events", true}, "event", "ev"},
    {{"", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true},
     "persistentvolumeclaim",
     "pvc"},
    {{"", "v1", "Namespace", "namespaces", false}, "namespace", "ns"},
    {{"", "v1", "Node", "nodes", false}, "node", "no"},
    {{"batch", "v1", "Job", "jobs", true}, "job", ""},
    {{"apps", "v1", "Deployment", "deployments", true}, "deployment.apps", ""},
    {{"apps", "v1", "DaemonSet", "daemonsets", true}, "daemonset", "ds"},
    {{"apps", "v1", "StatefulSet", "statefulsets", true}, "statefulset", "sts"},
    {{"coordination.k8s.io", "v1", "Lease", "leases", true}, "lease", ""},
    {{"rbac.authorization.k8s.io", "v1", "Role", "roles", true}, "role", ""},
    {{"rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true}, "rolebinding", ""},
    {{"rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false}, "clusterrole", ""},
    {{"rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false},
     "clusterrolebinding",
     ""},
    {{"apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false},
     "customresourcedefinition",
     "crd"},
}};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

ResourceType from_entry(const crds::KindEntry& entry) { return {entry.info, entry.singular}; }
ResourceType from_built_in(const BuiltIn& b) { return {b.info, b.singular}; }

// Strings of types that only the server knows; KindInfo refers to them.
std::string_view keep(std::string text) {
  static auto* kept = new std::deque<std::string>;
  kept->push_back(std::move(text));
  return kept->back();
}

Error unknown_resource(std::string_view name) {
  return make_error(Code::kNotFound, "UnknownResource",
                    "the server has no resource type \"" + std::string(name) +
                        "\"; `tangoctl api-resources` lists the types");
}

}  // namespace

std::string ResourceType::printed() const {
  std::string single(singular.substr(0, singular.find('.')));
  return info.group.empty() ? single : single + "." + std::string(info.group);
}

Result<std::vector<ResourceType>> find_types(Session&, std::string_view text) {
  std::vector<ResourceType> out;
  std::size_t start = 0;
  while (start <= text.size()) {
    std::size_t end = std::min(text.find(',', start), text.size());
    std::string name = lower(text.substr(start, end - start));
    start = end + 1;
    if (name == "tango") {
      for (const auto& k : crds::kinds()) {
        if (k.info.namespaced) out.push_back(from_entry(k));
      }
      continue;
    }
    // Kinds of ours win over built-ins of the same name: `tangoctl get deployments` means releases.
    if (const auto* entry = crds::find_kind(name)) {
      out.push_back(from_entry(*entry));
      continue;
    }
    auto it = std::find_if(kBuiltIns.begin(), kBuiltIns.end(), [&](const BuiltIn& b) {
      std::string group = b.info.group.empty() ? std::string() : "." + std::string(b.info.group);
      return name == b.info.plural || name == b.singular ||
             (!b.short_name.empty() && name == b.short_name) ||
             name == std::string(b.info.plural) + group || name == std::string(b.singular) + group;
    });
    if (it == kBuiltIns.end()) return unknown_resource(name);
    out.push_back(from_built_in(*it));
  }
  return out;
}

Result<ResourceType> type_of(Session& session, std::string_view api_version,
                             std::string_view kind) {
  if (api_version == "ml-tango.io/v1alpha1") {
    const auto* entry = crds::find_kind(kind);
    if (entry != nullptr && entry->info.kind == kind) return from_entry(*entry);
  }
  for (const auto& b : kBuiltIns) {
    if (b.info.kind == kind && b.info.api_version() == api_version) return from_built_in(b);
  }
  TRY_ASSIGN(auto* client, session.kube());
  bool core = api_version.find('/') == std::string_view::npos;
  std::string path = (core ? "/api/" : "/apis/") + std::string(api_version);
  TRY_ASSIGN(auto response, client->raw("GET", path));
  auto list = parse_json(response.body);
  if (response.status == 200 && list.ok()) {
    for (const auto& r : get(*list, "resources")) {
      std::string plural = get_string(r, "name");
      if (get_string(r, "kind") != kind || plural.find('/') != std::string::npos) continue;
      std::size_t slash = api_version.find('/');
      kube::KindInfo info{
          core ? std::string_view() : keep(std::string(api_version.substr(0, slash))),
          keep(std::string(core ? api_version : api_version.substr(slash + 1))),
          keep(std::string(kind)), keep(plural), get_bool(r, "namespaced")};
      std::string singular = get_string(r, "singularName");
      return ResourceType{info, keep(singular.empty() ? lower(kind) : singular)};
    }
  }
  return make_error(
      Code::kNotFound, "UnknownResource",
      "the server does not serve kind " + std::string(kind) + " of " + std::string(api_version));
}

Result<std::vector<Target>> parse_targets(Session& session, const std::vector<std::string>& args) {
  std::vector<Target> out;
  if (args.empty()) {
    return make_error(Code::kInvalid, "MissingArgument",
                      "name a resource type, such as tangoprojects or devices");
  }
  auto add = [&](const ResourceType& type, std::string name) -> Status {
    std::string ns;
    if (type.info.namespaced && !session.globals().all_namespaces) {
      TRY_ASSIGN(ns, session.ns());
    }
    out.push_back({type, ns, std::move(name)});
    return ok_status();
  };
  bool with_slash = args[0].find('/') != std::string::npos;
  if (with_slash) {
    for (const auto& arg : args) {
      std::size_t slash = arg.find('/');
      if (slash == std::string::npos || slash + 1 == arg.size()) {
        return make_error(Code::kInvalid, "InvalidArgument",
                          "\"" + arg + "\" is not TYPE/NAME; do not mix the two forms");
      }
      TRY_ASSIGN(auto types, find_types(session, arg.substr(0, slash)));
      for (const auto& type : types) TRY(add(type, arg.substr(slash + 1)));
    }
    return out;
  }
  TRY_ASSIGN(auto types, find_types(session, args[0]));
  for (const auto& type : types) {
    if (args.size() == 1) TRY(add(type, ""));
    for (std::size_t i = 1; i < args.size(); ++i) TRY(add(type, args[i]));
  }
  return out;
}

Result<std::vector<Manifest>> read_manifests(Session& session,
                                             const std::vector<std::string>& files) {
  std::vector<Manifest> out;
  auto read_one = [&](const std::string& name, const std::string& text) -> Status {
    auto documents = parse_yaml_stream(text);
    if (!documents.ok()) return std::move(documents).error().with_context("while reading " + name);
    for (auto& d : *documents) {
      if (get_string(d.value, "kind") != "List") {
        out.push_back({name, std::move(d)});
        continue;
      }
      for (const auto& item : get(d.value, "items")) out.push_back({name, YamlDocument{item, {}}});
    }
    return ok_status();
  };
  for (const auto& file : files) {
    if (file == "-") {
      std::string text((std::istreambuf_iterator<char>(session.io().in)),
                       std::istreambuf_iterator<char>());
      TRY(read_one("-", text));
      continue;
    }
    std::vector<fs::path> paths{file};
    std::error_code ec;
    if (fs::is_directory(file, ec)) {
      paths.clear();
      for (const auto& entry : fs::directory_iterator(file, ec)) {
        auto extension = entry.path().extension();
        if (extension == ".yaml" || extension == ".yml" || extension == ".json")
          paths.push_back(entry.path());
      }
      std::sort(paths.begin(), paths.end());
    }
    for (const auto& path : paths) {
      constexpr std::uint64_t kMaxManifest = 4u << 20;
      TRY_ASSIGN(std::string text, read_file(path, kMaxManifest));
      TRY(read_one(path.string(), text));
    }
  }
  if (out.empty()) {
    return make_error(Code::kInvalid, "NoObjects",
                      "there are no objects in what was given with -f");
  }
  return out;
}

}  // namespace tango::ctl

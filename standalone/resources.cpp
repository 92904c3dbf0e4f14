#include "standalone/resources.h"

#include <algorithm>
#include <regex>

#include "standalone/builtin_types.h"

namespace tango::standalone {
namespace {

constexpr std::size_t kMaxColumns = 64;

ResourcePtr builtin(const char* group, const char* version, const char* kind, const char* plural,
                    const char* package, bool namespaced, bool status,
                    std::vector<std::string> short_names = {},
                    std::vector<std::string> categories = {}, bool review = false) {
  auto r = std::make_shared<ResourceInfo>();
  r->group = group;
  r->version = r->storage_version = version;
  r->kind = kind;
  r->list_kind = r->kind + "List";
  r->plural = plural;
  for (char c : r->kind)
    r->singular += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  r->namespaced = namespaced;
  r->status_subresource = status;
  r->short_names = std::move(short_names);
  r->categories = std::move(categories);
  r->review = review;
  r->definition = std::string(package) + "." + kind;
  r->schema = builtin_type(r->definition);
  return r;
}

bool dns_label(const std::string& s) {
  static const std::regex re("[a-z0-9]([-a-z0-9]*[a-z0-9])?");
  return s.size() <= 63 && std::regex_match(s, re);
}

std::string reversed(const std::string& group) {
  std::string out;
  std::size_t end = group.size();
  while (end != std::string::npos && end > 0) {
    std::size_t dot = group.rfind('.', end - 1);
    out += (out.empty() ? "" : ".") + group.substr(dot == std::string::npos ? 0 : dot + 1,
                                                   end - (dot == std::string::npos ? 0 : dot + 1));
    if (dot == std::string::npos) break;
    end = dot;
  }
  return out;
}

std::vector<std::string> strings(const Json& list) {
  std::vector<std::string> out;
  for (const Json& v : list) {
    if (v.is_string()) out.push_back(v);
  }
  return out;
}

// v1 > v1beta1 > v1alpha1, newer first, as kubectl expects the preferred version.
std::tuple<int, int, int> version_rank(const std::string& v) {
  static const std::regex re("v([0-9]+)(?:(alpha|beta)([0-9]+))?");
  std::smatch m;
  if (v.size() > 32 || !std::regex_match(v, m, re)) return {-1, 0, 0};
  int stage = !m[2].matched ? 2 : m[2] == "beta" ? 1 : 0;
  return {stage, std::atoi(m[1].str().c_str()), m[3].matched ? std::atoi(m[3].str().c_str()) : 0};
}

}  // namespace

std::vector<ResourcePtr> builtin_resources() {
  const char* core = "io.k8s.api.core.v1";
  const char* crd = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";
  const char* authn = "io.k8s.api.authentication.v1";
  const char* authz = "io.k8s.api.authorization.v1";
  return {
      builtin("", "v1", "Namespace", "namespaces", core, false, true, {"ns"}),
      builtin("", "v1", "Pod", "pods", core, true, true, {"po"}, {"all"}),
      builtin("", "v1", "ConfigMap", "configmaps", core, true, false, {"cm"}),
      builtin("", "v1", "Secret", "secrets", core, true, false),
      builtin("", "v1", "ServiceAccount", "serviceaccounts", core, true, false, {"sa"}),
      builtin("", "v1", "Service", "services", core, true, true, {"svc"}, {"all"}),
      builtin("", "v1", "Endpoints", "endpoints", core, true, false, {"ep"}),
      builtin("", "v1", "Event", "events", core, true, false, {"ev"}),
      builtin("batch", "v1", "Job", "jobs", "io.k8s.api.batch.v1", true, true, {}, {"all"}),
      builtin("apps", "v1", "Deployment", "deployments", "io.k8s.api.apps.v1", true, true,
              {"deploy"}, {"all"}),
      builtin("coordination.k8s.io", "v1", "Lease", "leases", "io.k8s.api.coordination.v1", true,
              false),
      builtin("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions",
              crd, false, true, {"crd", "crds"}, {"api-extensions"}),
      builtin("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", authn, false, false, {},
              {}, true),
      builtin("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", authn,
              false, false, {}, {}, true),
      builtin("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews",
              authz, false, false, {}, {}, true),
      builtin("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", authz,
              false, false, {}, {}, true),
  };
}

std::vector<Cause> check_definition(const Json& crd) {
  std::vector<Cause> causes;
  auto bad = [&](const std::string& field, const std::string& why) {
    causes.push_back(
        {"FieldValueInvalid", "Invalid value: " + at_path(crd, field).dump() + ": " + why, field});
  };
  const Json& spec = get(crd, "spec");
  std::string group = get_string(spec, "group");
  std::string plural = get_string(get(spec, "names"), "plural");
  if (group.find('.') == std::string::npos)
    bad("spec.group", "should be a domain with at least one dot");
  if (group.ends_with(".k8s.io") || group.ends_with(".kubernetes.io"))
    bad("spec.group", "is protected");
  if (!dns_label(plural)) bad("spec.names.plural", "must be a lower-case DNS label");
  if (get_string(get(crd, "metadata"), "name") != plural + "." + group) {
    bad("metadata.name", "must be spec.names.plural+\".\"+spec.group");
  }
  std::string scope = get_string(spec, "scope");
  if (scope != "Namespaced" && scope != "Cluster") {
    causes.push_back(
        {"FieldValueNotSupported",
         "Unsupported value: \"" + scope + "\": supported values: \"Cluster\", \"Namespaced\"",
         "spec.scope"});
  }
  std::string strategy = get_string(get(spec, "conversion"), "strategy", "None");
  if (strategy != "None") bad("spec.conversion.strategy", "this server converts by None only");
  if (get_bool(spec, "preserveUnknownFields")) bad("spec.preserveUnknownFields", "must be false");
  int storage = 0;
  const Json& versions = get(spec, "versions");
  for (std::size_t i = 0; i < versions.size(); ++i) {
    std::string at = "spec.versions[" + std::to_string(i) + "]";
    storage += get_bool(versions[i], "storage");
    const Json& schema = get(get(versions[i], "schema"), "openAPIV3Schema");
    if (!schema.is_object()) {
      causes.push_back({"FieldValueRequired", "Required value: schemas are required",
                        at + ".schema.openAPIV3Schema"});
      continue;
    }
    auto compiled = compile_crd_schema(schema, at + ".schema.openAPIV3Schema");
    if (!compiled.ok())
      causes.push_back({"FieldValueInvalid", compiled.error().message, at + ".schema"});
    for (const Json& c : get(versions[i], "additionalPrinterColumns")) {
      auto path = JsonPath::compile(get_string(c, "jsonPath"));
      if (!path.ok())
        causes.push_back(
            {"FieldValueInvalid", path.error().message, at + ".additionalPrinterColumns"});
    }
  }
  if (storage != 1)
    causes.push_back({"FieldValueInvalid",
                      "Invalid value: must have exactly one version marked as storage version",
                      "spec.versions"});
  return causes;
}

std::vector<ResourcePtr> compile_definition(const Json& crd, std::vector<Cause>& causes) {
  std::vector<ResourcePtr> out;
  causes = check_definition(crd);
  if (!causes.empty()) return out;
  const Json& spec = get(crd, "spec");
  const Json& names = get(spec, "names");
  std::string storage;
  for (const Json& v : get(spec, "versions")) {
    if (get_bool(v, "storage")) storage = get_string(v, "name");
  }
  for (const Json& v : get(spec, "versions")) {
    if (!get_bool(v, "served")) continue;
    auto r = std::make_shared<ResourceInfo>();
    r->group = get_string(spec, "group");
    r->version = get_string(v, "name");
    r->storage_version = storage;
    r->kind = get_string(names, "kind");
    r->list_kind = get_string(names, "listKind", r->kind + "List");
    r->plural = get_string(names, "plural");
    r->singular = get_string(names, "singular");
    if (r->singular.empty()) {
      for (char c : r->kind)
        r->singular += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    r->short_names = strings(get(names, "shortNames"));
    r->categories = strings(get(names, "categories"));
    r->namespaced = get_string(spec, "scope") == "Namespaced";
    r->custom = r->requires_version = true;
    r->status_subresource = get(get(v, "subresources"), "status").is_object();
    r->definition = reversed(r->group) + "." + r->version + "." + r->kind;
    r->openapi_schema = get(get(v, "schema"), "openAPIV3Schema");
    r->schema = compile_crd_schema(r->openapi_schema).value();
    if (get_bool(v, "deprecated")) {
      r->deprecation_warning = get_string(
          v, "deprecationWarning", r->group + "/" + r->version + " " + r->kind + " is deprecated");
    }
    for (const Json& c : get(v, "additionalPrinterColumns")) {
      if (r->columns.size() >= kMaxColumns) break;
      r->columns.push_back({get_string(c, "name"), get_string(c, "type"), get_string(c, "format"),
                            get_string(c, "description",
                                       "Custom resource definition column (in JSONPath format): " +
                                           get_string(c, "jsonPath")),
                            static_cast<int>(get_int(c, "priority")),
                            JsonPath::compile(get_string(c, "jsonPath")).value()});
    }
    out.push_back(std::move(r));
  }
  return out;
}

ResourcePtr ResourceTable::find(std::string_view group, std::string_view version,
                                std::string_view plural) const {
  for (const auto& r : all_) {
    if (r->plural == plural && r->group == group && r->version == version) return r;
  }
  return nullptr;
}
ResourcePtr ResourceTable::by_kind(std::string_view group, std::string_view kind) const {
  for (const auto& r : all_) {
    if (r->kind == kind && r->group == group) return r;
  }
  return nullptr;
}
ResourcePtr ResourceTable::by_store_key(std::string_view key) const {
  for (const auto& r : all_) {
    if (key.size() == r->group.size() + 1 + r->plural.size() && key.starts_with(r->group) &&
        key.ends_with(r->plural) && key[r->group.size()] == '/') {
      return r;
    }
  }
  return nullptr;
}

std::vector<std::pair<std::string, std::vector<std::string>>> ResourceTable::groups() const {
  std::vector<std::pair<std::string, std::vector<std::string>>> out;
  for (const auto& r : all_) {
    if (r->group.empty()) continue;
    auto it =
        std::find_if(out.begin(), out.end(), [&](const auto& g) { return g.first == r->group; });
    if (it == out.end()) it = out.insert(out.end(), {r->group, {}});
    if (std::find(it->second.begin(), it->second.end(), r->version) == it->second.end())
      it->second.push_back(r->version);
  }
  for (auto& [group, versions] : out) {
    std::stable_sort(versions.begin(), versions.end(), [](const auto& a, const auto& b) {
      return version_rank(a) > version_rank(b);
    });
  }
  return out;
}

ResourceRegistry::ResourceRegistry() { rebuild(); }

void ResourceRegistry::rebuild() {
  std::vector<ResourcePtr> all = builtin_resources();
  for (const auto& [name, list] : custom_) all.insert(all.end(), list.begin(), list.end());
  table_ = std::make_shared<const ResourceTable>(std::move(all));
  ++generation_;
}

std::shared_ptr<const ResourceTable> ResourceRegistry::table() const {
  std::shared_lock lock(mutex_);
  return table_;
}
std::uint64_t ResourceRegistry::generation() const {
  std::shared_lock lock(mutex_);
  return generation_;
}

void ResourceRegistry::set_definition(const Json& crd) {
  std::vector<Cause> causes;
  auto compiled = compile_definition(crd, causes);
  std::unique_lock lock(mutex_);
  custom_[get_string(get(crd, "metadata"), "name")] = std::move(compiled);
  rebuild();
}

void ResourceRegistry::remove_definition(const std::string& name) {
  std::unique_lock lock(mutex_);
  if (custom_.erase(name) > 0) rebuild();
}

}  // namespace tango::standalone

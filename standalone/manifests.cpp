#include "standalone/manifests.h"

#include "crds/validate.h"
#include "lib/base/yaml.h"

namespace tango::standalone {

Status apply_manifests(Operations& operations, std::string_view yaml, const std::string& manager) {
  TRY_ASSIGN(auto documents, parse_yaml_stream(yaml));
  for (const YamlDocument& d : documents) {
    std::string version = get_string(d.value, "apiVersion"), kind = get_string(d.value, "kind");
    std::string name = get_string(get(d.value, "metadata"), "name");
    std::string group =
        version.find('/') == std::string::npos ? "" : version.substr(0, version.find('/'));
    ResourcePtr r = operations.registry().table()->by_kind(group, kind);
    if (!r)
      return make_error(Code::kNotFound, "InvalidManifest",
                        "no resource serves " + version + " " + kind + " (of " + name + ")");
    try {
      WriteContext ctx;
      ctx.manager = manager;
      std::string ns =
          r->namespaced ? get_string(get(d.value, "metadata"), "namespace", "default") : "";
      operations.patch(*r, ns, name, PatchKind::kApply, d.value, "", true, ctx);
    } catch (const ApiError& e) {
      return make_error(Code::kInvalid, "InvalidManifest", kind + " " + name + ": " + e.message);
    }
  }
  return ok_status();
}

AdmissionHook tango_admission() {
  return [](const ResourceInfo& r, const Json& object, const Json* old) {
    std::vector<Cause> causes;
    if (r.group != "ml-tango.io") return causes;
    for (const crds::Violation& v : crds::validate_object(object, old == nullptr ? Json() : *old)) {
      // Valid but not offered by this version: accepted, and reported by the controller.
      if (v.reason == "Unsupported") continue;
      std::string text = v.to_string();
      if (text.starts_with(v.path + ": ")) text.erase(0, v.path.size() + 2);
      causes.push_back({v.reason == "Missing" ? "FieldValueRequired" : "FieldValueInvalid",
                        "Invalid value: " + text, v.path});
    }
    return causes;
  };
}

}  // namespace tango::standalone

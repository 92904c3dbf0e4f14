#include "standalone/strategy.h"

#include <algorithm>
#include <cctype>

#include "lib/base/digest.h"
#include "standalone/selectors.h"

namespace tango::standalone {
namespace {

constexpr std::size_t kMaxAnnotationBytes = 256 * 1024;
constexpr std::size_t kMaxDataBytes = 1024 * 1024;  // of a ConfigMap or Secret

void set_default(Json& object, const char* key, Json value) {
  if (!object.contains(key) || object[key].is_null()) object[key] = std::move(value);
}

bool lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool is_label(std::string_view s) {
  if (s.empty() || s.size() > 63 || !lower_alnum(s.front()) || !lower_alnum(s.back())) return false;
  return std::all_of(s.begin(), s.end(), [](char c) { return lower_alnum(c) || c == '-'; });
}
bool is_subdomain(std::string_view s) {
  if (s.empty() || s.size() > 253) return false;
  while (true) {
    auto dot = s.find('.');
    std::string_view part = s.substr(0, dot);
    if (part.empty() || !lower_alnum(part.front()) || !lower_alnum(part.back())) return false;
    if (!std::all_of(part.begin(), part.end(), [](char c) { return lower_alnum(c) || c == '-'; }))
      return false;
    if (dot == std::string_view::npos) return true;
    s = s.substr(dot + 1);
  }
}
bool is_qualified(std::string_view s, bool allow_empty) {
  if (s.empty()) return allow_empty;
  auto alnum = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  if (s.size() > 63 || !alnum(s.front()) || !alnum(s.back())) return false;
  return std::all_of(s.begin(), s.end(),
                     [&](char c) { return alnum(c) || c == '-' || c == '_' || c == '.'; });
}
bool is_label_key(std::string_view key) {
  auto slash = key.find('/');
  if (slash == std::string_view::npos) return is_qualified(key, false);
  return is_subdomain(key.substr(0, slash)) && is_qualified(key.substr(slash + 1), false);
}

void immutable(const Json& now, const Json& old, const char* path, std::vector<Cause>& causes) {
  const Json& value = at_path(now, path);
  if (value != at_path(old, path)) {
    causes.push_back({"FieldValueInvalid",
                      "Invalid value: " + dump_json(value).substr(0, 256) + ": field is immutable",
                      path});
  }
}

Json condition(const char* type, const char* reason, const char* message, TimePoint now) {
  return {{"type", type},
          {"status", "True"},
          {"reason", reason},
          {"message", message},
          {"lastTransitionTime", format_time(now)}};
}

void job_defaults(Json& job) {
  if (!job["spec"].is_object()) return;
  Json& spec = job["spec"];
  if (!spec.contains("completions") && !spec.contains("parallelism")) spec["completions"] = 1;
  set_default(spec, "parallelism", 1);
  set_default(spec, "backoffLimit", 6);
  set_default(spec, "completionMode", "NonIndexed");
  set_default(spec, "suspend", false);
  if (get_bool(spec, "manualSelector") || !spec["template"].is_object()) return;
  std::string uid = get_string(job["metadata"], "uid"), name = get_string(job["metadata"], "name");
  Json& labels = spec["template"]["metadata"]["labels"];
  for (const char* prefix : {"", "batch.kubernetes.io/"}) {
    labels[std::string(prefix) + "controller-uid"] = uid;
    labels[std::string(prefix) + "job-name"] = name;
  }
  set_default(spec, "selector", {{"matchLabels", {{"batch.kubernetes.io/controller-uid", uid}}}});
}

const char* qos_class(const Json& spec) {
  bool any = false, guaranteed = true;
  for (const Json& c : get(spec, "containers")) {
    const Json& limits = get(get(c, "resources"), "limits");
    const Json& requests = get(get(c, "resources"), "requests");
    any = any || !limits.empty() || !requests.empty();
    for (const char* what : {"cpu", "memory"}) {
      if (get(limits, what).is_null() ||
          (!get(requests, what).is_null() && get(requests, what) != get(limits, what)))
        guaranteed = false;
    }
  }
  return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

void check_containers(const Json& spec, const std::string& at, std::vector<Cause>& causes) {
  const Json& list = get(spec, "containers");
  if (!list.is_array() || list.empty()) {
    causes.push_back({"FieldValueRequired", "Required value", at + ".containers"});
    return;
  }
  std::vector<std::string> volumes;
  for (const Json& v : get(spec, "volumes")) volumes.push_back(get_string(v, "name"));
  std::vector<std::string> names;
  for (std::size_t i = 0; i < list.size(); ++i) {
    std::string here = at + ".containers[" + std::to_string(i) + "]";
    std::string name = get_string(list[i], "name");
    if (!is_label(name))
      causes.push_back({"FieldValueInvalid",
                        "Invalid value: \"" + name + "\": a lowercase RFC 1123 label is required",
                        here + ".name"});
    if (std::find(names.begin(), names.end(), name) != names.end())
      causes.push_back(
          {"FieldValueDuplicate", "Duplicate value: \"" + name + "\"", here + ".name"});
    names.push_back(name);
    if (get_string(list[i], "image").empty())
      causes.push_back({"FieldValueRequired", "Required value", here + ".image"});
    const Json& mounts = get(list[i], "volumeMounts");
    for (std::size_t k = 0; k < mounts.size(); ++k) {
      std::string volume = get_string(mounts[k], "name");
      if (std::find(volumes.begin(), volumes.end(), volume) == volumes.end()) {
        causes.push_back({"FieldValueNotFound", "Not found: \"" + volume + "\"",
                          here + ".volumeMounts[" + std::to_string(k) + "].name"});
      }
    }
  }
}

void check_pod_update(const Json& pod, const Json& old, std::vector<Cause>& causes) {
  Json a = get(pod, "spec"), b = get(old, "spec");
  // nodeName is written once, by the scheduler.
  if (get_string(b, "nodeName").empty()) b.erase("nodeName"), a.erase("nodeName");
  for (Json* spec : {&a, &b}) {
    for (const char* key : {"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds",
                            "schedulingGates"})
      spec->erase(key);
    if (spec->contains("containers")) {
      for (Json& c : (*spec)["containers"]) c.erase("image");
    }
  }
  if (a != b) {
    causes.push_back(
        {"FieldValueForbidden",
         "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
         "`spec.activeDeadlineSeconds`,`spec.terminationGracePeriodSeconds` or `spec.tolerations`",
         "spec"});
  }
}

}  // namespace

void normalise(const ResourceInfo& r, Json& object) {
  if (r.store_key() != "/secrets" || !object.contains("stringData")) return;
  for (const auto& [k, v] : object["stringData"].items()) {
    if (v.is_string()) object["data"][k] = to_base64(v.get_ref<const std::string&>());
  }
  object.erase("stringData");
}

void apply_strategy(const ResourceInfo& r, Json& object, const Json* old, TimePoint now) {
  if (r.custom) return;
  const std::string key = r.store_key();
  if (key == "batch/jobs" && old == nullptr) {
    job_defaults(object);
  } else if (key == "/pods") {
    Json& spec = object["spec"];
    if (spec.is_object()) {
      set_default(spec, "serviceAccountName", get_string(spec, "serviceAccount", "default"));
      Json none = Json::array();
      for (Json& c : spec.contains("containers") ? spec["containers"] : none) {
        std::string image = get_string(c, "image");
        if (old == nullptr && image.ends_with(":latest")) c["imagePullPolicy"] = "Always";
      }
      if (old == nullptr) object["status"] = {{"phase", "Pending"}, {"qosClass", qos_class(spec)}};
    }
  } else if (key == "/namespaces") {
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] =
        get_string(object["metadata"], "name");
    if (old == nullptr) {
      object["spec"]["finalizers"] = {"kubernetes"};
      object["status"] = {{"phase", "Active"}};
    }
  } else if (key == "/services" && object["spec"].is_object()) {
    // Nothing routes here, so no address is handed out.
    set_default(object["spec"], "clusterIP", "None");
  } else if (key == "apiextensions.k8s.io/customresourcedefinitions") {
    Json& spec = object["spec"];
    if (!spec.is_object() || !spec["names"].is_object()) return;
    Json& names = spec["names"];
    std::string kind = get_string(names, "kind");
    std::string lower;
    for (char c : kind) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    set_default(names, "listKind", kind + "List");
    set_default(names, "singular", lower);
    set_default(spec, "conversion", {{"strategy", "None"}});
    Json stored = get(get(object, "status"), "storedVersions");
    if (!stored.is_array()) stored = Json::array();
    for (const Json& v : get(spec, "versions")) {
      if (get_bool(v, "storage") &&
          std::find(stored.begin(), stored.end(), get(v, "name")) == stored.end())
        stored.push_back(get(v, "name"));
    }
    Json conditions = get(get(object, "status"), "conditions");
    if (!conditions.is_array() || conditions.empty()) {
      conditions =
          Json::array({condition("NamesAccepted", "NoConflicts", "no conflicts found", now),
                       condition("Established", "InitialNamesAccepted",
                                 "the initial names have been accepted", now)});
    }
    object["status"] = {
        {"acceptedNames", names}, {"storedVersions", stored}, {"conditions", conditions}};
  }
}

void check_strategy(const ResourceInfo& r, const Json& object, const Json* old,
                    std::vector<Cause>& causes) {
  if (r.custom) return;
  const std::string key = r.store_key();
  if (key == "batch/jobs") {
    const Json& spec = get(get(get(object, "spec"), "template"), "spec");
    check_containers(spec, "spec.template.spec", causes);
    std::string policy = get_string(spec, "restartPolicy");
    if (policy != "Never" && policy != "OnFailure") {
      causes.push_back(
          {"FieldValueNotSupported",
           "Unsupported value: \"" + policy + "\": supported values: \"OnFailure\", \"Never\"",
           "spec.template.spec.restartPolicy"});
    }
    for (const char* field : {"backoffLimit", "completions", "parallelism", "activeDeadlineSeconds",
                              "ttlSecondsAfterFinished"}) {
      if (get_int(get(object, "spec"), field) < 0) {
        causes.push_back({"FieldValueInvalid",
                          "Invalid value: " + get(get(object, "spec"), field).dump() +
                              ": must be greater than or equal to 0",
                          std::string("spec.") + field});
      }
    }
    if (get_string(get(object, "spec"), "completionMode", "NonIndexed") != "NonIndexed") {
      causes.push_back({"FieldValueNotSupported",
                        "Unsupported value: \"Indexed\": this server runs NonIndexed jobs only",
                        "spec.completionMode"});
    }
    if (old != nullptr) {
      for (const char* path : {"spec.template", "spec.selector", "spec.completions"})
        immutable(object, *old, path, causes);
    }
  } else if (key == "/pods") {
    check_containers(get(object, "spec"), "spec", causes);
    if (old != nullptr) check_pod_update(object, *old, causes);
  } else if (key == "/secrets" || key == "/configmaps") {
    std::size_t bytes = 0;
    for (const char* field : {"data", "binaryData"}) {
      const Json& data = get(object, field);
      if (!data.is_object()) continue;
      for (const auto& [k, v] : data.items()) {
        bytes += k.size() + (v.is_string() ? v.get_ref<const std::string&>().size() : 0);
        if (!is_qualified(k, false) &&
            !(k.size() <= 253 && std::all_of(k.begin(), k.end(), [](char c) {
                return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' ||
                       c == '.';
              }))) {
          causes.push_back({"FieldValueInvalid",
                            "Invalid value: \"" + k +
                                "\": a valid config key must consist of alphanumeric characters, "
                                "'-', '_' or '.'",
                            std::string(field) + "[" + k + "]"});
        }
        bool base64 = key == "/secrets" || std::string_view(field) == "binaryData";
        if (base64 && v.is_string() && !from_base64(v.get_ref<const std::string&>()).ok()) {
          causes.push_back({"FieldValueInvalid", "Invalid value: illegal base64 data",
                            std::string(field) + "[" + k + "]"});
        }
      }
    }
    if (bytes > kMaxDataBytes * 4 / 3)
      causes.push_back({"FieldValueTooLong", "Too long: must have at most 1048576 bytes", "data"});
    if (old != nullptr && get_bool(*old, "immutable")) {
      for (const char* field : {"data", "binaryData", "immutable"}) {
        if (get(object, field) != get(*old, field))
          causes.push_back({"FieldValueForbidden",
                            "Forbidden: field is immutable when `immutable` is set", field});
      }
    }
    if (old != nullptr && key == "/secrets") immutable(object, *old, "type", causes);
  } else if (key == "apiextensions.k8s.io/customresourcedefinitions") {
    for (Cause& c : check_definition(object)) causes.push_back(std::move(c));
    if (old != nullptr) {
      for (const char* path : {"spec.scope", "spec.group", "spec.names.plural", "spec.names.kind"})
        immutable(object, *old, path, causes);
    }
  } else if (key == "/events") {
    if (get(get(object, "metadata"), "namespace") !=
            get(get(object, "involvedObject"), "namespace") &&
        !get_string(get(object, "involvedObject"), "namespace").empty()) {
      causes.push_back({"FieldValueInvalid", "Invalid value: does not match event.namespace",
                        "involvedObject.namespace"});
    }
  }
}

void check_metadata(const ResourceInfo& r, const Json& object, std::vector<Cause>& causes) {
  const Json& meta = get(object, "metadata");
  std::string name = get_string(meta, "name");
  bool label = r.store_key() == "/namespaces" || r.store_key() == "/services";
  if (label ? !is_label(name) : !is_subdomain(name)) {
    std::string rule = label ? "a lowercase RFC 1123 label must consist of lower case alphanumeric "
                               "characters or '-', and must start and end with an alphanumeric "
                               "character (e.g. 'my-name', or '123-abc')"
                             : "a lowercase RFC 1123 subdomain must consist of lower case "
                               "alphanumeric characters, '-' or '.', and must start and end with "
                               "an alphanumeric character (e.g. 'example.com')";
    causes.push_back(
        {"FieldValueInvalid", "Invalid value: \"" + name + "\": " + rule, "metadata.name"});
  }
  if (const Json& labels = get(meta, "labels"); labels.is_object()) {
    for (const auto& [key, value] : labels.items()) {
      if (!is_label_key(key))
        causes.push_back(
            {"FieldValueInvalid",
             "Invalid value: \"" + key +
                 "\": name part must consist of alphanumeric characters, '-', '_' or '.'",
             "metadata.labels"});
      if (!value.is_string() || !is_qualified(value.get_ref<const std::string&>(), true)) {
        causes.push_back({"FieldValueInvalid",
                          "Invalid value: " + dump_json(value) +
                              ": a valid label must be an empty string or consist of alphanumeric "
                              "characters, '-', '_' or '.'",
                          "metadata.labels"});
      }
    }
  }
  std::size_t bytes = 0;
  if (const Json& annotations = get(meta, "annotations"); annotations.is_object()) {
    for (const auto& [key, value] : annotations.items())
      bytes += key.size() + (value.is_string() ? value.get_ref<const std::string&>().size() : 0);
  }
  if (bytes > kMaxAnnotationBytes)
    causes.push_back(
        {"FieldValueTooLong", "Too long: must have at most 262144 bytes", "metadata.annotations"});
  int controllers = 0;
  for (const Json& o : get(meta, "ownerReferences")) {
    controllers += get_bool(o, "controller");
    for (const char* field : {"apiVersion", "kind", "name", "uid"}) {
      if (get_string(o, field).empty())
        causes.push_back({"FieldValueInvalid",
                          std::string("Invalid value: \"\": ") + field + " must not be empty",
                          "metadata.ownerReferences"});
    }
  }
  if (controllers > 1)
    causes.push_back({"FieldValueInvalid",
                      "Invalid value: only one reference can have Controller set to true",
                      "metadata.ownerReferences"});
}

}  // namespace tango::standalone

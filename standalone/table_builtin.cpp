#include <map>

#include "standalone/table.h"

namespace tango::standalone {
namespace {

struct Layout {
  std::vector<TableColumn> columns;
  Json (*cells)(const Json& object, TimePoint now);
};

TableColumn text(const char* name, int priority = 0) {
  return {name, "string", priority == 0 && std::string_view(name) == "Name" ? "name" : "", "",
          priority};
}

std::string name_of(const Json& o) { return get_string(get(o, "metadata"), "name"); }
std::string age(const Json& o, TimePoint now) {
  return age_of(get(get(o, "metadata"), "creationTimestamp"), now);
}

std::string joined(const Json& list, const char* key) {
  std::string out;
  for (const Json& v : list) out += (out.empty() ? "" : ",") + get_string(v, key);
  return out.empty() ? "<none>" : out;
}
std::string labels_text(const Json& labels) {
  std::string out;
  if (labels.is_object()) {
    for (const auto& [k, v] : labels.items())
      out += (out.empty() ? "" : ",") + k + "=" + (v.is_string() ? v.get<std::string>() : "");
  }
  return out.empty() ? "<none>" : out;
}

Json pod_cells(const Json& pod, TimePoint now) {
  const Json& status = get(pod, "status");
  std::string reason = get_string(status, "reason", get_string(status, "phase", "Unknown"));
  std::size_t ready = 0;
  std::int64_t restarts = 0;
  for (const Json& c : get(status, "containerStatuses")) {
    ready += get_bool(c, "ready");
    restarts += get_int(c, "restartCount");
    const Json& state = get(c, "state");
    if (const Json& w = get(state, "waiting"); !get_string(w, "reason").empty())
      reason = get_string(w, "reason");
    if (const Json& t = get(state, "terminated"); t.is_object()) {
      reason = get_string(t, "reason", "ExitCode:" + std::to_string(get_int(t, "exitCode")));
    }
  }
  if (get(get(pod, "metadata"), "deletionTimestamp").is_string()) reason = "Terminating";
  std::string total = std::to_string(get(get(pod, "spec"), "containers").size());
  return Json::array({name_of(pod), std::to_string(ready) + "/" + total, reason,
                      std::to_string(restarts), age(pod, now),
                      get_string(status, "podIP", "<none>"),
                      get_string(get(pod, "spec"), "nodeName", "<none>"),
                      get_string(status, "nominatedNodeName", "<none>"), "<none>"});
}

std::string duration_of(const Json& status, TimePoint now) {
  auto start = parse_time(get_string(status, "startTime"));
  if (!start.ok()) return "";
  auto end = parse_time(get_string(status, "completionTime"));
  return human_age((end.ok() ? *end : now) - *start);
}

Json job_cells(const Json& job, TimePoint now) {
  const Json& spec = get(job, "spec");
  const Json& status = get(job, "status");
  std::string state = "Running";
  for (const Json& c : get(status, "conditions")) {
    if (get_string(c, "status") == "True") state = get_string(c, "type");
  }
  std::string completions = std::to_string(get_int(status, "succeeded")) + "/" +
                            std::to_string(get_int(spec, "completions", 1));
  const Json& containers = get(get(get(spec, "template"), "spec"), "containers");
  return Json::array({name_of(job), state, completions, duration_of(status, now), age(job, now),
                      joined(containers, "name"), joined(containers, "image"),
                      labels_text(get(get(spec, "selector"), "matchLabels"))});
}

Json event_cells(const Json& e, TimePoint now) {
  const Json& about = get(e, "involvedObject");
  std::string kind;
  for (char c : get_string(about, "kind"))
    kind += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::string stamp = get_string(get(e, "series"), "lastObservedTime",
                                 get_string(e, "lastTimestamp", get_string(e, "eventTime")));
  std::string first = get_string(e, "firstTimestamp", get_string(e, "eventTime"));
  std::string source =
      get_string(get(e, "source"), "component", get_string(e, "reportingComponent"));
  std::string host = get_string(get(e, "source"), "host");
  return Json::array({age_of(stamp.empty() ? Json() : Json(stamp), now), get_string(e, "type"),
                      get_string(e, "reason"), kind + "/" + get_string(about, "name"),
                      get_string(about, "fieldPath"), source + (host.empty() ? "" : ", " + host),
                      get_string(e, "message"), age_of(first.empty() ? Json() : Json(first), now),
                      get_int(get(e, "series"), "count", get_int(e, "count", 1)), name_of(e)});
}

Json namespace_cells(const Json& o, TimePoint now) {
  return Json::array({name_of(o), get_string(get(o, "status"), "phase"), age(o, now)});
}
Json configmap_cells(const Json& o, TimePoint now) {
  return Json::array(
      {name_of(o), get(o, "data").size() + get(o, "binaryData").size(), age(o, now)});
}
Json secret_cells(const Json& o, TimePoint now) {
  return Json::array({name_of(o), get_string(o, "type"), get(o, "data").size(), age(o, now)});
}
Json account_cells(const Json& o, TimePoint now) {
  return Json::array({name_of(o), get(o, "secrets").size(), age(o, now)});
}
Json service_cells(const Json& o, TimePoint now) {
  const Json& spec = get(o, "spec");
  std::string ports;
  for (const Json& p : get(spec, "ports")) {
    ports += (ports.empty() ? "" : ",") + std::to_string(get_int(p, "port")) + "/" +
             get_string(p, "protocol", "TCP");
  }
  return Json::array({name_of(o), get_string(spec, "type"), get_string(spec, "clusterIP", "<none>"),
                      "<none>", ports.empty() ? "<none>" : ports, age(o, now),
                      labels_text(get(spec, "selector"))});
}
Json endpoints_cells(const Json& o, TimePoint now) {
  std::string all;
  for (const Json& s : get(o, "subsets")) {
    for (const Json& a : get(s, "addresses")) {
      for (const Json& p : get(s, "ports"))
        all += (all.empty() ? "" : ",") + get_string(a, "ip") + ":" +
               std::to_string(get_int(p, "port"));
    }
  }
  return Json::array({name_of(o), all.empty() ? "<none>" : all, age(o, now)});
}
Json lease_cells(const Json& o, TimePoint now) {
  return Json::array({name_of(o), get_string(get(o, "spec"), "holderIdentity"), age(o, now)});
}
Json definition_cells(const Json& o, TimePoint) {
  return Json::array({name_of(o), get_string(get(o, "metadata"), "creationTimestamp")});
}
Json deployment_cells(const Json& o, TimePoint now) {
  const Json& spec = get(o, "spec");
  const Json& status = get(o, "status");
  const Json& containers = get(get(get(spec, "template"), "spec"), "containers");
  return Json::array({name_of(o),
                      std::to_string(get_int(status, "readyReplicas")) + "/" +
                          std::to_string(get_int(spec, "replicas", 1)),
                      get_int(status, "updatedReplicas"), get_int(status, "availableReplicas"),
                      age(o, now), joined(containers, "name"), joined(containers, "image"),
                      labels_text(get(get(spec, "selector"), "matchLabels"))});
}

const std::map<std::string, Layout, std::less<>>& layouts() {
  static const std::map<std::string, Layout, std::less<>> all = {
      {"/pods",
       {{text("Name"), text("Ready"), text("Status"), text("Restarts"), text("Age"), text("IP", 1),
         text("Node", 1), text("Nominated Node", 1), text("Readiness Gates", 1)},
        pod_cells}},
      {"batch/jobs",
       {{text("Name"), text("Status"), text("Completions"), text("Duration"), text("Age"),
         text("Containers", 1), text("Images", 1), text("Selector", 1)},
        job_cells}},
      {"/events",
       {{text("Last Seen"),
         text("Type"),
         text("Reason"),
         text("Object"),
         text("Subobject", 1),
         text("Source", 1),
         text("Message"),
         text("First Seen", 1),
         {"Count", "integer", "", "", 1},
         text("Name", 1)},
        event_cells}},
      {"/namespaces", {{text("Name"), text("Status"), text("Age")}, namespace_cells}},
      {"/configmaps",
       {{text("Name"), {"Data", "integer", "", "", 0}, text("Age")}, configmap_cells}},
      {"/secrets",
       {{text("Name"), text("Type"), {"Data", "integer", "", "", 0}, text("Age")}, secret_cells}},
      {"/serviceaccounts",
       {{text("Name"), {"Secrets", "integer", "", "", 0}, text("Age")}, account_cells}},
      {"/services",
       {{text("Name"), text("Type"), text("Cluster-IP"), text("External-IP"), text("Port(s)"),
         text("Age"), text("Selector", 1)},
        service_cells}},
      {"/endpoints", {{text("Name"), text("Endpoints"), text("Age")}, endpoints_cells}},
      {"coordination.k8s.io/leases", {{text("Name"), text("Holder"), text("Age")}, lease_cells}},
      {"apiextensions.k8s.io/customresourcedefinitions",
       {{text("Name"), text("Created At")}, definition_cells}},
      {"apps/deployments",
       {{text("Name"),
         text("Ready"),
         {"Up-to-date", "integer", "", "", 0},
         {"Available", "integer", "", "", 0},
         text("Age"),
         text("Containers", 1),
         text("Images", 1),
         text("Selector", 1)},
        deployment_cells}},
  };
  return all;
}

}  // namespace

bool builtin_columns(const ResourceInfo& r, std::vector<TableColumn>& columns) {
  auto it = layouts().find(r.store_key());
  if (it == layouts().end()) return false;
  columns = it->second.columns;
  return true;
}

Json builtin_cells(const ResourceInfo& r, const Json& object, TimePoint now) {
  return layouts().find(r.store_key())->second.cells(object, now);
}

}  // namespace tango::standalone

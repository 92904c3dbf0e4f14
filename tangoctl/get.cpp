// get and describe.
#include <chrono>
#include <map>
#include <ostream>
#include <set>
#include <thread>

#include "lib/base/yaml.h"
#include "lib/kube/request.h"
#include "tangoctl/resources.h"
#include "tangoctl/verbs.h"

namespace tango::ctl {
namespace {

constexpr std::string_view kTableAccept =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

std::string query_of(const GetOptions& options) {
  std::string out;
  auto add = [&](std::string_view key, const std::string& value) {
    if (!value.empty())
      out += (out.empty() ? "?" : "&") + std::string(key) + "=" + url_encode(value);
  };
  add("labelSelector", options.selector);
  add("fieldSelector", options.field_selector);
  return out;
}

Result<Json> fetch(kube::KubeClient& client, const Target& target, const std::string& query,
                   std::string_view accept) {
  std::string path = kube::resource_path(target.type.info, target.ns, target.name);
  TRY_ASSIGN(auto response,
             client.raw("GET", path + (target.name.empty() ? query : std::string()), {}, accept));
  std::string what =
      target.type.printed() + (target.name.empty() ? std::string() : " \"" + target.name + "\"");
  if (response.status >= 400)
    return kube::error_from_response(response.status, response.body, what);
  return parse_json(response.body, {64u << 20, 64});
}

std::string cell_text(const Json& cell) {
  if (cell.is_null()) return "";
  if (cell.is_string()) return std::string(one_line(cell.get_ref<const std::string&>()));
  return cell.dump();
}

// Rows of one type; rows of the watch's last round that did not change are left out.
struct Shown {
  std::set<std::string> versions;
};

bool print_table(Session& session, const Target& target, const Json& table,
                 const GetOptions& options, bool prefix, bool header, Shown* shown) {
  bool wide = options.output == "wide";
  bool with_ns = session.globals().all_namespaces && target.type.info.namespaced;
  std::vector<std::string> names;
  std::vector<std::size_t> columns;
  if (with_ns) names.emplace_back("NAMESPACE");
  const Json& definitions = get(table, "columnDefinitions");
  for (std::size_t i = 0; i < definitions.size(); ++i) {
    if (get_int(definitions[i], "priority") > 0 && !wide) continue;
    columns.push_back(i);
    std::string name = get_string(definitions[i], "name");
    for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    names.push_back(name);
  }
  TextTable out(names);
  for (const auto& row : get(table, "rows")) {
    const Json& meta = get(get(row, "object"), "metadata");
    if (shown != nullptr) {
      std::string version = get_string(meta, "uid") + "@" + get_string(meta, "resourceVersion");
      if (!shown->versions.insert(version).second) continue;
    }
    std::vector<std::string> cells;
    if (with_ns) cells.push_back(get_string(meta, "namespace"));
    const Json& values = get(row, "cells");
    for (std::size_t k = 0; k < columns.size(); ++k) {
      std::string text = columns[k] < values.size() ? cell_text(values[columns[k]]) : std::string();
      if (k == 0 && prefix) text = target.type.printed() + "/" + text;
      cells.push_back(text.empty() && k > 0 && shown == nullptr ? "" : text);
    }
    out.row(std::move(cells));
  }
  if (out.empty()) return false;
  out.print(session, header && !options.no_headers);
  return true;
}

// JSON and YAML: one object, or a List of them.
int print_objects(Session& session, kube::KubeClient& client, const std::vector<Target>& targets,
                  const GetOptions& options) {
  Json items = Json::array();
  int code = kOk;
  for (const auto& t : targets) {
    auto found = fetch(client, t, query_of(options), "application/json");
    if (!found.ok()) {
      if (options.ignore_not_found && found.error().code == Code::kNotFound) continue;
      session.err() << "error: " << found.error().to_string() << "\n";
      code = kError;
      continue;
    }
    if (t.name.empty()) {
      for (auto& item : (*found)["items"]) {
        // Items of a list carry no type of their own.
        item["apiVersion"] = t.type.info.api_version();
        item["kind"] = std::string(t.type.info.kind);
        items.push_back(std::move(item));
      }
    } else {
      items.push_back(std::move(*found));
    }
  }
  for (auto& item : items) {
    if (item.contains("metadata")) item["metadata"].erase("managedFields");
  }
  if (options.output == "name") {
    for (std::size_t i = 0; i < items.size(); ++i) {
      auto type =
          type_of(session, get_string(items[i], "apiVersion"), get_string(items[i], "kind"));
      std::string printed = type.ok() ? type->printed() : get_string(items[i], "kind");
      session.out() << printed << "/" << get_string(items[i]["metadata"], "name") << "\n";
    }
    return code;
  }
  bool single = targets.size() == 1 && !targets[0].name.empty();
  if (single && items.empty()) return code;
  Json shown = single ? items[0]
                      : Json{{"apiVersion", "v1"},
                             {"kind", "List"},
                             {"metadata", {{"resourceVersion", ""}}},
                             {"items", items}};
  session.out() << (options.output == "json" ? dump_json(shown, 4) + "\n" : to_yaml(shown));
  return code;
}

std::string place(Session& session, const std::vector<Target>& targets) {
  if (session.globals().all_namespaces || targets.empty() || targets[0].ns.empty()) return "";
  return " in namespace " + targets[0].ns;
}

int print_once(Session& session, kube::KubeClient& client, const std::vector<Target>& targets,
               const GetOptions& options, std::map<std::string, Shown>* shown) {
  int code = kOk;
  int tables = 0;
  std::set<std::string> types;
  for (const auto& t : targets) types.insert(t.type.printed());
  const bool prefix = types.size() > 1;
  std::string last_type;
  for (const auto& t : targets) {
    auto table = fetch(client, t, query_of(options), kTableAccept);
    if (!table.ok()) {
      if (options.ignore_not_found && table.error().code == Code::kNotFound) continue;
      session.err() << "error: " << table.error().to_string() << "\n";
      code = kError;
      continue;
    }
    if (!table->contains("columnDefinitions")) {
      return session.fail(
          make_error(Code::kUnsupported, "NoTable", "the server cannot print tables; use -o yaml"));
    }
    std::string type = t.type.printed();
    Shown* seen = shown == nullptr ? nullptr : &(*shown)[type];
    bool header = type != last_type && (seen == nullptr || seen->versions.empty());
    if (prefix && tables > 0 && header && !get(*table, "rows").empty()) session.out() << "\n";
    if (print_table(session, t, *table, options, prefix, header, seen)) {
      ++tables;
      last_type = type;
    }
  }
  if (tables == 0 && code == kOk && shown == nullptr && !options.ignore_not_found) {
    session.err() << "No resources found" << place(session, targets) << ".\n";
  }
  return code;
}

void print_map(Session& session, const std::string& label, const Json& map) {
  session.out() << label;
  if (!map.is_object() || map.empty()) {
    session.out() << "<none>\n";
    return;
  }
  bool first = true;
  for (const auto& [key, value] : map.items()) {
    session.out() << (first ? "" : std::string(label.size(), ' ')) << key << "="
                  << (value.is_string() ? value.get<std::string>() : value.dump()) << "\n";
    first = false;
  }
}

void indented(Session& session, const std::string& text) {
  std::size_t start = 0;
  while (start < text.size()) {
    std::size_t end = std::min(text.find('\n', start), text.size());
    session.out() << "  " << text.substr(start, end - start) << "\n";
    start = end + 1;
  }
}

std::string age_of(const std::string& time) {
  auto t = parse_time(time);
  return t.ok() ? human_age(system_clock().now() - *t) : std::string("<unknown>");
}

void print_events(Session& session, kube::KubeClient& client, const Json& object) {
  const Json& meta = get(object, "metadata");
  kube::ListOptions list;
  list.ns = get_string(meta, "namespace");
  list.field_selector = "involvedObject.name=" + get_string(meta, "name") +
                        ",involvedObject.uid=" + get_string(meta, "uid");
  auto events = client.list({"", "v1", "Event", "events", true}, list);
  if (!events.ok() || events->items.empty()) {
    session.out() << "Events:       <none>\n";
    return;
  }
  TextTable table({"TYPE", "REASON", "AGE", "FROM", "MESSAGE"});
  for (const auto& e : events->items) {
    std::string last = get_string(e, "lastTimestamp", get_string(e, "eventTime"));
    std::string age = age_of(last);
    if (std::int64_t count = get_int(e, "count"); count > 1)
      age += " (x" + std::to_string(count) + ")";
    table.row({get_string(e, "type"), get_string(e, "reason"), age,
               get_string(get(e, "source"), "component", get_string(e, "reportingComponent")),
               std::string(one_line(get_string(e, "message")))});
  }
  session.out() << "Events:\n";
  table.print(session, true, "  ");
}

void describe(Session& session, kube::KubeClient& client, Json object) {
  const Json meta = get(object, "metadata");
  session.out() << "Name:         " << get_string(meta, "name") << "\n";
  if (meta.contains("namespace"))
    session.out() << "Namespace:    " << get_string(meta, "namespace") << "\n";
  print_map(session, "Labels:       ", get(meta, "labels"));
  print_map(session, "Annotations:  ", get(meta, "annotations"));
  session.out() << "API Version:  " << get_string(object, "apiVersion") << "\n"
                << "Kind:         " << get_string(object, "kind") << "\n"
                << "Created:      " << get_string(meta, "creationTimestamp") << " ("
                << age_of(get_string(meta, "creationTimestamp")) << " ago)\n";
  if (std::string gone = get_string(meta, "deletionTimestamp"); !gone.empty()) {
    session.out() << "Deleting:     since " << gone << ", held by "
                  << get(meta, "finalizers").dump() << "\n";
  }
  if (get_string(object, "kind") == "Secret") {
    session.out() << "Data:\n";
    for (const auto& [key, value] : get(object, "data").items()) {
      session.out() << "  " << key << ": " << value.get<std::string>().size()
                    << " characters of base64\n";
    }
  } else {
    for (const char* part : {"spec", "data"}) {
      if (!object.contains(part)) continue;
      session.out() << (part == std::string("spec") ? "Spec:\n" : "Data:\n");
      indented(session, to_yaml(object[part]));
    }
  }
  if (object.contains("status")) {
    Json status = object["status"];
    Json conditions = get(status, "conditions");
    status.erase("conditions");
    if (!status.empty()) {
      session.out() << "Status:\n";
      indented(session, to_yaml(status));
    }
    if (conditions.is_array() && !conditions.empty()) {
      TextTable table({"TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"});
      for (const auto& c : conditions) {
        table.row({get_string(c, "type"), get_string(c, "status"), get_string(c, "reason"),
                   age_of(get_string(c, "lastTransitionTime")),
                   std::string(one_line(get_string(c, "message")))});
      }
      session.out() << "Conditions:\n";
      table.print(session, true, "  ");
    }
  }
  print_events(session, client, object);
}

}  // namespace

int get_objects(Session& session, const GetOptions& options) {
  auto targets = parse_targets(session, options.args);
  if (!targets.ok())
    return targets.error().code == Code::kInvalid ? session.usage(targets.error().message)
                                                  : session.fail(targets.error());
  static const std::set<std::string> kOutputs{"", "wide", "json", "yaml", "name"};
  if (kOutputs.count(options.output) == 0) {
    return session.usage("unknown output \"" + options.output + "\"; use wide, json, yaml or name");
  }
  auto client = session.kube();
  if (!client.ok()) return session.fail(client.error());
  bool tables = options.output.empty() || options.output == "wide";
  if (!tables) return print_objects(session, **client, *targets, options);
  if (!options.watch) return print_once(session, **client, *targets, options, nullptr);
  constexpr auto kInterval = std::chrono::seconds(1);
  std::map<std::string, Shown> shown;
  while (true) {
    int code = print_once(session, **client, *targets, options, &shown);
    session.out().flush();
    if (code != kOk || !session.out()) return code;
    std::this_thread::sleep_for(kInterval);
  }
}

int describe_objects(Session& session, const DescribeOptions& options) {
  auto targets = parse_targets(session, options.args);
  if (!targets.ok())
    return targets.error().code == Code::kInvalid ? session.usage(targets.error().message)
                                                  : session.fail(targets.error());
  auto client = session.kube();
  if (!client.ok()) return session.fail(client.error());
  int code = kOk, shown = 0;
  for (const auto& t : *targets) {
    GetOptions get_options;
    get_options.selector = options.selector;
    auto found = fetch(**client, t, query_of(get_options), "application/json");
    if (!found.ok()) {
      code = session.fail(found.error());
      continue;
    }
    Json items = t.name.empty() ? get(*found, "items") : Json::array({*found});
    for (auto& item : items) {
      item["apiVersion"] = t.type.info.api_version();
      item["kind"] = std::string(t.type.info.kind);
      if (shown++ > 0) session.out() << "\n\n";
      describe(session, **client, item);
    }
  }
  if (shown == 0 && code == kOk)
    session.err() << "No resources found" << place(session, *targets) << ".\n";
  return code;
}

}  // namespace tango::ctl

// fleet status and fleet why.
#include <ostream>

#include "tangoctl/resources.h"
#include "tangoctl/verbs.h"

namespace tango::ctl {
namespace {

std::string short_digest(const std::string& digest) {
  constexpr std::string_view kPrefix = "sha256:";
  constexpr std::size_t kShown = 12;
  std::string hex = digest.rfind(kPrefix, 0) == 0 ? digest.substr(kPrefix.size()) : digest;
  return hex.empty() ? "<none>" : hex.substr(0, kShown);
}

std::string counts_line(const Json& counts) {
  std::string out;
  for (const auto& [name, n] : counts.items())
    out += (out.empty() ? "" : ", ") + n.dump() + " " + name;
  return out;
}

std::string latency_text(const Json& slot) {
  const Json& latency = get(slot, "latency");
  if (!latency.is_object()) return "<none>";
  char text[64];
  std::snprintf(text, sizeof text, "%.2f/%.2f ms", get_double(latency, "p50"),
                get_double(latency, "p95"));
  return text;
}

}  // namespace

int fleet_status(Session& session, const FleetOptions& options) {
  auto rest = session.rest();
  if (!rest.ok()) return session.fail(rest.error());
  std::string query = "?limit=" + std::to_string(options.limit);
  auto add = [&](std::string_view key, const std::string& value) {
    if (!value.empty()) query += "&" + std::string(key) + "=" + url_encode(value);
  };
  if (!session.globals().all_namespaces) {
    auto ns = session.ns();
    if (!ns.ok()) return session.fail(ns.error());
    add("namespace", *ns);
  }
  add("label", options.selector);
  add("state", options.state);
  add("release", options.release);
  add("reason", options.reason);
  Json all = Json::array();
  Json counts;
  std::string after;
  do {
    auto page = (*rest)->call(
        "GET", "/api/v1/fleet" + query + (after.empty() ? "" : "&continue=" + url_encode(after)));
    if (!page.ok()) return session.fail(page.error());
    if (counts.is_null()) counts = get(*page, "counts");
    for (const auto& item : get(*page, "items")) all.push_back(item);
    after = get_string(*page, "continue");
  } while (!after.empty());
  if (options.output == "json") {
    session.out() << dump_json(Json{{"counts", counts}, {"items", all}}, 2) << "\n";
    return kOk;
  }
  std::vector<std::string> header;
  if (session.globals().all_namespaces) header.emplace_back("NAMESPACE");
  for (const char* name : {"NAME", "STATE", "REACHABLE", "RELEASE", "HEALTH", "SLOT", "RUNNING",
                           "DEPLOYMENT", "LATENCY"}) {
    header.emplace_back(name);
  }
  if (options.output == "wide") {
    header.emplace_back("FAILURE");
    header.emplace_back("MESSAGE");
  }
  TextTable table(header);
  for (const auto& d : all) {
    Json slots = get(d, "slots");
    if (!slots.is_array() || slots.empty()) slots = Json::array({Json::object()});
    for (const auto& slot : slots) {
      std::vector<std::string> row;
      if (session.globals().all_namespaces) row.push_back(get_string(d, "namespace"));
      std::string deployment = get_string(slot, "deployment");
      for (const std::string& cell :
           {get_string(d, "name"), get_string(d, "state"), get_string(d, "reachable"),
            get_string(d, "release"), get_string(d, "health"), get_string(slot, "name", "<none>"),
            short_digest(get_string(slot, "current")),
            deployment.empty() ? std::string("<none>") : deployment, latency_text(slot)}) {
        row.push_back(cell);
      }
      if (options.output == "wide") {
        row.push_back(get_string(d, "failure", "<none>"));
        row.emplace_back(one_line(get_string(d, "message")));
      }
      table.row(std::move(row));
    }
  }
  if (table.empty()) {
    session.err() << "No devices found.\n";
    return kOk;
  }
  table.print(session);
  session.out() << "\n"
                << get_int(counts, "total") << " devices: " << counts_line(get(counts, "byState"))
                << "\n";
  if (const Json& reasons = get(counts, "byReason"); reasons.is_object() && !reasons.empty()) {
    session.out() << "failures: " << counts_line(reasons) << "\n";
  }
  return kOk;
}

int fleet_why(Session& session, const std::string& device, const std::string& output) {
  auto rest = session.rest();
  if (!rest.ok()) return session.fail(rest.error());
  auto ns = session.ns();
  if (!ns.ok()) return session.fail(ns.error());
  std::string name =
      device.substr(device.find('/') == std::string::npos ? 0 : device.find('/') + 1);
  auto answer = (*rest)->call(
      "GET", "/api/v1/namespaces/" + url_encode(*ns) + "/devices/" + url_encode(name) + "/why");
  if (!answer.ok()) return session.fail(answer.error());
  if (output == "json") {
    session.out() << dump_json(*answer, 2) << "\n";
    return kOk;
  }
  if (std::string sentence = get_string(*answer, "sentence"); !sentence.empty())
    session.out() << sentence << "\n";
  const Json& sentences = get(*answer, "sentences");
  if (sentences.is_array()) {
    for (const auto& s : sentences)
      session.out() << (s.is_string() ? s.get<std::string>() : s.dump()) << "\n";
  }
  for (const auto& slot : get(*answer, "slots")) {
    session.out() << "\nslot " << get_string(slot, "slot") << ": "
                  << painted(session, get_string(slot, "state"));
    if (std::string reason = get_string(slot, "reason"); !reason.empty())
      session.out() << ", " << reason;
    session.out() << "\n";
    TextTable table({"DEPLOYMENT", "PRIORITY", "OWNS", "STATE", "REASON", "RELEASE", "MESSAGE"});
    for (const auto& c : get(slot, "claims")) {
      table.row({get_string(c, "deployment"), std::to_string(get_int(c, "priority")),
                 get_bool(c, "owns") ? "yes" : "no", get_string(c, "state"),
                 get_string(c, "reason"), short_digest(get_string(c, "release")),
                 std::string(one_line(get_string(c, "message")))});
    }
    if (!table.empty()) table.print(session, true, "  ");
  }
  const Json& conditions = get(*answer, "conditions");
  if (conditions.is_array() && !conditions.empty()) {
    session.out() << "\n";
    TextTable table({"CONDITION", "STATUS", "REASON", "MESSAGE"});
    for (const auto& c : conditions) {
      table.row({get_string(c, "type"), get_string(c, "status"), get_string(c, "reason"),
                 std::string(one_line(get_string(c, "message")))});
    }
    table.print(session);
  }
  return kOk;
}

}  // namespace tango::ctl

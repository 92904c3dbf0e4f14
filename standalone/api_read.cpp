// Reading: get and list with selectors, paging and Tables; opening watches.
#include <algorithm>

#include "lib/base/digest.h"
#include "lib/base/random.h"
#include "standalone/api_call.h"
#include "standalone/watch_hub.h"

namespace tango::standalone {
namespace {

constexpr std::int64_t kMinWatchSeconds = 1800;  // as kube-apiserver: 30 to 60 minutes
constexpr std::int64_t kMaxContinueBytes = 4096;

struct ContinueToken {
  std::int64_t revision = 0;
  std::string ns, name;  // last one returned
};
std::string encode_token(const ContinueToken& t) {
  return to_base64url(dump_json({{"v", 1}, {"rv", t.revision}, {"ns", t.ns}, {"name", t.name}}));
}
ContinueToken decode_token(const std::string& text) {
  auto raw = from_base64url(text);
  Json j = raw.ok() && text.size() < kMaxContinueBytes ? Json::parse(*raw, nullptr, false) : Json();
  if (!j.is_object() || get_int(j, "v") != 1) throw bad_request("continue key is not valid");
  return {get_int(j, "rv"), get_string(j, "ns"), get_string(j, "name")};
}

const std::vector<std::string>& field_labels(const ResourceInfo& r) {
  static const std::map<std::string, std::vector<std::string>, std::less<>> kAll = {
      {"/pods",
       {"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "status.phase", "status.podIP", "status.nominatedNodeName"}},
      {"/events",
       {"involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
        "involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion",
        "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type"}},
      {"/secrets", {"type"}},
      {"/namespaces", {"status.phase"}},
      {"batch/jobs", {"status.successful"}},
  };
  static const std::vector<std::string> kNone;
  auto it = kAll.find(r.store_key());
  return it == kAll.end() ? kNone : it->second;
}

}  // namespace

std::optional<TableRequest> table_request(const HttpRequest& request, const UrlTarget& target) {
  std::string accept = header(request.headers, "Accept");
  // Media ranges in the client's order: the first that this server has decides.
  while (!accept.empty()) {
    auto comma = accept.find(',');
    std::string range = accept.substr(0, comma);
    accept = comma == std::string::npos ? std::string() : accept.substr(comma + 1);
    if (range.find("application/json") == std::string::npos &&
        range.find("*/*") == std::string::npos)
      continue;
    auto as = range.find("as=");
    if (as == std::string::npos) return std::nullopt;
    if (range.compare(as, 8, "as=Table") != 0 || range.find("g=meta.k8s.io") == std::string::npos)
      continue;
    TableRequest out;
    if (range.find("v=v1beta1") != std::string::npos) out.api_version = "meta.k8s.io/v1beta1";
    std::string include = target.get("includeObject", "Metadata");
    if (include == "Object") {
      out.include = IncludeObject::kObject;
    } else if (include == "None") {
      out.include = IncludeObject::kNone;
    } else if (include != "Metadata") {
      throw bad_request("unrecognized includeObject value: \"" + include + "\"");
    }
    return out;
  }
  return std::nullopt;
}

bool wants_partial_metadata(const HttpRequest& request) {
  return header(request.headers, "Accept").find("as=PartialObjectMetadata") != std::string::npos;
}

Filters parse_filters(const UrlTarget& target, const ResourceInfo& r, const std::string& name) {
  Filters out;
  auto labels = Selector::parse_labels(target.get("labelSelector"));
  if (!labels.ok()) throw bad_request(labels.error().message);
  std::string text = target.get("fieldSelector");
  if (!name.empty()) text += (text.empty() ? "" : ",") + ("metadata.name=" + name);
  auto fields = Selector::parse_fields(text);
  if (!fields.ok()) throw bad_request(fields.error().message);
  for (const SelectorTerm& t : fields->terms()) {
    if (t.key == "metadata.name" || t.key == "metadata.namespace") continue;
    const auto& known = field_labels(r);
    if (std::find(known.begin(), known.end(), t.key) == known.end()) {
      throw bad_request("Unable to find \"" + r.group_resource() +
                        "\" that match label selector \"" + target.get("labelSelector") +
                        "\", field selector \"" + text + "\": field label not supported: " + t.key);
    }
  }
  out.labels = std::move(labels).value();
  out.fields = std::move(fields).value();
  return out;
}

HttpReply ApiServer::list(Call& call) {
  const ResourceInfo& r = *call.resource;
  Filters filters = parse_filters(call.target, r, "");
  std::string rv = call.query("resourceVersion"), match = call.query("resourceVersionMatch"),
              token = call.query("continue");
  std::int64_t limit = call.query("limit").empty() ? 0 : parse_revision(call.query("limit"));
  Store::Snapshot snapshot;
  ContinueToken from;
  if (!token.empty()) {
    if (!rv.empty() && rv != "0")
      throw bad_request("specifying resource version is not allowed when using continue");
    from = decode_token(token);
    auto old = store_->list_at(r.store_key(), call.ns, from.revision);
    if (!old.ok())
      throw expired(
          "The provided continue parameter is too old to display a consistent list result. You "
          "must start a new list without the continue parameter.");
    snapshot = std::move(old).value();
  } else if (match == "Exact") {
    if (rv.empty() || rv == "0")
      throw bad_request("resourceVersionMatch Exact is forbidden for resource version \"" + rv +
                        "\"");
    if (parse_revision(rv) > store_->revision())
      throw too_large_revision(parse_revision(rv), store_->revision());
    auto old = store_->list_at(r.store_key(), call.ns, parse_revision(rv));
    if (!old.ok()) throw expired("The resourceVersion for the provided list is too old.");
    snapshot = std::move(old).value();
  } else {
    if (!rv.empty() && parse_revision(rv) > store_->revision())
      throw too_large_revision(parse_revision(rv), store_->revision());
    snapshot = store_->list(r.store_key(), call.ns);
  }

  std::vector<Json> items;
  std::size_t i = 0;
  if (!token.empty()) {
    auto after = std::make_pair(from.ns, from.name);
    while (i < snapshot.objects.size() &&
           std::make_pair(snapshot.objects[i]->ns, snapshot.objects[i]->name) <= after)
      ++i;
  }
  const StoredObject* last = nullptr;
  for (; i < snapshot.objects.size(); ++i) {
    const StoredObject& o = *snapshot.objects[i];
    if (!filters.matches(o.body())) continue;
    if (limit > 0 && static_cast<std::int64_t>(items.size()) == limit) break;
    items.push_back(Operations::present(o.body(), r));
    last = &o;
  }
  Json meta = {{"resourceVersion", std::to_string(snapshot.revision)}};
  if (i < snapshot.objects.size() && last != nullptr) {
    meta["continue"] = encode_token({snapshot.revision, last->ns, last->name});
    if (filters.labels.empty() && filters.fields.empty())
      meta["remainingItemCount"] = snapshot.objects.size() - i;
  }
  if (auto table = table_request(call.request, call.target)) {
    return json_reply(200, make_table(r, items, meta, *table, clock_.now()));
  }
  if (wants_partial_metadata(call.request)) {
    for (Json& item : items) item = partial_metadata(item);
    return json_reply(200, {{"kind", "PartialObjectMetadataList"},
                            {"apiVersion", "meta.k8s.io/v1"},
                            {"metadata", meta},
                            {"items", items}});
  }
  return json_reply(200, {{"kind", r.list_kind},
                          {"apiVersion", r.api_version()},
                          {"metadata", meta},
                          {"items", std::move(items)}});
}

HttpReply ApiServer::watch(Call& call) {
  const ResourceInfo& r = *call.resource;
  if (!call.query("sendInitialEvents").empty()) {
    throw invalid("meta.k8s.io", "ListOptions", "",
                  {{"FieldValueForbidden",
                    "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList "
                    "feature gate is enabled",
                    "sendInitialEvents"}});
  }
  WatchSpec spec;
  spec.resource = call.resource;
  spec.ns = call.ns;
  spec.filters = parse_filters(call.target, r, call.name);
  spec.table = table_request(call.request, call.target);
  spec.partial = wants_partial_metadata(call.request);
  spec.bookmarks = call.flag("allowWatchBookmarks");
  std::string seconds = call.query("timeoutSeconds");
  std::int64_t limit = seconds.empty() ? 0 : parse_revision(seconds);
  if (limit <= 0)
    limit = kMinWatchSeconds + static_cast<std::int64_t>(system_random().below(kMinWatchSeconds));
  spec.timeout = Seconds{limit};
  std::string rv = call.query("resourceVersion");
  if (rv.empty() || rv == "0") {
    auto snapshot = store_->list(r.store_key(), call.ns);
    spec.from = snapshot.revision;
    for (const ObjectPtr& o : snapshot.objects) {
      if (spec.filters.matches(o->body())) spec.initial.push_back(o);
    }
  } else {
    spec.from = parse_revision(rv);
    if (spec.from > store_->revision()) throw too_large_revision(spec.from, store_->revision());
  }
  HttpReply reply;
  reply.response.status = 200;
  reply.response.headers = {{"Content-Type", "application/json"},
                            {"Cache-Control", "no-cache, private"}};
  reply.stream = [this, spec = std::move(spec)](std::shared_ptr<HttpStream> stream) mutable {
    watches_->open(std::move(spec), std::move(stream), clock_);
  };
  return reply;
}

}  // namespace tango::standalone

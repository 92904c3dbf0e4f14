// Discovery documents and OpenAPI.
#include <set>

#include "standalone/api_call.h"
#include "standalone/openapi.h"

namespace tango::standalone {
namespace {

Json resource_entry(const ResourceInfo& r, const std::string& sub) {
  Json e = {{"name", sub.empty() ? r.plural : r.plural + "/" + sub},
            {"singularName", sub.empty() ? r.singular : ""},
            {"namespaced", r.namespaced},
            {"kind", r.kind}};
  if (r.review) {
    e["verbs"] = {"create"};
  } else if (sub.empty()) {
    e["verbs"] = {"create", "delete", "deletecollection", "get",
                  "list",   "patch",  "update",           "watch"};
    if (!r.short_names.empty()) e["shortNames"] = r.short_names;
    if (!r.categories.empty()) e["categories"] = r.categories;
  } else if (sub == "status") {
    e["verbs"] = {"get", "patch", "update"};
  } else if (sub == "log") {
    e["verbs"] = {"get"};
  } else {
    e["verbs"] = {"create"};
    e["group"] = "authentication.k8s.io";
    e["version"] = "v1";
    e["kind"] = "TokenRequest";
  }
  return e;
}

Json group_entry(const std::string& group, const std::vector<std::string>& versions) {
  Json list = Json::array();
  for (const std::string& v : versions)
    list.push_back({{"groupVersion", group + "/" + v}, {"version", v}});
  return {{"name", group}, {"versions", list}, {"preferredVersion", list.front()}};
}

}  // namespace

HttpReply ApiServer::discovery(Call& call) {
  const auto& p = call.path;
  if (p[0] == "api" && p.size() == 1) {
    return json_reply(200,
                      {{"kind", "APIVersions"},
                       {"versions", {"v1"}},
                       {"serverAddressByClientCIDRs",
                        Json::array({{{"clientCIDR", "0.0.0.0/0"},
                                      {"serverAddress", header(call.request.headers, "Host")}}})}});
  }
  auto groups = call.table->groups();
  if (p[0] == "apis" && p.size() == 1) {
    Json list = Json::array();
    for (const auto& [group, versions] : groups) list.push_back(group_entry(group, versions));
    return json_reply(200, {{"kind", "APIGroupList"}, {"apiVersion", "v1"}, {"groups", list}});
  }
  if (p[0] == "apis" && p.size() == 2) {
    for (const auto& [group, versions] : groups) {
      if (group != p[1]) continue;
      Json entry = group_entry(group, versions);
      entry["kind"] = "APIGroup";
      entry["apiVersion"] = "v1";
      return json_reply(200, entry);
    }
    throw ApiError(404, "NotFound", "the server could not find the requested resource");
  }
  std::string group = p[0] == "api" ? "" : p[1], version = p[0] == "api" ? p[1] : p[2];
  Json list = Json::array();
  for (const auto& r : call.table->all()) {
    if (r->group != group || r->version != version) continue;
    list.push_back(resource_entry(*r, ""));
    if (r->status_subresource) list.push_back(resource_entry(*r, "status"));
    if (r->store_key() == "/pods") list.push_back(resource_entry(*r, "log"));
    if (r->store_key() == "/serviceaccounts") list.push_back(resource_entry(*r, "token"));
  }
  if (list.empty())
    throw ApiError(404, "NotFound", "the server could not find the requested resource");
  return json_reply(200, {{"kind", "APIResourceList"},
                          {"apiVersion", "v1"},
                          {"groupVersion", group.empty() ? version : group + "/" + version},
                          {"resources", list}});
}

HttpReply ApiServer::openapi(Call& call) {
  const auto& p = call.path;
  if (p.size() == 2 && p[1] == "v2") {
    std::lock_guard lock(openapi_mutex_);
    if (openapi_generation_ != registry_.generation()) {
      openapi_generation_ = registry_.generation();
      Json document = openapi_v2(*call.table);
      openapi_json_ = dump_json(document);
      openapi_proto_ = openapi_v2_protobuf(document);
    }
    std::string accept = header(call.request.headers, "Accept");
    if (accept.find("proto-openapi") != std::string::npos) {
      return {HttpResponse{
                  200,
                  {{"Content-Type", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"}},
                  openapi_proto_},
              {}};
    }
    return {HttpResponse{200, {{"Content-Type", "application/json"}}, openapi_json_}, {}};
  }
  if (p.size() >= 2 && p[1] == "v3") {
    if (p.size() == 2)
      return json_reply(200, openapi_v3_index(*call.table, std::to_string(registry_.generation())));
    Json document;
    if (p.size() == 4 && p[2] == "api") document = openapi_v3(*call.table, "", p[3]);
    if (p.size() == 5 && p[2] == "apis") document = openapi_v3(*call.table, p[3], p[4]);
    if (!document.is_null()) return json_reply(200, document);
  }
  throw ApiError(404, "NotFound", "the server could not find the requested resource");
}

}  // namespace tango::standalone

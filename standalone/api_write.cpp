// Writing: create, replace, the four patch types, delete and deletecollection; reviews and tokens.
#include <algorithm>

#include "lib/base/random.h"
#include "standalone/api_call.h"

namespace tango::standalone {
namespace {

constexpr std::size_t kMaxManager = 128;
constexpr std::int64_t kDefaultTokenSeconds = 3600;
constexpr std::int64_t kMinTokenSeconds = 600;
constexpr std::int64_t kMaxTokenSeconds = 48 * 3600;

void fill_context(const HttpRequest& request, const UrlTarget& target, WriteContext& ctx,
                  bool apply) {
  ctx.manager = target.get("fieldManager");
  if (ctx.manager.size() > kMaxManager) {
    throw invalid("meta.k8s.io", "PatchOptions", "",
                  {{"FieldValueTooLong", "Too long: must have at most 128 bytes", "fieldManager"}});
  }
  if (ctx.manager.empty()) {
    if (apply) {
      throw invalid(
          "meta.k8s.io", "PatchOptions", "",
          {{"FieldValueRequired", "Required value: is required for apply patch", "fieldManager"}});
    }
    std::string agent = header(request.headers, "User-Agent", "unknown");
    ctx.manager = agent.substr(0, std::min(agent.find('/'), kMaxManager));
  }
  for (auto [it, end] = target.query.equal_range("dryRun"); it != end; ++it) {
    if (it->second != "All") {
      throw invalid(
          "meta.k8s.io", "CreateOptions", "",
          {{"FieldValueNotSupported",
            "Unsupported value: \"" + it->second + "\": supported values: \"All\"", "dryRun"}});
    }
    ctx.dry_run = true;
  }
  std::string validation = target.get("fieldValidation");
  if (validation == "Strict") {
    ctx.validation = FieldValidation::kStrict;
  } else if (validation == "Ignore") {
    ctx.validation = FieldValidation::kIgnore;
  } else if (!validation.empty() && validation != "Warn") {
    throw invalid("meta.k8s.io", "CreateOptions", "",
                  {{"FieldValueNotSupported",
                    "Unsupported value: \"" + validation +
                        "\": supported values: \"Ignore\", \"Strict\", \"Warn\"",
                    "fieldValidation"}});
  }
}

void check_kind(const Json& body, const ResourceInfo& r) {
  if (!body.is_object()) throw bad_request("the body is not an object");
  std::string version = get_string(body, "apiVersion"), kind = get_string(body, "kind");
  if ((!version.empty() && version != r.api_version()) || (!kind.empty() && kind != r.kind)) {
    throw bad_request("the API version in the data (" + version + ", Kind=" + kind +
                      ") does not match the expected API version (" + r.api_version() +
                      ", Kind=" + r.kind + ")");
  }
}

DeleteRequest delete_request(const HttpRequest& request, const UrlTarget& target) {
  DeleteRequest q;
  Json body = request.body.empty() ? Json::object() : parse_body(request);
  if (!body.is_object()) throw bad_request("DeleteOptions must be an object");
  if (get(body, "gracePeriodSeconds").is_number())
    q.grace_seconds = get_int(body, "gracePeriodSeconds");
  q.propagation = get_string(body, "propagationPolicy");
  if (get_bool(body, "orphanDependents")) q.propagation = "Orphan";
  q.uid = get_string(get(body, "preconditions"), "uid");
  q.resource_version = get_string(get(body, "preconditions"), "resourceVersion");
  q.dry_run = get(body, "dryRun").is_array() && !get(body, "dryRun").empty();
  if (std::string v = target.get("gracePeriodSeconds"); !v.empty())
    q.grace_seconds = parse_revision(v);
  if (std::string v = target.get("propagationPolicy"); !v.empty()) q.propagation = v;
  if (target.get("orphanDependents") == "true") q.propagation = "Orphan";
  if (target.get("dryRun") == "All") q.dry_run = true;
  return q;
}

Json user_info(const Identity& id) {
  Json out = {{"username", id.user}, {"groups", id.groups}};
  if (!id.uid.empty()) out["uid"] = id.uid;
  return out;
}

}  // namespace

HttpReply ApiServer::write(Call& call) {
  const ResourceInfo& r = *call.resource;
  const std::string& method = call.request.method;
  std::string type = header(call.request.headers, "Content-Type");
  type = type.substr(0, type.find(';'));
  const bool apply =
      type == "application/apply-patch+yaml" || type == "application/apply-patch+json";
  fill_context(call.request, call.target, call.context, method == "PATCH" && apply);
  if (method == "POST") {
    if (!call.name.empty())
      throw method_not_allowed("the server does not allow this method on the requested resource");
    Json body = parse_body(call.request);
    check_kind(body, r);
    return objects(call, 201, operations_->create(r, call.ns, std::move(body), call.context));
  }
  if (call.name.empty())
    throw method_not_allowed("the server does not allow this method on the requested resource");
  if (method == "PUT") {
    Json body = parse_body(call.request);
    check_kind(body, r);
    return objects(
        call, 200,
        operations_->update(r, call.ns, call.name, std::move(body), call.sub, call.context));
  }
  PatchKind kind;
  if (apply) {
    kind = PatchKind::kApply;
  } else if (type == "application/json-patch+json") {
    kind = PatchKind::kJson;
  } else if (type == "application/merge-patch+json") {
    kind = PatchKind::kMerge;
  } else if (type == "application/strategic-merge-patch+json") {
    kind = PatchKind::kStrategic;
  } else {
    throw ApiError(415, "UnsupportedMediaType",
                   "the body of the request was in an unknown format - accepted media types "
                   "include: application/json-patch+json, "
                   "application/merge-patch+json, application/strategic-merge-patch+json, "
                   "application/apply-patch+yaml");
  }
  auto [object, created] =
      operations_->patch(r, call.ns, call.name, kind, parse_body(call.request), call.sub,
                         call.query("force") == "true", call.context);
  return objects(call, created ? 201 : 200, object);
}

HttpReply ApiServer::remove(Call& call) {
  const ResourceInfo& r = *call.resource;
  Deleted d = operations_->remove(r, call.ns, call.name, delete_request(call.request, call.target));
  // Pods and namespaces answer with the object, others with a Status unless something still holds
  // them.
  const bool object = !d.removed || r.store_key() == "/pods" || r.store_key() == "/namespaces";
  if (object) return json_reply(200, d.object);
  return json_reply(200, success_status(r.group, r.plural, call.name,
                                        get_string(get(d.object, "metadata"), "uid")));
}

HttpReply ApiServer::remove_collection(Call& call) {
  const ResourceInfo& r = *call.resource;
  Filters filters = parse_filters(call.target, r, "");
  DeleteRequest q = delete_request(call.request, call.target);
  auto snapshot = store_->list(r.store_key(), call.ns);
  std::vector<Json> items;
  for (const ObjectPtr& o : snapshot.objects) {
    if (!filters.matches(o->body())) continue;
    try {
      items.push_back(operations_->remove(r, o->ns, o->name, q).object);
    } catch (const ApiError& e) {
      if (e.code != 404) throw;
    }
  }
  return json_reply(200, {{"kind", r.list_kind},
                          {"apiVersion", r.api_version()},
                          {"metadata", {{"resourceVersion", std::to_string(store_->revision())}}},
                          {"items", items}});
}

HttpReply ApiServer::review(Call& call) {
  const ResourceInfo& r = *call.resource;
  Json body = parse_body(call.request);
  check_kind(body, r);
  body["apiVersion"] = r.api_version();
  body["kind"] = r.kind;
  const Json spec = get(body, "spec");
  Json status = Json::object();
  if (r.kind == "TokenReview") {
    auto claims = tokens_.verify(get_string(spec, "token"), clock_.now());
    std::vector<std::string> wanted;
    for (const Json& a : get(spec, "audiences"))
      wanted.push_back(a.is_string() ? a.get<std::string>() : "");
    if (wanted.empty()) wanted.push_back(tokens_.issuer());
    std::vector<std::string> common;
    if (claims) {
      for (const std::string& a : wanted) {
        if (std::find(claims->audiences.begin(), claims->audiences.end(), a) !=
            claims->audiences.end())
          common.push_back(a);
      }
    }
    if (claims && !common.empty()) {
      Identity id{claims->subject, claims->uid, claims->groups};
      id.groups.emplace_back("system:authenticated");
      status = {{"authenticated", true}, {"user", user_info(id)}, {"audiences", common}};
    } else {
      status = {{"authenticated", false}, {"error", "invalid bearer token"}};
    }
  } else if (r.kind == "SelfSubjectReview") {
    status = {{"userInfo", user_info(call.identity)}};
  } else {
    Identity id = call.identity;
    if (r.kind == "SubjectAccessReview") {
      id = Identity{get_string(spec, "user"), get_string(spec, "uid"), {}};
      for (const Json& g : get(spec, "groups")) {
        if (g.is_string()) id.groups.push_back(g);
      }
    }
    status = {{"allowed", id.admin()},
              {"reason", id.admin() ? "administrators may do everything"
                                    : "only administrators are authorised on this server"}};
  }
  body["status"] = status;
  return json_reply(201, body);
}

HttpReply ApiServer::token_request(Call& call) {
  Json account = operations_->get(*call.resource, call.ns, call.name);
  Json body = parse_body(call.request);
  const Json& spec = get(body, "spec");
  std::int64_t seconds = get_int(spec, "expirationSeconds", kDefaultTokenSeconds);
  if (seconds < kMinTokenSeconds) {
    throw invalid("authentication.k8s.io", "TokenRequest", "",
                  {{"FieldValueInvalid",
                    "Invalid value: " + std::to_string(seconds) +
                        ": may not specify a duration less than 10 minutes",
                    "spec.expirationSeconds"}});
  }
  seconds = std::min(seconds, kMaxTokenSeconds);
  TokenIssuer::Claims claims;
  claims.subject = "system:serviceaccount:" + call.ns + ":" + call.name;
  claims.uid = get_string(get(account, "metadata"), "uid");
  claims.groups = {"system:serviceaccounts", "system:serviceaccounts:" + call.ns};
  for (const Json& a : get(spec, "audiences")) {
    if (a.is_string()) claims.audiences.push_back(a);
  }
  if (claims.audiences.empty()) claims.audiences.push_back(tokens_.issuer());
  claims.expires = clock_.now() + Seconds{seconds};
  Json answer = {{"apiVersion", "authentication.k8s.io/v1"},
                 {"kind", "TokenRequest"},
                 {"metadata",
                  {{"name", call.name},
                   {"namespace", call.ns},
                   {"creationTimestamp", format_time(clock_.now())}}},
                 {"spec", {{"audiences", claims.audiences}, {"expirationSeconds", seconds}}},
                 {"status",
                  {{"token", tokens_.issue(claims, clock_.now())},
                   {"expirationTimestamp", format_time(claims.expires)}}}};
  return json_reply(201, answer);
}

}  // namespace tango::standalone

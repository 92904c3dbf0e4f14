#include "standalone/api_server.h"

#include <charconv>

#include "lib/base/log.h"
#include "lib/base/yaml.h"
#include "standalone/api_call.h"
#include "standalone/protobuf_body.h"
#include "standalone/watch_hub.h"

namespace tango::standalone {
namespace {

constexpr auto kAdminTokenLife = std::chrono::hours(24 * 365 * 10);

bool open_to_all(const std::string& path) {
  return path == "/healthz" || path == "/livez" || path == "/readyz" || path == "/version";
}

}  // namespace

HttpReply json_reply(int status, const Json& body) {
  return {
      HttpResponse{status,
                   {{"Content-Type", "application/json"}, {"Cache-Control", "no-cache, private"}},
                   dump_json(body) + "\n"},
      {}};
}
HttpReply text_reply(int status, std::string body) {
  return {HttpResponse{status, {{"Content-Type", "text/plain; charset=utf-8"}}, std::move(body)},
          {}};
}
HttpReply error_reply(const ApiError& error) {
  HttpReply reply = json_reply(error.code, error.status());
  if (error.retry_after_seconds > 0)
    reply.response.headers.emplace("Retry-After", std::to_string(error.retry_after_seconds));
  return reply;
}

Json parse_body(const HttpRequest& request) {
  std::string type = header(request.headers, "Content-Type", "application/json");
  type = type.substr(0, type.find(';'));
  if (type == "application/json" || type.ends_with("+json")) {
    auto parsed = parse_json(request.body);
    if (!parsed.ok())
      throw bad_request("the object provided is unrecognized: " + parsed.error().message);
    return std::move(parsed).value();
  }
  if (type == "application/yaml" || type.ends_with("+yaml")) {
    auto parsed = parse_yaml(request.body);
    if (!parsed.ok()) throw bad_request("error decoding YAML: " + parsed.error().message);
    return std::move(parsed->value);
  }
  if (type == "application/vnd.kubernetes.protobuf") {
    if (auto body = protobuf_body(request.body)) return std::move(*body);
  }
  throw ApiError(415, "UnsupportedMediaType",
                 "the body of the request was in an unknown format - accepted media types include: "
                 "application/json, application/yaml");
}

std::int64_t parse_revision(const std::string& text) {
  std::int64_t v = 0;
  auto [p, ec] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (ec != std::errc() || p != text.data() + text.size() || v < 0) {
    throw invalid("", "ListOptions", "",
                  {{"FieldValueInvalid", "Invalid value: \"" + text + "\": is no resource version",
                    "resourceVersion"}});
  }
  return v;
}

ApiError too_large_revision(std::int64_t asked, std::int64_t current) {
  ApiError e(504, "Timeout",
             "Too large resource version: " + std::to_string(asked) +
                 ", current: " + std::to_string(current));
  e.causes.push_back({"ResourceVersionTooLarge", "Too large resource version", ""});
  e.retry_after_seconds = 1;
  return e;
}

ApiServer::ApiServer(ApiServerOptions options)
    : options_(std::move(options)),
      clock_(options_.clock != nullptr ? *options_.clock : system_clock()),
      tokens_(options_.token_key, options_.issuer) {}

ApiServer::~ApiServer() { stop(); }

Result<std::unique_ptr<ApiServer>> ApiServer::open(ApiServerOptions options) {
  std::unique_ptr<ApiServer> server(new ApiServer(std::move(options)));
  TRY_ASSIGN(server->store_, Store::open(server->options_.database, server->options_.store));
  for (const ObjectPtr& crd :
       server->store_->list("apiextensions.k8s.io/customresourcedefinitions").objects) {
    server->registry_.set_definition(crd->body());
  }
  server->operations_ = std::make_unique<Operations>(*server->store_, server->registry_,
                                                     server->clock_, server->options_.admission);
  server->watches_ =
      std::make_unique<WatchHub>(*server->store_, server->options_.bookmark_interval);
  return server;
}

void ApiServer::stop() {
  if (watches_) watches_->stop();
}

Status ApiServer::bootstrap() {
  auto table = registry_.table();
  ResourcePtr namespaces = table->find("", "v1", "namespaces");
  for (const char* name :
       {"default", "kube-system", "kube-public", "kube-node-lease", "tango-system"}) {
    if (store_->get(namespaces->store_key(), "", name)) continue;
    try {
      WriteContext ctx;
      ctx.manager = "tango-apiserver";
      operations_->create(*namespaces, "", {{"metadata", {{"name", name}}}}, ctx);
    } catch (const ApiError& e) {
      if (e.reason != "AlreadyExists") return make_error(Code::kInternal, e.reason, e.message);
    }
  }
  return ok_status();
}

std::string ApiServer::admin_token() const {
  return tokens_.issue(
      {"tango-admin", "", {"system:masters"}, {options_.issuer}, clock_.now() + kAdminTokenLife},
      clock_.now());
}

std::optional<Identity> ApiServer::authenticate(const HttpRequest& request) const {
  std::string bearer = header(request.headers, "Authorization");
  if (bearer.starts_with("Bearer ")) {
    auto claims = tokens_.verify(std::string_view(bearer).substr(7), clock_.now());
    if (!claims) return std::nullopt;  // a wrong token is an error even beside a certificate
    Identity id{claims->subject, claims->uid, claims->groups};
    id.groups.emplace_back("system:authenticated");
    return id;
  }
  if (!request.client_cert_subject.empty()) return identity_of_subject(request.client_cert_subject);
  return std::nullopt;
}

HttpReply ApiServer::handle(const HttpRequest& request) {
  try {
    Call call{.request = request,
              .target = split_target(request.url),
              .path = {},
              .identity = {},
              .table = registry_.table(),
              .resource = {},
              .ns = {},
              .name = {},
              .sub = {},
              .context = {},
              .warnings = {}};
    call.path = split_path(call.target.path);
    std::string root = "/" + (call.path.empty() ? std::string() : call.path.front());
    auto identity = authenticate(request);
    if (!identity && !open_to_all(root)) throw ApiError(401, "Unauthorized", "Unauthorized");
    if (identity) call.identity = std::move(*identity);
    HttpReply reply = route(call);
    for (const std::string& w : call.context.warnings) {
      std::string quoted;
      for (char c : w) {
        if (c == '"' || c == '\\') quoted += '\\';
        quoted += c;
      }
      reply.response.headers.emplace("Warning", "299 - \"" + quoted + "\"");
    }
    return reply;
  } catch (const ApiError& e) {
    return error_reply(e);
  } catch (const std::exception& e) {
    log_error("API request failed inside", {{"path", request.url}, {"error", e.what()}});
    return error_reply(
        ApiError(500, "InternalError", std::string("Internal error occurred: ") + e.what()));
  }
}

HttpReply ApiServer::route(Call& call) {
  const auto& p = call.path;
  if (p.empty()) {
    return json_reply(200, {{"paths",
                             {"/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2",
                              "/openapi/v3", "/readyz", "/version"}}});
  }
  if (p[0] == "healthz" || p[0] == "livez") return text_reply(200, "ok");
  if (p[0] == "readyz") return ready_ ? text_reply(200, "ok") : text_reply(500, "starting\n");
  if (p[0] == "version") {
    return json_reply(200, {{"major", "1"},
                            {"minor", "29"},
                            {"gitVersion", kServerVersion},
                            {"gitCommit", ""},
                            {"gitTreeState", "clean"},
                            {"buildDate", "1970-01-01T00:00:00Z"},
                            {"goVersion", "none"},
                            {"compiler", "g++"},
                            {"platform", "linux/amd64"}});
  }
  if (p[0] == "openapi") return openapi(call);
  const bool core = p[0] == "api";
  if (!core && p[0] != "apis")
    throw ApiError(404, "NotFound", "the server could not find the requested resource");
  const std::size_t prefix = core ? 2 : 3;  // api/v1, apis/group/version
  if (p.size() <= prefix) return discovery(call);

  std::string group = core ? "" : p[1], version = core ? p[1] : p[2];
  std::size_t i = prefix;
  if (p[i] == "namespaces" && p.size() > i + 2) {
    // namespaces/<name>/status is the namespace's own subresource, all else lies inside it.
    if (!(core && p.size() == i + 3 && (p[i + 2] == "status" || p[i + 2] == "finalize"))) {
      call.ns = p[i + 1];
      i += 2;
    }
  }
  call.resource = call.table->find(group, version, p[i]);
  if (!call.resource)
    throw ApiError(404, "NotFound", "the server could not find the requested resource");
  if (p.size() > i + 1) call.name = p[i + 1];
  if (p.size() > i + 2) call.sub = p[i + 2];
  if (p.size() > i + 3)
    throw ApiError(404, "NotFound", "the server could not find the requested resource");
  if (!call.resource->namespaced && !call.ns.empty())
    throw ApiError(404, "NotFound", "the server could not find the requested resource");
  return resource_call(call);
}

HttpReply ApiServer::resource_call(Call& call) {
  const ResourceInfo& r = *call.resource;
  const std::string& method = call.request.method;
  const bool reading = method == "GET" || method == "HEAD";
  const bool self_review = r.kind.starts_with("SelfSubject");
  if (!call.identity.admin() && !self_review) {
    throw forbidden(r.group, r.plural, call.name,
                    "User \"" + call.identity.user + "\" cannot access resource \"" + r.plural +
                        "\" in API group \"" + r.group + "\"");
  }
  if (!r.deprecation_warning.empty()) call.context.warnings.push_back(r.deprecation_warning);
  if (r.namespaced && call.ns.empty() && !(reading && call.name.empty())) {
    throw bad_request("a namespace is required to access " + r.plural);
  }
  if (r.review) {
    if (method != "POST" || !call.name.empty())
      throw method_not_allowed("the server does not allow this method on the requested resource");
    return review(call);
  }
  if (!call.sub.empty()) {
    if (r.store_key() == "/pods" && call.sub == "log" && reading) return pod_log(call);
    if (r.store_key() == "/serviceaccounts" && call.sub == "token" && method == "POST")
      return token_request(call);
    const bool status = call.sub == "status" && r.status_subresource;
    if (!status)
      throw ApiError(404, "NotFound", "the server could not find the requested resource");
    if (method != "GET" && method != "PUT" && method != "PATCH")
      throw method_not_allowed("the server does not allow this method on the requested resource");
  }
  if (reading) {
    if (call.flag("watch")) return watch(call);
    return call.name.empty() ? list(call)
                             : objects(call, 200, operations_->get(r, call.ns, call.name));
  }
  if (method == "POST" || method == "PUT" || method == "PATCH") return write(call);
  if (method == "DELETE") return call.name.empty() ? remove_collection(call) : remove(call);
  throw method_not_allowed("the server does not allow this method on the requested resource");
}

HttpReply ApiServer::objects(Call& call, int status, const Json& object) {
  if (auto table = table_request(call.request, call.target);
      table && get_string(object, "kind") != "Status") {
    Json meta = {{"resourceVersion", get_string(get(object, "metadata"), "resourceVersion")}};
    return json_reply(status, make_table(*call.resource, {object}, meta, *table, clock_.now()));
  }
  if (wants_partial_metadata(call.request) && get_string(object, "kind") != "Status")
    return json_reply(status, partial_metadata(object));
  return json_reply(status, object);
}

}  // namespace tango::standalone

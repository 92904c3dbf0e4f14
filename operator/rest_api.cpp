#include "operator/rest_api.h"

#include <charconv>

#include "crds/device.h"
#include "crds/tango_project.h"
#include "lib/base/log.h"
#include "operator/fleet_query.h"
#include "operator/openapi.h"

namespace tango::op {
namespace {

constexpr std::size_t kMetricsPageDefault = 1000;
constexpr std::size_t kMetricsPageMax = 10'000;
constexpr std::size_t kMaxPostedEvents = 5000;
constexpr std::size_t kLogBytes = 256u << 10;

HttpReply json_reply(int status, const Json& body) {
  HttpReply reply;
  reply.response.status = status;
  reply.response.headers = {{"Content-Type", "application/json"}};
  reply.response.body = dump_json(body) + "\n";
  return reply;
}

int status_of(const Error& error) {
  if (error.reason == "Unauthenticated") return 401;
  switch (error.code) {
    case Code::kInvalid:
      return 400;
    case Code::kNotFound:
      return 404;
    case Code::kExists:
    case Code::kConflict:
      return 409;
    case Code::kDenied:
      return 403;
    case Code::kUnsupported:
      return 501;
    case Code::kExhausted:
      return 413;
    case Code::kTimeout:
      return 504;
    case Code::kUnavailable:
      return 503;
    default:
      return 500;
  }
}

HttpReply error_reply(const Error& error) {
  HttpReply reply = json_reply(status_of(error), Json{{"code", std::string(to_string(error.code))},
                                                      {"reason", error.reason},
                                                      {"message", error.to_string()}});
  if (reply.response.status == 401) reply.response.headers.emplace("WWW-Authenticate", "Bearer");
  if (reply.response.status == 503) reply.response.headers.emplace("Retry-After", "2");
  return reply;
}

Result<std::size_t> number(const UrlTarget& target, const char* name, std::size_t fallback,
                           std::size_t max) {
  std::string text = target.get(name);
  if (text.empty()) return fallback;
  std::size_t n = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc() || end != text.data() + text.size() || n > max) {
    return make_error(Code::kInvalid, "InvalidQuery",
                      std::string("the query parameter \"") + name + "\" must be a number up to " +
                          std::to_string(max));
  }
  return n;
}

class Handler {
 public:
  explicit Handler(RestApi api) : api_(std::move(api)) {}

  HttpReply operator()(const HttpRequest& request) const {
    auto result = route(request);
    return result.ok() ? std::move(*result) : error_reply(result.error());
  }

 private:
  Result<HttpReply> route(const HttpRequest& request) const {
    UrlTarget target = split_target(request.url);
    std::vector<std::string> path = split_path(target.path);
    bool get_it = request.method == "GET";
    bool post = request.method == "POST";
    if (get_it && target.path == "/healthz") return json_reply(200, Json{{"status", "ok"}});
    if (get_it && target.path == "/openapi.yaml") {
      HttpReply reply;
      reply.response.status = 200;
      reply.response.headers = {{"Content-Type", "application/yaml"}};
      reply.response.body = std::string(kOpenApi);
      return reply;
    }
    if (path.size() < 3 || path[0] != "api" || path[1] != "v1") return unknown(request, target);
    TRY_ASSIGN(User user, api_.auth->authenticate(request.headers));
    auto world = api_.observed();
    if (!world)
      return make_error(Code::kUnavailable, "CachesNotSynced",
                        "the operator is still reading its objects; try again in a moment");

    if (get_it && path.size() == 3 && path[2] == "projects") return projects(user, target, *world);
    if (get_it && path.size() == 3 && path[2] == "fleet") return fleet(user, target, *world);
    // Run ids are "<namespace>/<name>", sent as one encoded or as two path parts.
    if (path.size() >= 5 && path[2] == "runs") {
      std::string run_id = path[3];
      for (std::size_t i = 4; i + 1 < path.size(); ++i) run_id += "/" + path[i];
      if (get_it && path.back() == "metrics") return metrics(user, target, run_id);
      if (post && path.back() == "events") return events(user, request, run_id);
    }
    if (path.size() == 7 && path[2] == "namespaces" && path[4] == "devices") {
      const auto* device = world->get<crds::Device>(path[3], path[5]);
      const std::string& verb = path[6];
      if (get_it && verb == "why") {
        TRY(api_.auth->authorize(user, {"get", "devices", "", path[3], path[5]}));
        TRY(found(device, path));
        return json_reply(200, api_.why(*device, *world));
      }
      if (get_it && verb == "logs") return logs(user, target, device, path);
      if (post && verb == "predict") return predict(user, request, target, device, path);
      if (post && verb == "evaluate") return evaluate(user, request, target, device, path);
    }
    return unknown(request, target);
  }

  static Error unknown(const HttpRequest& request, const UrlTarget& target) {
    return make_error(
        Code::kNotFound, "UnknownPath",
        request.method + " " + target.path + " is not part of this API; see /openapi.yaml");
  }

  static Status found(const crds::Device* device, const std::vector<std::string>& path) {
    if (device) return Ok{};
    return make_error(Code::kNotFound, "NotFound",
                      "there is no Device " + path[5] + " in namespace " + path[3]);
  }

  Result<HttpReply> projects(const User& user, const UrlTarget& target,
                             const kube::Observed& world) const {
    std::string ns = target.get("namespace");
    TRY(api_.auth->authorize(user, {"list", "tangoprojects", "", ns, ""}));
    Json items = Json::array();
    for (const auto* project : world.list<crds::TangoProject>(ns)) {
      Json row = encode(project->status);
      row["namespace"] = project->metadata.ns;
      row["name"] = project->metadata.name;
      items.push_back(std::move(row));
    }
    return json_reply(200, Json{{"items", std::move(items)}});
  }

  Result<HttpReply> fleet(const User& user, const UrlTarget& target,
                          const kube::Observed& world) const {
    TRY_ASSIGN(FleetQuery query, parse_fleet_query(target.query));
    TRY(api_.auth->authorize(user, {"list", "devices", "", query.ns, ""}));
    return json_reply(200, fleet_status(query, world));
  }

  // A run belongs to the namespace before its first slash.
  static std::string namespace_of(std::string_view run_id) {
    auto slash = run_id.find('/');
    return slash == std::string_view::npos ? std::string() : std::string(run_id.substr(0, slash));
  }

  Result<HttpReply> metrics(const User& user, const UrlTarget& target,
                            const std::string& run_id) const {
    TRY(api_.auth->authorize(user, {"get", "trainjobs", "", namespace_of(run_id), ""}));
    TRY_ASSIGN(std::size_t limit, number(target, "limit", kMetricsPageDefault, kMetricsPageMax));
    TRY_ASSIGN(std::size_t after,
               number(target, "continue", 0, static_cast<std::size_t>(INT64_MAX)));
    TRY_ASSIGN(auto progress, api_.runs->progress(run_id));
    if (!progress) {
      return make_error(Code::kNotFound, "NotFound",
                        "nothing is known of the run " + run_id + " (it may not have started yet)");
    }
    TRY_ASSIGN(RunStore::Page page, api_.runs->events(run_id, target.get("type"),
                                                      static_cast<std::int64_t>(after), limit));
    Json now = Json::object();
    now["attempt"] = progress->attempt;
    if (!progress->phase.empty()) now["phase"] = progress->phase;
    auto put = [&](const char* key, const auto& value) {
      if (value) now[key] = *value;
    };
    put("epoch", progress->epoch);
    put("epochs", progress->epochs);
    put("step", progress->step);
    put("steps", progress->steps);
    put("imagesPerSecond", progress->images_per_second);
    put("etaSeconds", progress->eta_seconds);
    put("loss", progress->loss);
    put("top1", progress->top1);
    if (!progress->failed.empty()) now["failed"] = progress->failed;
    now["done"] = progress->done;
    Json events = Json::array();
    for (const run::Event& e : page.events) {
      Json line = e.fields;
      line["seq"] = e.seq;
      line["time"] = e.time;
      line["attempt"] = e.attempt;
      line["type"] = e.type;
      events.push_back(std::move(line));
    }
    Json body{{"run", run_id}, {"progress", std::move(now)}, {"events", std::move(events)}};
    if (page.more) body["continue"] = std::to_string(page.last_row);
    return json_reply(200, body);
  }

  Result<HttpReply> events(const User& user, const HttpRequest& request,
                           const std::string& run_id) const {
    TRY(api_.auth->authorize(user, {"update", "trainjobs", "status", namespace_of(run_id), ""}));
    std::vector<run::Event> list;
    std::string_view rest = request.body;
    for (std::size_t line = 1; !rest.empty(); ++line) {
      auto end = rest.find('\n');
      std::string_view text = rest.substr(0, end);
      rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
      if (text.empty()) continue;
      auto event = run::parse_event(text);
      if (!event.ok())
        return std::move(event).error().with_context("reading line " + std::to_string(line));
      if (event->run_id != run_id) {
        return make_error(Code::kInvalid, "InvalidEvent",
                          "line " + std::to_string(line) + " is of the run " + event->run_id +
                              ", not of " + run_id);
      }
      if (list.size() == kMaxPostedEvents) {
        return make_error(
            Code::kExhausted, "TooManyEvents",
            "at most " + std::to_string(kMaxPostedEvents) + " events are taken in one request");
      }
      list.push_back(std::move(*event));
    }
    TRY(api_.runs->append(list));
    return json_reply(200, Json{{"stored", list.size()}});
  }

  Result<HttpReply> logs(const User& user, const UrlTarget& target, const crds::Device* device,
                         const std::vector<std::string>& path) const {
    TRY(api_.auth->authorize(user, {"get", "devices", "logs", path[3], path[5]}));
    TRY(found(device, path));
    TRY_ASSIGN(std::size_t max, number(target, "limitBytes", kLogBytes, kLogBytes));
    TRY_ASSIGN(Json answer,
               api_.devices->logs(*device, target.get("slot", "main"), target.get("since"), max));
    return json_reply(200, answer);
  }

  Result<HttpReply> predict(const User& user, const HttpRequest& request, const UrlTarget& target,
                            const crds::Device* device,
                            const std::vector<std::string>& path) const {
    TRY(api_.auth->authorize(user, {"create", "devices", "predict", path[3], path[5]}));
    TRY(found(device, path));
    if (request.body.empty()) {
      return make_error(Code::kInvalid, "EmptyBody", "the body must hold one image (PNG or JPEG)");
    }
    HttpRequest onward;
    onward.method = "POST";
    onward.url = "/predict";
    onward.headers = {
        {"Content-Type", header(request.headers, "content-type", "application/octet-stream")}};
    onward.body = request.body;
    TRY_ASSIGN(HttpResponse answer,
               api_.devices->relay(*device, target.get("slot", "main"), onward));
    HttpReply reply;
    reply.response.status = answer.status;
    reply.response.headers = {
        {"Content-Type", header(answer.headers, "content-type", "application/json")}};
    reply.response.body = std::move(answer.body);
    return reply;
  }

  Result<HttpReply> evaluate(const User& user, const HttpRequest& request, const UrlTarget& target,
                             const crds::Device* device,
                             const std::vector<std::string>& path) const {
    TRY(api_.auth->authorize(user, {"create", "devices", "evaluate", path[3], path[5]}));
    TRY(found(device, path));
    std::string format = target.get("format", "folder");
    if (format != "idx" && format != "folder") {
      return make_error(Code::kInvalid, "InvalidQuery",
                        "the query parameter \"format\" must be idx or folder");
    }
    if (request.body.empty()) {
      return make_error(Code::kInvalid, "EmptyBody",
                        "the body must hold a tar archive of the evaluation set");
    }
    TRY_ASSIGN(Json answer,
               api_.devices->evaluate(*device, target.get("slot", "main"), format, request.body));
    return json_reply(200, answer);
  }

  RestApi api_;
};

}  // namespace

HttpHandler make_rest_handler(RestApi api) { return Handler(std::move(api)); }

}  // namespace tango::op

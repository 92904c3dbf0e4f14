#include "lib/kube/endpoints.h"

namespace tango::kube {
namespace {

HttpReply reply(int status, std::string body, std::string_view type = "text/plain; charset=utf-8") {
  HttpReply out;
  out.response.status = status;
  out.response.headers.emplace("Content-Type", std::string(type));
  out.response.body = std::move(body);
  return out;
}

// "ok", or with the failing checks spelled out as Kubernetes' own components do.
HttpReply check(const std::map<std::string, HealthCheck>& checks, std::string_view only) {
  std::string text;
  bool failed = false, found = only.empty();
  for (const auto& [name, run] : checks) {
    if (!only.empty() && name != only) continue;
    found = true;
    const Status status = run();
    failed |= !status.ok();
    text += status.ok() ? "[+]" + name + " ok\n"
                        : "[-]" + name + " failed: " + status.error().reason + "\n";
  }
  if (!found) return reply(404, "no such check\n");
  return failed ? reply(500, text) : reply(200, "ok");
}

}  // namespace

HttpHandler make_endpoints(Endpoints endpoints) {
  return [endpoints = std::move(endpoints)](const HttpRequest& request) -> HttpReply {
    if (request.method != "GET" && request.method != "HEAD") return reply(405, "only GET\n");
    const auto parts = split_path(split_target(request.url).path);
    if (parts.empty() || parts.size() > 2) return reply(404, "not found\n");
    const std::string name = parts.size() == 2 ? parts[1] : "";
    if (parts[0] == "healthz") return check(endpoints.health, name);
    if (parts[0] == "readyz") return check(endpoints.ready, name);
    if (parts[0] == "metrics" && name.empty()) {
      const MetricsRegistry& metrics = endpoints.metrics ? *endpoints.metrics : default_metrics();
      return reply(200, metrics.text(), "text/plain; version=0.0.4; charset=utf-8");
    }
    return reply(404, "not found\n");
  };
}

}  // namespace tango::kube

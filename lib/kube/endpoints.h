// /metrics, /healthz and /readyz of a manager as one HttpHandler, for any server behind the HTTP
// interface. Named checks answer at /healthz/<name> and /readyz/<name> too.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "lib/base/http.h"
#include "lib/base/metrics.h"
#include "lib/base/result.h"

namespace tango::kube {

using HealthCheck = std::function<Status()>;

struct Endpoints {
  MetricsRegistry* metrics = nullptr;  // nullptr: default
  std::map<std::string, HealthCheck> health;
  std::map<std::string, HealthCheck> ready;  // e.g. {"manager", [&] { ... manager.ready() ... }}
};
// 404 for every other path, 405 for other methods than GET and HEAD.
HttpHandler make_endpoints(Endpoints endpoints);

}  // namespace tango::kube

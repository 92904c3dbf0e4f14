#include "operator/wiring.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <thread>

#include "controllers/device/device.h"
#include "crds/crds.h"
#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/kube-types/core.h"
#include "lib/kube/config.h"
#include "operator/executors.h"
#include "operator/fleet_service.h"
#include "operator/log_follower.h"
#include "operator/rest_api.h"

namespace tango::op {
namespace {

constexpr int kApiThreads = 8;
constexpr std::uint64_t kApiMaxBody = 96u << 20;  // an evaluation set
constexpr Nanos kCrdsDeadline = Seconds{60};

HttpReply text(int status, std::string body) {
  return {{status, {{"Content-Type", "text/plain; charset=utf-8"}}, std::move(body)}, {}};
}

HttpHandler metrics_handler(kube::Manager& manager) {
  return [&manager](const HttpRequest& request) {
    const std::string path = split_target(request.url).path;
    if (path == "/metrics") {
      HttpReply reply = text(200, default_metrics().text());
      reply.response.headers.clear();
      reply.response.headers.emplace("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
      return reply;
    }
    if (path == "/healthz") return text(200, "ok\n");
    if (path == "/readyz")
      return manager.ready() ? text(200, "ok\n") : text(503, "caches are not synced\n");
    return text(404, "not found; there are /metrics, /healthz and /readyz\n");
  };
}

// Waits for SIGTERM or SIGINT on a thread of its own; every other thread has them blocked.
class SignalWait {
 public:
  explicit SignalWait(std::function<void()> stop) {
    thread_ = std::thread([this, stop = std::move(stop)] {
      sigset_t set;
      sigemptyset(&set);
      sigaddset(&set, SIGTERM);
      sigaddset(&set, SIGINT);
      sigaddset(&set, SIGUSR1);
      while (true) {
        int signal = 0;
        sigwait(&set, &signal);
        if (ended_) return;
        if (signal == SIGUSR1) continue;
        log_info("Stop was asked for", {{"signal", signal}});
        stop();
      }
    });
  }
  ~SignalWait() {
    ended_ = true;
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }

 private:
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

void block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int s : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&set, s);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignore, nullptr);
}

// CRDs may be applied a moment after the operator started.
Status wait_for_crds(kube::KubeClient& client) {
  Clock& clock = system_clock();
  const Nanos until = clock.monotonic() + kCrdsDeadline;
  while (true) {
    auto checked = check_crds(client);
    if (checked.ok() || clock.monotonic() >= until || checked.error().reason == "CRDsOutdated")
      return checked;
    clock.sleep_for(Millis{250});
  }
}

std::string identity() {
  char host[256] = "tango";
  ::gethostname(host, sizeof host - 1);
  return std::string(host) + "_" + random_uuid(system_random());
}

}  // namespace

Result<ListenAddress> parse_listen(std::string_view text) {
  const auto colon = text.rfind(':');
  ListenAddress out;
  int port = -1;
  if (colon != std::string_view::npos) {
    const char* end = text.data() + text.size();
    const auto r = std::from_chars(text.data() + colon + 1, end, port);
    if (r.ec != std::errc() || r.ptr != end) port = -1;
  }
  if (port < 0 || port > 65535) {
    return make_error(Code::kInvalid, "InvalidAddress",
                      "a listen address reads host:port, not " + std::string(text));
  }
  if (colon > 0) out.host = std::string(text.substr(0, colon));
  out.port = static_cast<std::uint16_t>(port);
  return out;
}

Status check_crds(kube::KubeClient& client) {
  TRY_ASSIGN(const kube::ListResult served, client.list(kube::CustomResourceDefinition::kKind));
  std::string missing, outdated;
  for (const crds::KindEntry& kind : crds::kinds()) {
    const std::string name = std::string(kind.info.plural) + "." + std::string(kind.info.group);
    const Json* found = nullptr;
    for (const Json& crd : served.items) {
      if (get_string(get(crd, "metadata"), "name") == name) found = &crd;
    }
    if (found == nullptr) {
      missing += (missing.empty() ? "" : ", ") + name;
      continue;
    }
    const std::string hash =
        get_string(get(get(*found, "metadata"), "annotations"), crds::kSchemaHashAnnotation);
    if (hash != kind.schema_hash) outdated += (outdated.empty() ? "" : ", ") + name;
  }
  if (!missing.empty()) {
    return make_error(Code::kNotFound, "CRDsMissing",
                      "the API server does not serve " + missing + "; apply the CRDs first");
  }
  if (!outdated.empty()) {
    return make_error(Code::kConflict, "CRDsOutdated",
                      "the API server has other versions of " + outdated +
                          " than this operator was built for; apply its CRDs first");
  }
  return ok_status();
}

Status run_operator(const OperatorOptions& options) {
  block_signals();
  TRY(make_dirs(options.state, 0700));
  TRY_ASSIGN(const kube::ClientConfig config, kube::load_config({options.kubeconfig, {}, {}}));
  TRY_ASSIGN(auto client, kube::KubeClient::connect(config));
  TRY(wait_for_crds(*client));
  TRY_ASSIGN(const artifacts::KeySet keys, artifacts::load_or_init_keys(options.keys));
  TRY_ASSIGN(const auto runs, RunStore::open(options.run_store.empty() ? options.state / "runs.db"
                                                                       : options.run_store));
  const auto registry_http = make_curl_client({});

  kube::ManagerOptions manager_options;
  manager_options.election.enabled = options.leader_election;
  manager_options.election.ns = options.election_namespace;
  manager_options.election.identity = identity();
  const auto manager = kube::Manager::create(std::move(client), manager_options);
  kube::KubeClient& api = manager->client();
  const RegistryAccess registry{registry_http.get(), options.settings.registry_url, {}};

  FleetOptions fleet_options;
  fleet_options.registry = registry;
  fleet_options.client = &api;
  fleet_options.keys = &keys;
  fleet_options.fleet_epoch = [m = manager.get()] {
    return m->leader() ? std::max<std::int64_t>(m->fleet_epoch(), 1) : std::int64_t{0};
  };
  fleet_options.cache = options.state / "bundles";
  fleet_options.agents = options.agents;
  TRY(make_dirs(fleet_options.cache, 0700));
  const auto fleet = FleetService::create(std::move(fleet_options));

  // The API first: its URL is part of what stages are told.
  Authenticator auth(api, system_clock());
  RestApi rest;
  rest.observed = [m = manager.get()] { return m->ready() ? m->observed() : nullptr; };
  rest.runs = runs.get();
  rest.auth = &auth;
  rest.devices = fleet.get();
  rest.why = [](const crds::Device& device, const kube::Observed& world) {
    return controllers::explain_device(device, world, system_clock().now());
  };
  Json ports = Json::object();
  std::unique_ptr<HttpServer> api_server;
  if (options.roles.contains("api")) {
    HttpServerOptions server;
    server.address = options.api.host;
    server.port = options.api.port;
    server.threads = kApiThreads;
    server.max_body = kApiMaxBody;
    TRY_ASSIGN(api_server, start_cpprest_server(server, make_rest_handler(rest)));
    ports["api"] = "http://" + options.api.host + ":" + std::to_string(api_server->port());
  }
  HttpServerOptions server;
  server.address = options.metrics.host;
  server.port = options.metrics.port;
  TRY_ASSIGN(const auto metrics_server, start_beast_server(server, metrics_handler(*manager)));
  ports["metrics"] =
      "http://" + options.metrics.host + ":" + std::to_string(metrics_server->port());

  if (options.roles.contains("controllers")) add_controllers(*manager, options.settings);
  manager->add_executor(make_registry_executor(registry, runs.get()));
  manager->add_executor(make_runs_executor(api));
  if (options.roles.contains("signer"))
    manager->add_executor(make_signer_executor(registry, keys, api));
  if (options.roles.contains("fleet")) manager->add_executor(fleet->executor());
  const auto follower = LogFollower::start(
      api, [m = manager.get()] { return m->ready() ? m->observed() : nullptr; }, *runs);

  TRY(write_all(1, dump_json(ports) + "\n"));
  log_info("Operator started", {{"api", get_string(ports, "api")},
                                {"metrics", get_string(ports, "metrics")},
                                {"server", config.server},
                                {"registry", options.settings.registry_url}});
  Status ended = ok_status();
  {
    SignalWait signals([m = manager.get()] { m->stop(); });
    ended = manager->run();
  }
  if (api_server) api_server->stop();
  metrics_server->stop();
  return ended;
}

}  // namespace tango::op

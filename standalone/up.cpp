#include "standalone/up.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include <iostream>
#include <thread>

#include "crds/crds.h"
#include "lib/artifacts/keys.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/base/yaml.h"
#include "standalone/api_server.h"
#include "standalone/controllers.h"
#include "standalone/manifests.h"
#include "standalone/pki.h"
#include "standalone/pod_runner.h"
#include "standalone/supervisor.h"

namespace tango::standalone {
namespace {

constexpr auto kRegistryStart = std::chrono::seconds(10);
constexpr int kApiThreads = 4;
constexpr const char* kManager = "tango-up";

fs::path beside_executable(const fs::path& program) {
  if (program.is_absolute()) return program;
  std::error_code ec;
  fs::path self = fs::read_symlink("/proc/self/exe", ec);
  return self.parent_path() / program;
}

Result<Fd> take_lock(const StateLayout& state) {
  Fd fd(::open(state.lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_error(errno, "cannot open " + state.lock().string());
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return make_error(Code::kExists, "StateLocked",
                      "another `tangoctl up` uses " + state.root.string() +
                          "; stop it, or choose another --state folder");
  }
  return fd;
}

sockaddr_in loopback(const std::string& address, std::uint16_t port) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &a.sin_addr);
  return a;
}

// `preferred` when nobody listens there, else any free port.
std::uint16_t free_port(const std::string& address, std::uint16_t preferred) {
  for (std::uint16_t candidate : {preferred, std::uint16_t{0}}) {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in a = loopback(address, candidate);
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) continue;
    socklen_t n = sizeof a;
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&a), &n);
    return ntohs(a.sin_port);
  }
  return 0;
}

bool answers(const std::string& address, std::uint16_t port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in a = loopback(address, port);
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) == 0;
}

// Ports of the last start, so that kubeconfig and registry references stay valid.
struct Ports {
  std::uint16_t api = 0, registry = 0, rest = 0;
  static Ports load(const fs::path& file) {
    auto text = read_file(file, 4096);
    Json j = text.ok() ? Json::parse(*text, nullptr, false) : Json();
    auto port = [&](const char* key) { return static_cast<std::uint16_t>(get_int(j, key)); };
    return {port("api"), port("registry"), port("rest")};
  }
  Status save(const fs::path& file) const {
    return write_file_atomic(
        file, dump_json({{"api", api}, {"registry", registry}, {"rest", rest}}), 0600);
  }
};

Status apply_once(ApiServer& server) {
  // Parsing and applying the definitions costs tens of milliseconds; unchanged ones are skipped.
  std::string hash =
      sha256(std::string(crds::manifests(crds::Flavour::kPlain)) + std::string(crds::profiles()))
          .hex();
  if (server.store().meta("manifests") == hash) return ok_status();
  TRY(apply_manifests(server.operations(), crds::manifests(crds::Flavour::kPlain), kManager));
  TRY(apply_manifests(server.operations(), crds::profiles(), kManager));
  return server.store().set_meta("manifests", hash);
}

Status start_registry(Supervisor& supervisor, const UpOptions& o, const StateLayout& state,
                      std::uint16_t port) {
  TRY(make_dirs(state.registry() / "data", 0700));
  Json config = {{"version", "0.1"},
                 {"log", {{"level", "warn"}}},
                 {"storage",
                  {{"filesystem", {{"rootdirectory", (state.registry() / "data").string()}}},
                   {"delete", {{"enabled", true}}}}},
                 {"http",
                  {{"addr", o.address + ":" + std::to_string(port)},
                   {"secret", random_uuid(system_random())}}}};
  fs::path file = state.registry() / "config.yml";
  TRY(write_file_atomic(file, to_yaml(config), 0600));
  ChildSpec spec;
  spec.name = "registry";
  spec.argv = {o.registry_program, "serve", file.string()};
  spec.log = state.logs() / "registry.log";
  spec.stop_grace = o.stop_grace;
  return supervisor.start(std::move(spec)).ok()
             ? ok_status()
             : Status(make_error(
                   Code::kNotFound, "StartFailed",
                   "cannot start " + o.registry_program + "; install the package docker-registry"));
}

fs::path options_program(const UpOptions& o) {
  return o.operator_program.empty() ? fs::path("tango-operator") : o.operator_program;
}

Status start_operator(Supervisor& supervisor, const UpOptions& o, const StateLayout& state,
                      const Ports& ports) {
  ChildSpec spec;
  spec.name = "operator";
  spec.argv = {
      beside_executable(options_program(o)).string(), "--kubeconfig", state.kubeconfig().string(),
      "--registry", "http://" + o.address + ":" + std::to_string(ports.registry), "--keys",
      state.keys().string(), "--state", (state.root / "operator").string(), "--run-store",
      state.runs_db().string(), "--api-listen", o.address + ":" + std::to_string(ports.rest),
      // Pods run on this machine, so its folders are theirs already.
      "--allow-host-path",
      // The lock on the state folder makes it the only one; after a kill nobody waits for a lease.
      "--no-leader-election"};
  spec.argv.insert(spec.argv.end(), o.operator_args.begin(), o.operator_args.end());
  spec.log = state.logs() / "operator.log";
  spec.stop_grace = o.stop_grace;
  if (::access(spec.argv[0].c_str(), X_OK) != 0) {
    return make_error(Code::kNotFound, "StartFailed",
                      "the operator program " + spec.argv[0] + " does not exist or cannot be run");
  }
  return supervisor.start(std::move(spec));
}

}  // namespace

Status run_up(const UpOptions& options) {
  const auto begun = std::chrono::steady_clock::now();
  StateLayout state{fs::absolute(options.state)};
  TRY(make_dirs(state.root, 0700));
  for (const fs::path& dir :
       {state.logs(), state.pods(), state.registry(), state.root / "operator"})
    TRY(make_dirs(dir, 0700));
  TRY_ASSIGN(Fd lock, take_lock(state));

  // Before any thread exists, so that all of them inherit it: signals are taken in one place.
  sigset_t signals, before;
  sigemptyset(&signals);
  for (int s : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, s);
  pthread_sigmask(SIG_BLOCK, &signals, &before);
  ::signal(SIGPIPE, SIG_IGN);

  Supervisor supervisor(state.root / "run");
  TRY(supervisor.end_stale_children());
  Ports ports = Ports::load(state.root / "ports.json");
  ports.registry = options.registry_port != 0 ? options.registry_port
                                              : free_port(options.address, ports.registry);
  ports.rest = options.rest_port != 0 ? options.rest_port : free_port(options.address, ports.rest);
  if (options.with_registry) TRY(start_registry(supervisor, options, state, ports.registry));

  TRY_ASSIGN(Pki pki, load_or_make_pki(state.pki(), options.address));
  ApiServerOptions api;
  api.database = state.api_db();
  api.token_key = pki.token_key;
  api.admission = tango_admission();
  TRY_ASSIGN(auto server, ApiServer::open(std::move(api)));
  TRY(server->bootstrap());
  TRY(apply_once(*server));
  if (auto keys = artifacts::load_or_init_keys(state.keys()); !keys.ok())
    return std::move(keys).error();

  HttpServerOptions http;
  http.address = options.address;
  http.threads = kApiThreads;
  http.cert_pem = pki.server.cert_pem;
  http.key_pem = pki.server.key_pem;
  http.client_ca_pem = pki.ca_pem;
  http.port = options.api_port != 0 ? options.api_port : ports.api;
  auto handler = [&server](const HttpRequest& request) { return server->handle(request); };
  auto listening = start_beast_server(http, handler);
  if (!listening.ok() && options.api_port == 0 && http.port != 0) {
    http.port = 0;  // the old port is taken by somebody else
    listening = start_beast_server(http, handler);
  }
  if (!listening.ok()) return std::move(listening).error();
  ports.api = (*listening)->port();
  TRY(ports.save(state.root / "ports.json"));

  const std::string url = "https://" + options.address + ":" + std::to_string(ports.api);
  const std::string rest = "http://" + options.address + ":" + std::to_string(ports.rest);
  const std::string registry = "http://" + options.address + ":" + std::to_string(ports.registry);
  TRY(write_file_atomic(state.kubeconfig(), make_kubeconfig(url, pki.ca_pem, pki.admin), 0600));
  auto token = read_file(state.admin_token(), 16 * 1024);
  if (!token.ok()) TRY(write_file_atomic(state.admin_token(), server->admin_token(), 0600));
  TRY(write_file_atomic(state.operator_json(),
                        dump_json({{"api", rest},
                                   {"tokenFile", state.admin_token().string()},
                                   {"kubernetes", url},
                                   {"registry", registry}},
                                  2) +
                            "\n",
                        0600));

  Controllers controllers(server->operations());
  TRY(controllers.start());
  PodRunnerOptions runner_options;
  runner_options.dir = state.pods();
  runner_options.shim = beside_executable("tango-shim");
  runner_options.images = options.images.empty()
                              ? std::vector<BuiltInImage>{{"tango.local/trainer", "tango-trainer"},
                                                          {"tango.local/builder", "tango-builder"}}
                              : options.images;
  for (BuiltInImage& image : runner_options.images)
    image.program = beside_executable(image.program);
  PodRunner runner(server->operations(), std::move(runner_options));
  server->set_log_finder(runner.log_finder());
  TRY(runner.start());
  if (options.with_registry) {
    auto until = std::chrono::steady_clock::now() + kRegistryStart;
    while (!answers(options.address, ports.registry)) {
      if (std::chrono::steady_clock::now() > until) {
        return make_error(
            Code::kTimeout, "StartFailed",
            "the registry does not answer; see " + (state.logs() / "registry.log").string());
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  server->set_ready(true);
  if (options.with_operator) TRY(start_operator(supervisor, options, state, ports));

  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  std::cout << dump_json({{"ready", true},
                          {"kubeconfig", state.kubeconfig().string()},
                          {"api", url},
                          {"registry", options.with_registry ? Json(registry) : Json()},
                          {"rest", options.with_operator ? Json(rest) : Json()},
                          {"seconds", seconds}})
            << std::endl;

  int signal_number = 0;
  while (sigwait(&signals, &signal_number) != 0 || signal_number == SIGHUP) {
  }
  log_info("Stopping", {{"signal", signal_number}});
  server->set_ready(false);
  supervisor.stop();
  if (options.stop_pods) runner.stop_pods(options.stop_grace);
  runner.stop();
  controllers.stop();
  server->stop();
  (*listening)->stop();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return ok_status();
}

}  // namespace tango::standalone

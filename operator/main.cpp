// tango-operator: controllers, fleet transport, signer and management API in one process.
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "lib/base/log.h"
#include "operator/wiring.h"

namespace {

using namespace tango;

constexpr const char* kUsage = R"(Usage: tango-operator [options]

  --kubeconfig FILE          API server and credentials (default: $KUBECONFIG, in-cluster, ~/.kube/config)
  --roles LIST               of controllers,fleet,signer,api (default: all)
  --registry URL             OCI registry, as pods and this program reach it (required)
  --repository-root NAME     first part of all repository names (default: tango)
  --keys DIR                 signing keys and root.json; made when the folder is empty (required)
  --state DIR                run store and bundle cache (required)
  --run-store FILE           the run store alone (default: <state>/runs.db)
  --api-listen HOST:PORT     management API (default: 127.0.0.1:0)
  --metrics-listen HOST:PORT /metrics, /healthz, /readyz (default: 127.0.0.1:0)
  --trainer-image IMAGE      image of training stages (default: tango.local/trainer:dev)
  --builder-image IMAGE      image of build stages (default: tango.local/builder:dev)
  --agent-dir DIR            tango-agent and tango-gate for devices (default: beside this program)
  --allow-host-path          Datasets may name a folder of the node
  --allow-service-account N  a podTemplate may name this service account (repeatable)
  --no-leader-election       this is the only replica
  --election-namespace NS    where the Lease is (default: tango-system)
  --log-format text|json     (default: text)
  --verbose                  log debug messages
  --help                     show this text
)";

std::set<std::string> split_list(const std::string& text) {
  std::set<std::string> out;
  std::size_t start = 0;
  while (start <= text.size()) {
    const auto end = std::min(text.find(',', start), text.size());
    if (end > start) out.insert(text.substr(start, end - start));
    start = end + 1;
  }
  return out;
}

Error usage(std::string message) {
  return make_error(Code::kInvalid, "InvalidArgument", std::move(message));
}

Status parse(const std::vector<std::string>& args, op::OperatorOptions& o, LogLevel& level,
             LogFormat& format) {
  const std::map<std::string, std::function<Status(const std::string&)>> valued{
      {"--kubeconfig",
       [&](const std::string& v) {
         o.kubeconfig = v;
         return ok_status();
       }},
      {"--roles",
       [&](const std::string& v) -> Status {
         o.roles = split_list(v);
         for (const auto& r : o.roles) {
           if (r != "controllers" && r != "fleet" && r != "signer" && r != "api")
             return usage("--roles: there is no role " + r);
         }
         return ok_status();
       }},
      {"--registry",
       [&](const std::string& v) {
         o.settings.registry_url = v;
         return ok_status();
       }},
      {"--repository-root",
       [&](const std::string& v) {
         o.settings.repository_root = v;
         return ok_status();
       }},
      {"--keys",
       [&](const std::string& v) {
         o.keys = v;
         return ok_status();
       }},
      {"--state",
       [&](const std::string& v) {
         o.state = v;
         return ok_status();
       }},
      {"--run-store",
       [&](const std::string& v) {
         o.run_store = v;
         return ok_status();
       }},
      {"--api-listen",
       [&](const std::string& v) -> Status {
         TRY_ASSIGN(o.api, op::parse_listen(v));
         return ok_status();
       }},
      {"--metrics-listen",
       [&](const std::string& v) -> Status {
         TRY_ASSIGN(o.metrics, op::parse_listen(v));
         return ok_status();
       }},
      {"--trainer-image",
       [&](const std::string& v) {
         o.settings.trainer_image = v;
         return ok_status();
       }},
      {"--builder-image",
       [&](const std::string& v) {
         o.settings.builder_image = v;
         return ok_status();
       }},
      {"--agent-dir",
       [&](const std::string& v) {
         o.agents = v;
         return ok_status();
       }},
      {"--allow-service-account",
       [&](const std::string& v) {
         o.settings.service_accounts.insert(v);
         return ok_status();
       }},
      {"--election-namespace",
       [&](const std::string& v) {
         o.election_namespace = v;
         return ok_status();
       }},
      {"--log-format",
       [&](const std::string& v) -> Status {
         if (v != "text" && v != "json") return usage("--log-format is text or json, not " + v);
         format = v == "json" ? LogFormat::kJson : LogFormat::kText;
         return ok_status();
       }},
  };
  for (std::size_t i = 0; i < args.size(); ++i) {
    std::string name = args[i], value;
    const auto equal = name.find('=');
    const bool joined = equal != std::string::npos && name.starts_with("--");
    if (joined) {
      value = name.substr(equal + 1);
      name.resize(equal);
    }
    if (name == "--allow-host-path") {
      o.settings.allow_host_path = true;
    } else if (name == "--no-leader-election") {
      o.leader_election = false;
    } else if (name == "--verbose") {
      level = LogLevel::kDebug;
    } else if (auto it = valued.find(name); it != valued.end()) {
      if (!joined) {
        if (i + 1 >= args.size()) return usage(name + " needs a value");
        value = args[++i];
      }
      TRY(it->second(value));
    } else {
      return usage("there is no option " + name + "; see --help");
    }
  }
  if (o.settings.registry_url.empty()) return usage("--registry is required");
  if (o.keys.empty()) return usage("--keys is required");
  if (o.state.empty()) return usage("--state is required");
  return ok_status();
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  for (const auto& a : args) {
    if (a == "--help" || a == "-h") {
      std::fputs(kUsage, stdout);
      return 0;
    }
  }
  op::OperatorOptions options;
  std::error_code ignored;
  options.agents = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
  if (auto parsed = parse(args, options, level, format); !parsed.ok()) {
    std::fprintf(stderr, "tango-operator: %s\n", parsed.error().to_string().c_str());
    return 2;
  }
  configure_logging(level, format);
  if (auto ended = op::run_operator(options); !ended.ok()) {
    log_error("The operator ended", {ended.error()});
    return 1;
  }
  return 0;
}

#include <CLI/CLI.hpp>
#include <memory>

#include "tangoctl/cli.h"
#ifdef TANGO_WITH_UP
#include "standalone/up.h"
#endif

namespace tango::ctl {
namespace {

#ifdef TANGO_WITH_UP
void add_up(CLI::App& app, Action& action) {
  struct Up {
    standalone::UpOptions options;
    std::string stop_grace = "10s";
    bool no_operator = false, no_registry = false;
  };
  auto o = std::make_shared<Up>();
  auto* c = app.add_subcommand(
      "up", "Start the whole system on this machine and run until it is stopped");
  c->add_option("--address", o->options.address, "Address of the API server and the registry");
  c->add_option("--api-port", o->options.api_port, "Port of the API server; 0: any free");
  c->add_option("--registry-port", o->options.registry_port, "Port of the registry; 0: any free");
  c->add_option("--rest-port", o->options.rest_port, "Port of the management API; 0: any free");
  c->add_flag("--no-operator", o->no_operator, "Without the operator");
  c->add_flag("--no-registry", o->no_registry, "Without the registry");
  c->add_option("--operator-arg", o->options.operator_args,
                "Further argument of the operator; may be repeated");
  c->add_option("--stop-grace", o->stop_grace, "How long a stop may take");
  c->add_flag("--stop-pods", o->options.stop_pods, "Stop running workloads, too");
  c->callback([o, &action] {
    action.run = [o](Session& s) {
      auto grace = parse_duration(o->stop_grace);
      if (!grace.ok()) return s.usage(grace.error().message);
      const char* env = std::getenv("TANGO_STATE");
      o->options.state = !s.globals().state.empty() ? s.globals().state : env != nullptr ? env : "";
      if (o->options.state.empty()) return s.usage("up needs --state DIR (or TANGO_STATE)");
      o->options.stop_grace = *grace;
      o->options.with_operator = !o->no_operator;
      o->options.with_registry = !o->no_registry;
      auto status = standalone::run_up(o->options);
      return status.ok() ? static_cast<int>(kOk) : s.fail(status.error());
    };
  });
}
#endif

}  // namespace

void add_local_verbs(CLI::App& app, Action& action) {
#ifdef TANGO_WITH_UP
  add_up(app, action);
#endif
  auto* dataset = app.add_subcommand("dataset", "Labelled images");
  dataset->require_subcommand(1);
  {
    auto o = std::make_shared<DatasetOptions>();
    auto* c =
        dataset->add_subcommand("import", "Check a folder and make a Dataset of it (hostPath)");
    c->add_option("name", o->name, "Name of the Dataset")->required();
    c->add_option("path", o->path, "Folder")->required();
    c->add_option("--format", o->format, "Auto, ImageFolder or Idx");
    c->add_flag("--dry-run", o->dry_run, "Print the manifest only");
    c->callback([o, &action] { action.run = [o](Session& s) { return dataset_import(s, *o); }; });
  }
  {
    auto o = std::make_shared<DatasetOptions>();
    auto* c = dataset->add_subcommand("stats", "Statistics of a folder, or of a Dataset");
    c->add_option("path", o->path, "Folder, or name of a Dataset")->required();
    c->add_option("--format", o->format, "Auto, ImageFolder or Idx");
    c->add_option("-o,--output", o->output, "json or yaml");
    c->callback([o, &action] { action.run = [o](Session& s) { return dataset_stats(s, *o); }; });
  }
  auto* keys = app.add_subcommand("keys", "Signing keys of an installation, offline");
  keys->require_subcommand(1);
  {
    auto dir = std::make_shared<std::string>("keys");
    auto* c = keys->add_subcommand("init", "Make one key per role; nothing is ever overwritten");
    c->add_option("--dir", *dir, "Folder");
    c->callback([=, &action] { action.run = [=](Session& s) { return keys_init(s, *dir); }; });
  }
  {
    auto dir = std::make_shared<std::string>("keys");
    auto output = std::make_shared<std::string>();
    auto* c = keys->add_subcommand("show", "Roles, thresholds and key ids");
    c->add_option("--dir", *dir, "Folder");
    c->add_option("-o,--output", *output, "json");
    c->callback(
        [=, &action] { action.run = [=](Session& s) { return keys_show(s, *dir, *output); }; });
  }
  {
    auto client_only = std::make_shared<bool>(false);
    auto output = std::make_shared<std::string>();
    auto* c = app.add_subcommand("version", "Version of tangoctl and of the server");
    c->add_flag("--client", *client_only, "Do not ask the server");
    c->add_option("-o,--output", *output, "json");
    c->callback([=, &action] {
      action.run = [=](Session& s) { return show_version(s, *client_only, *output); };
    });
  }
  app.add_subcommand("api-resources", "The kinds of ml-tango.io")->callback([&action] {
    action.run = [](Session& s) { return api_resources(s); };
  });
  {
    auto shell = std::make_shared<std::string>();
    auto* c =
        app.add_subcommand("completion", "Shell completion: source <(tangoctl completion bash)");
    c->add_option("shell", *shell, "bash")->required();
    c->callback([=, &action] { action.run = [=](Session& s) { return completion(s, *shell); }; });
  }
}

}  // namespace tango::ctl

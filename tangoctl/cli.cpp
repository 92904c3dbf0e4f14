#include "tangoctl/cli.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>

#include "lib/base/file.h"

namespace tango::ctl {
namespace {

void add_globals(CLI::App& app, Globals& g) {
  app.add_option("-n,--namespace", g.ns, "Namespace")->group("Global");
  app.add_option("--kubeconfig", g.kubeconfig, "Path of the kubeconfig file")->group("Global");
  app.add_option("--context", g.context, "Context of the kubeconfig")->group("Global");
  app.add_option("--color", g.color, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->group("Global");
  app.add_option("--state", g.state, "State folder of `tangoctl up` (TANGO_STATE)")
      ->group("Global");
  app.fallthrough();  // global flags are welcome after the verb, as kubectl plugins need
}

// kubectl plugins are called as kubectl-tango or kubectl_tango.
bool is_plugin(const std::string& program) {
  std::string name = fs::path(program).filename();
  return name.rfind("kubectl-", 0) == 0 || name.rfind("kubectl_", 0) == 0;
}

// A first word that is no verb, with the verb that begins alike.
std::string unknown_verb(CLI::App& app, const std::vector<std::string>& argv) {
  if (argv.size() < 2 || argv[1].empty() || argv[1][0] == '-') return {};
  std::string near;
  for (const auto* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (sub->get_name() == argv[1]) return {};
    if (sub->get_name().substr(0, 2) == argv[1].substr(0, 2)) near = sub->get_name();
  }
  return "unknown command \"" + argv[1] + "\"" +
         (near.empty() ? "" : "; did you mean " + near + "?");
}

}  // namespace

int run(const std::vector<std::string>& argv, Io io) {
  std::string program = !argv.empty() && is_plugin(argv[0]) ? "kubectl tango" : "tangoctl";
  CLI::App app("TANGO: from labelled images to measured, running networks on devices.", program);
  app.require_subcommand(1);
  app.set_help_flag("-h,--help", "Help of this command");
  Globals globals;
  add_globals(app, globals);
  Action action;
  add_resource_verbs(app, action);
  add_fleet_verbs(app, action);
  add_local_verbs(app, action);
  app.add_flag("-A,--all-namespaces", globals.all_namespaces, "All namespaces")->group("Global");
  std::vector<std::string> args(argv.size() > 1 ? argv.begin() + 1 : argv.end(), argv.end());
  std::reverse(args.begin(), args.end());  // CLI11 takes them from the back
  if (std::string hint = unknown_verb(app, argv); !hint.empty()) {
    io.err << "error: " << hint << "\nSee '" << program << " --help'.\n";
    return kUsage;
  }
  try {
    app.parse(args);
  } catch (const CLI::Success& help) {
    app.exit(help, io.out, io.err);
    return kOk;
  } catch (const CLI::ParseError& error) {
    io.err << "error: " << error.what() << "\nSee '" << program << " --help'.\n";
    return kUsage;
  }
  Session session(io, globals);
  try {
    return action.run ? action.run(session) : session.usage("name a command; see --help");
  } catch (const std::exception& error) {  // a library's; nothing of ours throws
    io.err << "error: " << error.what() << "\n";
    return kError;
  }
}

}  // namespace tango::ctl

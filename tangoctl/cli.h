// The command line: verbs, flags and help, on CLI11 (which stays inside cli*.cpp). Each add_*
// function declares verbs and stores what to run in `action`.
#pragma once

#include <functional>
#include <string>

#include "tangoctl/verbs.h"

namespace CLI {
class App;
}

namespace tango::ctl {

// Set by the callback of the verb that was given.
struct Action {
  std::function<int(Session&)> run;
};

void add_resource_verbs(CLI::App& app,
                        Action& action);              // apply get describe delete wait logs status
void add_fleet_verbs(CLI::App& app, Action& action);  // fleet device predict
void add_local_verbs(CLI::App& app,
                     Action& action);  // dataset keys version api-resources completion up

}  // namespace tango::ctl

// Command line of tango-infer: serve, predict, selftest, bench, eval. main() only calls run_cli, so
// tests can drive the verbs in-process.
#pragma once

#include <string>
#include <vector>

namespace tango::inference {

// Exit code: 0 done (or passed), 1 failed, 2 the command line is wrong.
int run_cli(const std::vector<std::string>& args);

}  // namespace tango::inference

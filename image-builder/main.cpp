// tango-builder: runs one Build stage. `--runtime PATH` names tango-infer; by default it lies
// beside.
#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <string_view>

#include "image-builder/stage.h"

namespace {

// Nothing is worth saving: a build starts anew and finds finished blobs in the registry.
void on_terminate(int) { _exit(tango::run::kInterrupted); }

}  // namespace

int main(int argc, char** argv) {
  signal(SIGTERM, on_terminate);
  tango::builder::StageOptions options;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--runtime" && i + 1 < argc) {
      options.runtime = argv[++i];
    } else {
      std::cerr << "usage: tango-builder [--runtime PATH]\n"
                   "Runs the Build stage described by $TANGO_RUN_DIR/stage.json.\n";
      return tango::run::kBadInput;
    }
  }
  if (options.runtime.empty()) {
    std::error_code ec;
    options.runtime = tango::fs::read_symlink("/proc/self/exe", ec).parent_path() / "tango-infer";
  }
  return tango::builder::run_builder(options);
}

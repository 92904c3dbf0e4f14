// Runs `up` for the tests: standalone_up_host STATE [--registry] [--operator=PROGRAM]
// [--image=PREFIX=PROGRAM]
// [--stop-pods]. Images tango.local/test stand for /bin/sh, so that a pod can be anything.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "standalone/up.h"

int main(int argc, char** argv) {
  using namespace tango;
  standalone::UpOptions options;
  if (argc < 2) return 64;
  std::vector<standalone::BuiltInImage> images = {{"tango.local/test", "/bin/sh"}};
  options.state = argv[1];
  options.with_operator = false;
  options.with_registry = false;
  for (int i = 2; i < argc; ++i) {
    if (std::strcmp(argv[i], "--registry") == 0) options.with_registry = true;
    if (std::strncmp(argv[i], "--operator=", 11) == 0) {
      options.with_operator = true;
      options.operator_program = argv[i] + 11;
    }
    if (std::strncmp(argv[i], "--image=", 8) == 0) {
      std::string image = argv[i] + 8;
      auto equal = image.find('=');
      if (equal == std::string::npos) return 64;
      images.push_back({image.substr(0, equal), image.substr(equal + 1)});
    }
    if (std::strcmp(argv[i], "--stop-pods") == 0) options.stop_pods = true;
  }
  options.images = images;
  options.stop_grace = Seconds{2};
  if (auto s = standalone::run_up(options); !s.ok()) {
    std::fprintf(stderr, "%s: %s\n", s.error().reason.c_str(), s.error().to_string().c_str());
    return 1;
  }
  return 0;
}

// tango-agent with a crash hook: dies at the point that TANGO_CRASH_AT names ("*": at the first
// one reached), and leaves a byte in the file TANGO_CRASH_LOG when it does. TANGO_CRASH_TRACE names
// a file that gets every point passed.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "device-agent/agent_main.h"
#include "device-agent/crash_point.h"

namespace {

void append(const char* variable, std::string_view text) {
  const char* path = std::getenv(variable);
  if (path == nullptr) return;
  const int fd = ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  [[maybe_unused]] const ssize_t n = ::write(fd, text.data(), text.size());
  ::close(fd);
}

void die_here(std::string_view point) {
  append("TANGO_CRASH_TRACE", std::string(point) + "\n");
  const char* at = std::getenv("TANGO_CRASH_AT");
  if (at == nullptr || (std::string_view(at) != "*" && point != at)) return;
  append("TANGO_CRASH_LOG", "x");
  ::kill(::getpid(), SIGKILL);
}

}  // namespace

int main(int argc, char** argv) {
  tango::agent::install_crash_hook(die_here);
  return tango::agent::agent_main(argc, argv);
}

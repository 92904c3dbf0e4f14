// tango-agent with a crash hook: dies at the point that TANGO_CRASH_AT names, and says so first by
// appending the point to the file TANGO_CRASH_LOG.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string_view>

#include "device-agent/agent_main.h"
#include "device-agent/crash_point.h"

namespace {

void die_here(std::string_view point) {
  const char* at = std::getenv("TANGO_CRASH_AT");
  if (at == nullptr || point != at) return;
  if (const char* log = std::getenv("TANGO_CRASH_LOG")) {
    const int fd = ::open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    [[maybe_unused]] const ssize_t n = ::write(fd, "x", 1);
    ::close(fd);
  }
  ::kill(::getpid(), SIGKILL);
}

}  // namespace

int main(int argc, char** argv) {
  tango::agent::install_crash_hook(die_here);
  return tango::agent::agent_main(argc, argv);
}

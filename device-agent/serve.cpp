#include "device-agent/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "device-agent/daemon.h"
#include "lib/base/subprocess.h"

namespace tango::agent {
namespace {

constexpr std::size_t kBuffer = 1u << 20;
constexpr off_t kMaxDaemonLog = 1 << 20;

Status start_daemon(const fs::path& root, const fs::path& agent) {
  TRY(make_dirs(root / "run", 0700));
  const fs::path log = root / "run" / "daemon.log";
  Fd out(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
  if (!out.valid()) return errno_error(errno, "opening " + log.string());
  if (::lseek(out.get(), 0, SEEK_END) > kMaxDaemonLog) {
    ::rename(log.c_str(), (log.string() + ".1").c_str());
    out = Fd(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
    if (!out.valid()) return errno_error(errno, "opening " + log.string());
  }
  ProcessOptions options;
  options.argv = {agent.string(), "daemon", "--root", root.string()};
  options.env = {{"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"LANG", "C.UTF-8"}};
  // Test programs name their crash point this way; the product never reads it.
  if (const char* point = ::getenv("TANGO_CRASH_AT")) options.env["TANGO_CRASH_AT"] = point;
  options.clear_env = true;
  options.cwd = "/";
  // Not the channel's descriptors: an SSH channel stays open as long as anyone holds them.
  options.stdout_fd = out.get();
  options.stderr_fd = out.get();
  options.new_session = true;
  auto child = spawn(options);
  if (!child.ok()) return std::move(child).error();
  return ok_status();
}

// One direction of the proxy.
struct Pipe {
  std::string buffer;
  bool ended = false;   // nothing more to read
  bool closed = false;  // and everything written
};

}  // namespace

Result<Fd> connect_or_start(const fs::path& root, const fs::path& agent, bool local,
                            Nanos patience) {
  auto peer = connect_daemon(root, local);
  if (peer.ok()) return peer;
  TRY(start_daemon(fs::absolute(root), agent));
  const Nanos end = system_clock().monotonic() + patience;
  while (system_clock().monotonic() < end) {
    peer = connect_daemon(root, local);
    if (peer.ok()) return peer;
    system_clock().sleep_for(Millis{20});
  }
  return std::move(peer).error().with_context("after starting it; see " +
                                              (root / "run" / "daemon.log").string());
}

Status proxy(int in, int out, int peer) {
  ::signal(SIGPIPE, SIG_IGN);
  for (const int fd : {in, out, peer}) ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  Pipe up, down;
  const auto pull = [](Pipe& pipe, int fd) {
    const std::size_t before = pipe.buffer.size();
    pipe.buffer.resize(before + 65536);
    const ssize_t n = ::read(fd, pipe.buffer.data() + before, 65536);
    pipe.buffer.resize(before + (n > 0 ? static_cast<std::size_t>(n) : 0));
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) pipe.ended = true;
  };
  const auto push = [](Pipe& pipe, int fd) {
    const ssize_t n = ::write(fd, pipe.buffer.data(), pipe.buffer.size());
    if (n > 0) {
      pipe.buffer.erase(0, static_cast<std::size_t>(n));
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
      pipe.ended = true;
      pipe.buffer.clear();
    }
  };
  // The daemon ending its side ends the channel; the channel ending its side lets answers out
  // first.
  while (!(down.ended && down.buffer.empty())) {
    if (up.ended && up.buffer.empty() && !up.closed) {
      up.closed = true;
      ::shutdown(peer, SHUT_WR);
    }
    pollfd fds[4] = {
        {!up.ended && up.buffer.size() < kBuffer ? in : -1, POLLIN, 0},
        {!up.buffer.empty() ? peer : -1, POLLOUT, 0},
        {!down.ended && down.buffer.size() < kBuffer ? peer : -1, POLLIN, 0},
        {!down.buffer.empty() ? out : -1, POLLOUT, 0},
    };
    if (::poll(fds, 4, -1) < 0 && errno != EINTR)
      return errno_error(errno, "waiting for the channel");
    if (fds[0].revents != 0) pull(up, in);
    if (fds[1].revents != 0) push(up, peer);
    if (fds[2].revents != 0) pull(down, peer);
    if (fds[3].revents != 0) push(down, out);
  }
  return ok_status();
}

}  // namespace tango::agent

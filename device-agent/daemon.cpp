#include "device-agent/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <list>
#include <thread>

#include "lib/base/log.h"

namespace tango::agent {
namespace {

constexpr Nanos kStopWithin = Seconds{8};

// A socket's path may be at most 107 bytes; through a descriptor of its folder any root works.
struct SocketAddress {
  Fd dir;
  sockaddr_un address{};
};
Result<SocketAddress> address_of(const fs::path& root, const char* name) {
  SocketAddress out;
  const fs::path dir = root / "run";
  out.dir = Fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!out.dir.valid()) return errno_error(errno, "opening " + dir.string());
  out.address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(out.dir.get()) + "/" + name;
  std::memcpy(out.address.sun_path, path.c_str(), path.size() + 1);
  return out;
}

Result<Fd> listen_on(const fs::path& root, const char* name) {
  TRY_ASSIGN(const SocketAddress at, address_of(root, name));
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return errno_error(errno, "opening a socket");
  ::unlinkat(at.dir.get(), name, 0);
  const mode_t before = ::umask(0177);
  const int bound =
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at.address), sizeof at.address);
  const int err = errno;
  ::umask(before);
  if (bound != 0) return errno_error(err, "binding " + (root / "run" / name).string());
  if (::listen(fd.get(), 16) != 0) return errno_error(errno, "listening");
  return fd;
}

bool peer_allowed(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

struct Running {
  std::unique_ptr<Session> session;
  std::thread thread;
  std::shared_ptr<std::atomic<bool>> done;
};

}  // namespace

Result<Fd> connect_daemon(const fs::path& root, bool local) {
  const auto unreachable = [&] {
    return make_error(Code::kUnavailable, "Unreachable",
                      "the agent's daemon of " + root.string() + " does not answer");
  };
  auto at = address_of(root, local ? "local.sock" : "agent.sock");
  if (!at.ok()) return unreachable();
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno_error(errno, "opening a socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&at->address), sizeof at->address) !=
      0) {
    return unreachable();
  }
  return fd;
}

Status run_daemon(DaemonOptions options) {
  const fs::path root = options.device.root;
  TRY(make_dirs(root / "run", 0700));
  const fs::path lock_path = root / "run" / "daemon.lock";
  const Fd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) return errno_error(errno, "opening " + lock_path.string());
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return make_error(Code::kExists, "AlreadyRunning", "another daemon serves " + root.string());
  }
  // Blocked before any thread starts, so that all of them inherit it.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  const Fd stop_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));

  TRY_ASSIGN(auto device, Device::open(options.device));
  TRY_ASSIGN(const Fd remote, listen_on(root, "agent.sock"));
  TRY_ASSIGN(const Fd local, listen_on(root, "local.sock"));
  log_info("Served the device", {{"id", device->id().substr(0, 12)}, {"root", root.string()}});

  std::list<Running> sessions;
  while (true) {
    pollfd fds[3] = {
        {stop_fd.get(), POLLIN, 0}, {remote.get(), POLLIN, 0}, {local.get(), POLLIN, 0}};
    const int n = ::poll(fds, 3, sessions.empty() ? -1 : 1000);
    if (n < 0 && errno != EINTR) return errno_error(errno, "waiting for connections");
    for (auto it = sessions.begin(); it != sessions.end();) {
      if (!*it->done) {
        ++it;
        continue;
      }
      it->thread.join();
      it = sessions.erase(it);
    }
    if (n <= 0) continue;
    if (fds[0].revents != 0) break;
    for (int i = 1; i < 3; ++i) {
      if (fds[i].revents == 0) continue;
      Fd peer(::accept4(fds[i].fd, nullptr, nullptr, SOCK_CLOEXEC));
      if (!peer.valid() || !peer_allowed(peer.get()) || sessions.size() >= options.max_sessions)
        continue;
      Running running;
      running.done = std::make_shared<std::atomic<bool>>(false);
      running.session =
          std::make_unique<Session>(*device, std::move(peer), i == 2, options.session);
      running.thread = std::thread([session = running.session.get(), done = running.done] {
        session->run();
        *done = true;
      });
      sessions.push_back(std::move(running));
    }
  }
  log_info("Stopped on request");
  // Crash-only: what does not end by itself is ended; the journal holds everything that counts.
  std::thread([] {
    system_clock().sleep_for(kStopWithin);
    ::_exit(0);
  }).detach();
  for (Running& running : sessions) running.session->stop();
  for (Running& running : sessions) running.thread.join();
  device.reset();
  return ok_status();
}

}  // namespace tango::agent

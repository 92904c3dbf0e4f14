#include "lib/fleet/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace tango::fleet {
namespace {

constexpr Nanos kSlice = Millis{100};  // how fast a stop is noticed

// 0 when connected, else errno; ECANCELED when stopped.
int finish_connect(int fd, Nanos until, const std::stop_token& stop) {
  for (;;) {
    if (stop.stop_requested()) return ECANCELED;
    Nanos left = until - system_clock().monotonic();
    if (left <= Nanos::zero()) return ETIMEDOUT;
    pollfd p{fd, POLLOUT, 0};
    int n =
        ::poll(&p, 1, static_cast<int>(std::chrono::ceil<Millis>(std::min(left, kSlice)).count()));
    if (n < 0 && errno != EINTR) return errno;
    if (n <= 0) continue;
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
  }
}

}  // namespace

Result<Fd> connect_tcp(const std::string& address, std::uint16_t port, Nanos timeout,
                       std::stop_token stop) {
  auto unreachable = [&](const std::string& why) {
    return make_error(Code::kUnavailable, "Unreachable",
                      "no connection to " + address + ":" + std::to_string(port) + ": " + why);
  };
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  int rc = ::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (rc != 0) return unreachable(::gai_strerror(rc));
  Nanos until = system_clock().monotonic() + timeout;
  int error = EHOSTUNREACH;
  Fd connected;
  for (addrinfo* a = list; a != nullptr && !connected.valid(); a = a->ai_next) {
    Fd fd(::socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol));
    if (!fd.valid()) continue;
    error = ::connect(fd.get(), a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) error = finish_connect(fd.get(), until, stop);
    if (error == ECANCELED) break;
    if (error == 0) connected = std::move(fd);
  }
  ::freeaddrinfo(list);
  if (error == ECANCELED) {
    return make_error(Code::kCancelled, "Cancelled", "the connection was given up on request");
  }
  if (!connected.valid()) return unreachable(std::strerror(error));
  int one = 1;
  ::setsockopt(connected.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  ::setsockopt(connected.get(), SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  return connected;
}

}  // namespace tango::fleet

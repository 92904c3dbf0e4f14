#include "lib/fleet/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace tango::fleet {
namespace {

Error lost(std::string why) {
  return make_error(Code::kUnavailable, "ConnectionLost", std::move(why));
}

void set_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

}  // namespace

FdChannel::FdChannel(Fd read, Fd write) : read_(std::move(read)), write_(std::move(write)) {
  static const auto ignored = ::signal(SIGPIPE, SIG_IGN);
  (void)ignored;
  set_nonblocking(read_.get());
  if (write_.valid()) set_nonblocking(write_.get());
}

Result<std::size_t> FdChannel::read_some(char* buffer, std::size_t size) {
  for (;;) {
    ssize_t n = ::read(read_.get(), buffer, size);
    if (n > 0) return static_cast<std::size_t>(n);
    if (n == 0) {
      eof_ = true;
      return std::size_t{0};
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
    return lost(errno_error(errno, "reading from the agent").message);
  }
}

Result<std::size_t> FdChannel::write_some(std::string_view data) {
  int fd = write_.valid() ? write_.get() : read_.get();
  for (;;) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
    return lost(errno_error(errno, "writing to the agent").message);
  }
}

Status FdChannel::wait(bool to_write, Nanos timeout) {
  pollfd fds[2] = {{read_.get(), POLLIN, 0}, {write_.get(), POLLOUT, 0}};
  nfds_t count = 1;
  if (to_write) {
    if (write_.valid()) {
      count = 2;
    } else {
      fds[0].events |= POLLOUT;
    }
  }
  auto ms = std::chrono::ceil<Millis>(timeout).count();
  if (::poll(fds, count, static_cast<int>(ms)) < 0 && errno != EINTR) {
    return lost(errno_error(errno, "waiting for the agent").message);
  }
  return ok_status();
}

}  // namespace tango::fleet

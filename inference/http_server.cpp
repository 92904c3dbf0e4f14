#include "inference/http_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>

#include "lib/base/file.h"
#include "lib/base/log.h"

namespace tango::inference {
namespace {

constexpr int kBacklog = 64;

Error invalid_address(std::string_view text, std::string_view why) {
  return make_error(Code::kInvalid, "InvalidAddress",
                    "cannot listen on \"" + std::string(text) + "\": " + std::string(why) +
                        "; use unix:PATH or 127.0.0.1:PORT");
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return status >= 500 ? "Internal Server Error" : "Error";
  }
}

bool equal_fold(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) ==
                  std::tolower(static_cast<unsigned char>(y));
         });
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

struct Head {
  HttpRequest request;
  std::optional<std::uint64_t> content_length;
  bool keep_alive = true;
  bool expect_continue = false;
};

// Answers an HTTP status to refuse with, or 0. Strict where leniency is known to be dangerous: bare
// LF, spaces before the colon, folded lines, two lengths, length and transfer coding together.
int parse_head(std::string_view text, const ServerLimits& limits, Head& head) {
  const auto line_end = text.find("\r\n");
  const std::string_view line = text.substr(0, line_end);
  text.remove_prefix(line_end + 2);
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || last == first) return 400;
  const std::string_view version = line.substr(last + 1);
  head.request.method = std::string(line.substr(0, first));
  head.request.url = std::string(line.substr(first + 1, last - first - 1));
  if (!is_token(head.request.method) || head.request.url.empty() ||
      head.request.url.front() != '/' || head.request.url.find(' ') != std::string::npos) {
    return 400;
  }
  for (const char c : head.request.url) {
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f) return 400;
  }
  if (version == "HTTP/1.0") {
    head.keep_alive = false;
  } else if (version != "HTTP/1.1") {
    return version.starts_with("HTTP/") ? 505 : 400;
  }
  while (!text.empty()) {
    const auto end = text.find("\r\n");
    const std::string_view field = text.substr(0, end);
    text.remove_prefix(end + 2);
    const auto colon = field.find(':');
    if (colon == std::string_view::npos || !is_token(field.substr(0, colon))) return 400;
    const std::string_view value = trim(field.substr(colon + 1));
    for (const char c : value) {
      if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) return 400;
    }
    if (head.request.headers.size() >= limits.max_headers) return 431;
    head.request.headers.emplace(std::string(field.substr(0, colon)), std::string(value));
  }
  const HttpHeaders& headers = head.request.headers;
  if (headers.count("Transfer-Encoding") > 0) return 411;  // chunked bodies are not accepted
  const auto [from, to] = headers.equal_range("Content-Length");
  for (auto it = from; it != to; ++it) {
    std::uint64_t length = 0;
    const std::string& value = it->second;
    const auto [p, ec] = std::from_chars(value.data(), value.data() + value.size(), length);
    if (ec != std::errc{} || p != value.data() + value.size()) return 400;
    if (head.content_length && *head.content_length != length) return 400;
    head.content_length = length;
  }
  const std::string connection = header(headers, "Connection");
  if (equal_fold(connection, "close")) head.keep_alive = false;
  if (equal_fold(connection, "keep-alive")) head.keep_alive = true;
  const std::string expect = header(headers, "Expect");
  if (!expect.empty()) {
    if (!equal_fold(expect, "100-continue")) return 417;
    head.expect_continue = true;
  }
  if (!head.content_length && head.request.method == "POST") return 411;
  if (head.content_length && *head.content_length > limits.max_body_bytes) return 413;
  return 0;
}

// One connection: bounded reads and writes against deadlines, interruptible by the stop pipe.
class Connection {
 public:
  Connection(Fd fd, int stop_fd, const ServerLimits& limits)
      : fd_(std::move(fd)), stop_fd_(stop_fd), limits_(limits) {}

  void serve(const SmallHttpServer::Handler& handler) {
    while (one_request(handler)) {
    }
    // Without this, unread bytes would turn our answer into a reset.
    ::shutdown(fd_.get(), SHUT_WR);
    drain();
  }

 private:
  enum class Wait { kReady, kTimeout, kStopped, kBroken };

  Wait wait(short events, Nanos deadline, bool heed_stop) {
    while (true) {
      const auto left = deadline - system_clock().monotonic();
      if (left <= Nanos{0}) return Wait::kTimeout;
      pollfd fds[2] = {{fd_.get(), events, 0}, {stop_fd_, POLLIN, 0}};
      const auto ms = std::chrono::duration_cast<Millis>(left).count() + 1;
      const int n =
          ::poll(fds, heed_stop ? 2 : 1, static_cast<int>(std::min<std::int64_t>(ms, 60'000)));
      if (n < 0 && errno != EINTR) return Wait::kBroken;
      if (n <= 0) continue;
      if (fds[0].revents != 0) return Wait::kReady;
      if (heed_stop && fds[1].revents != 0) return Wait::kStopped;
    }
  }

  // Appends what is there to buffer_; false at the end of the stream or on an error.
  bool receive() {
    char block[16384];
    const ssize_t n = ::recv(fd_.get(), block, sizeof block, 0);
    if (n > 0) buffer_.append(block, static_cast<std::size_t>(n));
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
  }

  bool send(std::string_view data) {
    const Nanos deadline = system_clock().monotonic() + limits_.write_timeout;
    while (!data.empty()) {
      const ssize_t n = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
      if (n > 0) {
        data.remove_prefix(static_cast<std::size_t>(n));
      } else if (errno == EAGAIN) {
        if (wait(POLLOUT, deadline, false) != Wait::kReady) return false;
      } else if (errno != EINTR) {
        return false;
      }
    }
    return true;
  }

  bool respond(const HttpResponse& response, bool keep_alive) {
    std::string head = "HTTP/1.1 " + std::to_string(response.status) + " " +
                       std::string(reason_phrase(response.status)) + "\r\n";
    for (const auto& [name, value] : response.headers) head += name + ": " + value + "\r\n";
    head += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
    head += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
    return send(head + response.body);
  }

  bool refuse(int status) {
    HttpResponse response;
    response.status = status;
    response.headers.emplace("Content-Type", "text/plain");
    response.body = std::string(reason_phrase(status)) + "\n";
    respond(response, false);
    return false;
  }

  bool one_request(const SmallHttpServer::Handler& handler) {
    if (buffer_.empty()) {
      if (wait(POLLIN, system_clock().monotonic() + limits_.idle_timeout, true) != Wait::kReady) {
        return false;
      }
    }
    // The clock of the head runs from its first byte: trickling bytes does not extend it.
    const Nanos head_deadline = system_clock().monotonic() + limits_.header_timeout;
    std::size_t end = buffer_.find("\r\n\r\n");
    while (end == std::string::npos) {
      if (buffer_.size() > limits_.max_header_bytes) return refuse(431);
      switch (wait(POLLIN, head_deadline, true)) {
        case Wait::kTimeout:
          return buffer_.empty() ? false : refuse(408);
        case Wait::kReady:
          break;
        default:
          return false;
      }
      if (!receive()) return false;
      end = buffer_.find("\r\n\r\n");
    }
    if (end > limits_.max_header_bytes) return refuse(431);
    Head head;
    const int refused = parse_head(std::string_view(buffer_).substr(0, end + 2), limits_, head);
    buffer_.erase(0, end + 4);
    if (refused != 0) return refuse(refused);

    const std::uint64_t length = head.content_length.value_or(0);
    if (head.expect_continue && buffer_.size() < length && !send("HTTP/1.1 100 Continue\r\n\r\n")) {
      return false;
    }
    const Nanos body_deadline = system_clock().monotonic() + limits_.body_timeout;
    while (buffer_.size() < length) {
      const Wait state = wait(POLLIN, body_deadline, true);
      if (state == Wait::kTimeout) return refuse(408);
      if (state != Wait::kReady || !receive()) return false;
    }
    head.request.body = buffer_.substr(0, length);
    buffer_.erase(0, length);

    HttpResponse response;
    try {
      response = handler(head.request);
    } catch (const std::exception& e) {
      log_error("Request failed", {{"path", head.request.url}, {"what", e.what()}});
      response = {};
      response.status = 500;
      head.keep_alive = false;
    }
    return respond(response, head.keep_alive) && head.keep_alive;
  }

  // Reads and drops a little of what the peer still sends, so that it sees our answer.
  void drain() {
    const Nanos deadline = system_clock().monotonic() + Seconds{1};
    char block[16384];
    std::size_t left = 1u << 20;
    while (left > 0 && wait(POLLIN, deadline, true) == Wait::kReady) {
      const ssize_t n = ::recv(fd_.get(), block, sizeof block, 0);
      if (n <= 0) break;
      left -= std::min(left, static_cast<std::size_t>(n));
    }
  }

  Fd fd_;
  int stop_fd_;
  const ServerLimits& limits_;
  std::string buffer_;
};

Result<Fd> bind_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return invalid_address(path, "the path is too long");
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return errno_error(errno, "cannot make a socket");
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(fd.get(), raw, sizeof address) == 0) return fd;
  if (errno != EADDRINUSE) return errno_error(errno, "cannot listen on unix:" + path);
  const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(probe.get(), raw, sizeof address) == 0 || errno != ECONNREFUSED) {
    return make_error(Code::kExists, "ListenFailed",
                      "unix:" + path + " is in use by another server or is no socket");
  }
  ::unlink(path.c_str());  // left behind by a server that was killed
  if (::bind(fd.get(), raw, sizeof address) != 0) {
    return errno_error(errno, "cannot listen on unix:" + path);
  }
  return fd;
}

Result<Fd> bind_tcp(const ListenAddress& listen, std::uint16_t& port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(listen.port);
  if (::inet_pton(AF_INET, listen.host.c_str(), &address.sin_addr) != 1) {
    return invalid_address(listen.host, "not an IPv4 address");
  }
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return errno_error(errno, "cannot make a socket");
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return make_error(Code::kUnavailable, "ListenFailed",
                      "cannot listen on " + listen.host + ":" + std::to_string(listen.port) + ": " +
                          std::strerror(errno));
  }
  socklen_t size = sizeof address;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  port = ntohs(address.sin_port);
  return fd;
}

}  // namespace

struct SmallHttpServer::Impl {
  ListenAddress address;
  ServerLimits limits;
  Handler handler;
  Fd listener;
  Fd stop_read;
  Fd stop_write;
  std::thread acceptor;
  std::mutex mutex;
  std::condition_variable idle;
  int connections = 0;
  std::atomic<bool> stopped{false};

  void accept_loop() {
    while (true) {
      pollfd fds[2] = {{listener.get(), POLLIN, 0}, {stop_read.get(), POLLIN, 0}};
      if (::poll(fds, 2, -1) < 0 && errno != EINTR) return;
      if (fds[1].revents != 0) return;
      if (fds[0].revents == 0) continue;
      Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!fd.valid()) {
        // Out of descriptors: wait for a connection to end instead of spinning.
        if (errno == EMFILE || errno == ENFILE) std::this_thread::sleep_for(Millis{50});
        continue;
      }
      if (address.unix_path.empty()) {
        const int on = 1;
        ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      }
      start_connection(std::move(fd));
    }
  }

  void start_connection(Fd fd) {
    {
      const std::lock_guard lock(mutex);
      if (connections >= limits.max_connections) {
        constexpr std::string_view kBusy =
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n"
            "Connection: close\r\n\r\n";
        // A fresh socket's buffer takes this; a peer that it does not fit misses nothing.
        (void)!::send(fd.get(), kBusy.data(), kBusy.size(), MSG_NOSIGNAL);
        return;
      }
      ++connections;
    }
    try {
      std::thread([this, fd = std::move(fd)]() mutable {
        Connection(std::move(fd), stop_read.get(), limits).serve(handler);
        end_connection();
      }).detach();
    } catch (const std::system_error&) {  // no more threads: drop this one
      end_connection();
    }
  }

  void end_connection() {
    const std::lock_guard lock(mutex);
    --connections;
    idle.notify_all();
  }
};

Result<ListenAddress> parse_listen(std::string_view text) {
  ListenAddress out;
  if (text.starts_with("unix:")) {
    out.unix_path = std::string(text.substr(5));
    if (out.unix_path.empty()) return invalid_address(text, "the path is empty");
    return out;
  }
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return invalid_address(text, "the port is missing");
  out.host = std::string(text.substr(0, colon));
  const std::string_view port = text.substr(colon + 1);
  const auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (port.empty() || ec != std::errc{} || end != port.data() + port.size()) {
    return invalid_address(text, "the port is not a number from 0 to 65535");
  }
  in_addr parsed{};
  if (::inet_pton(AF_INET, out.host.c_str(), &parsed) != 1) {
    return invalid_address(text, "the host is not an IPv4 address");
  }
  return out;
}

SmallHttpServer::SmallHttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SmallHttpServer::~SmallHttpServer() { stop(); }

Result<std::unique_ptr<SmallHttpServer>> SmallHttpServer::start(const ListenAddress& address,
                                                                const ServerLimits& limits,
                                                                Handler handler) {
  auto impl = std::make_unique<Impl>();
  impl->address = address;
  impl->limits = limits;
  impl->handler = std::move(handler);
  if (address.unix_path.empty()) {
    TRY_ASSIGN(impl->listener, bind_tcp(address, impl->address.port));
  } else {
    TRY_ASSIGN(impl->listener, bind_unix(address.unix_path));
  }
  if (::listen(impl->listener.get(), kBacklog) != 0) return errno_error(errno, "cannot listen");
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return errno_error(errno, "cannot make a pipe");
  impl->stop_read = Fd(pipe_fds[0]);
  impl->stop_write = Fd(pipe_fds[1]);
  impl->acceptor = std::thread([raw = impl.get()] { raw->accept_loop(); });
  return std::unique_ptr<SmallHttpServer>(new SmallHttpServer(std::move(impl)));
}

std::string SmallHttpServer::address() const {
  if (!impl_->address.unix_path.empty()) return "unix:" + impl_->address.unix_path;
  return impl_->address.host + ":" + std::to_string(impl_->address.port);
}

std::uint16_t SmallHttpServer::port() const { return impl_->address.port; }

void SmallHttpServer::stop() {
  if (impl_->stopped.exchange(true)) return;
  impl_->stop_write.reset();  // readers of the pipe see its end
  impl_->acceptor.join();
  impl_->listener.reset();
  std::unique_lock lock(impl_->mutex);
  impl_->idle.wait(lock, [&] { return impl_->connections == 0; });
  if (!impl_->address.unix_path.empty()) ::unlink(impl_->address.unix_path.c_str());
}

}  // namespace tango::inference

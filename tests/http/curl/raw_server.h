// A server of a few lines for tests of HTTP clients: each connection runs a function that reads
// requests and writes raw bytes, so that a test can misbehave on purpose. It speaks no HTTP itself.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace tango::test {

struct RawRequest {
  std::string head;  // request line and headers
  std::string body;
};

class RawConnection {
 public:
  explicit RawConnection(int fd) : fd_(fd) {}
  // The next request with a Content-Length body; false when the peer has closed.
  bool read(RawRequest& request) {
    std::size_t end = 0;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!fill()) return false;
    }
    request.head = buffer_.substr(0, end + 2);
    std::size_t length = 0;
    if (const auto at = request.head.find("Content-Length: "); at != std::string::npos) {
      length = static_cast<std::size_t>(std::atoll(request.head.c_str() + at + 16));
    }
    buffer_.erase(0, end + 4);
    while (buffer_.size() < length) {
      if (!fill()) return false;
    }
    request.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
    return true;
  }
  bool write(std::string_view data) {
    return ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(data.size());
  }
  // A whole answer.
  bool reply(int status, std::string_view body, std::string_view headers = {}) {
    return write("HTTP/1.1 " + std::to_string(status) +
                 " X\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
                 std::string(headers) + "\r\n" + std::string(body));
  }
  // Waits until the peer closes (or the limit passes).
  bool wait_closed(int limit_ms) {
    pollfd p{fd_, POLLIN, 0};
    char c = 0;
    while (::poll(&p, 1, limit_ms) > 0) {
      if (::recv(fd_, &c, 1, 0) <= 0) return true;
    }
    return false;
  }

 private:
  bool fill() {
    char chunk[4096];
    const ssize_t n = ::recv(fd_, chunk, sizeof chunk, 0);
    if (n <= 0) return false;
    buffer_.append(chunk, static_cast<std::size_t>(n));
    return true;
  }
  int fd_;
  std::string buffer_;
};

class RawServer {
 public:
  explicit RawServer(std::function<void(RawConnection&)> serve) : serve_(std::move(serve)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd_, 64) != 0 ||
        ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      std::abort();
    }
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] {
      for (;;) {
        const int peer = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
        if (peer < 0) return;
        ++connections;
        std::lock_guard lock(mutex_);
        peers_.push_back(peer);
        threads_.emplace_back([this, peer] {
          RawConnection connection(peer);
          serve_(connection);
          ::shutdown(peer, SHUT_RDWR);
        });
      }
    });
  }
  ~RawServer() {
    ::shutdown(fd_, SHUT_RDWR);
    acceptor_.join();
    ::close(fd_);
    std::lock_guard lock(mutex_);
    for (const int peer : peers_) ::shutdown(peer, SHUT_RDWR);
    for (auto& thread : threads_) thread.join();
    for (const int peer : peers_) ::close(peer);
  }
  std::string url(std::string_view path = "/") const {
    return "http://127.0.0.1:" + std::to_string(port_) + std::string(path);
  }
  std::atomic<int> connections = 0;

 private:
  std::function<void(RawConnection&)> serve_;
  int fd_ = -1;
  int port_ = 0;
  std::thread acceptor_;
  std::mutex mutex_;
  std::vector<int> peers_;
  std::vector<std::thread> threads_;
};

}  // namespace tango::test

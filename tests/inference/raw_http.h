// A bare HTTP/1.1 client over a socket: sends whatever bytes it is given, so that tests can
// misbehave.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "lib/base/file.h"

namespace tango::test {

struct Reply {
  int status = 0;
  std::string head;
  std::string body;
};

class RawClient {
 public:
  explicit RawClient(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ok_ = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  explicit RawClient(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    ok_ = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  bool connected() const { return ok_; }

  bool send(std::string_view data) {
    while (!data.empty()) {
      const ssize_t n = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      data.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  // One response; status 0 when the connection ended or nothing came within 10 s.
  Reply read() {
    Reply reply;
    std::size_t end = std::string::npos;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!receive()) return reply;
    }
    reply.head = buffer_.substr(0, end + 2);
    buffer_.erase(0, end + 4);
    const int status = std::stoi(reply.head.substr(9, 3));
    std::size_t length = 0;
    if (const auto at = reply.head.find("Content-Length: "); at != std::string::npos) {
      length = std::stoul(reply.head.substr(at + 16));
    }
    while (buffer_.size() < length) {
      if (!receive()) return reply;
    }
    reply.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
    reply.status = status;
    return reply;
  }

  Reply request(const std::string& method, const std::string& path, const std::string& body = {},
                const std::string& headers = {}) {
    std::string text = method + " " + path + " HTTP/1.1\r\nHost: x\r\n" + headers;
    if (!body.empty() || method == "POST") {
      text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    }
    return send(text + "\r\n" + body) ? read() : Reply{};
  }

  // True when the peer closes within 10 s.
  bool closed() {
    while (receive()) {
    }
    return ended_;
  }

 private:
  bool receive() {
    pollfd fd{fd_.get(), POLLIN, 0};
    if (::poll(&fd, 1, 10'000) <= 0) return false;
    char block[65536];
    const ssize_t n = ::recv(fd_.get(), block, sizeof block, 0);
    if (n <= 0) {
      ended_ = true;
      return false;
    }
    buffer_.append(block, static_cast<std::size_t>(n));
    return true;
  }

  Fd fd_;
  bool ok_ = false;
  bool ended_ = false;
  std::string buffer_;
};

}  // namespace tango::test

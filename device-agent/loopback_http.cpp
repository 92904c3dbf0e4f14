#include "device-agent/loopback_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "lib/base/file.h"

namespace tango::agent {
namespace {

Error not_ready(std::string why) {
  return make_error(Code::kUnavailable, "ReleaseNotReady",
                    "the release does not answer on its port: " + std::move(why));
}

bool clean(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

class Exchange {
 public:
  Exchange(Fd fd, const LoopbackLimits& limits)
      : fd_(std::move(fd)), limits_(limits), end_(system_clock().monotonic() + limits.timeout) {}

  Status wait(short events) {
    while (true) {
      const auto left =
          std::chrono::duration_cast<Millis>(end_ - system_clock().monotonic()).count();
      if (left <= 0)
        return make_error(Code::kTimeout, "Timeout", "the release did not answer in time");
      pollfd p{fd_.get(), events, 0};
      const int n = ::poll(&p, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
      if (n < 0 && errno != EINTR) return errno_error(errno, "waiting for the release");
      if (n > 0) return ok_status();
    }
  }

  Status connect(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      return ok_status();
    }
    if (errno != EINPROGRESS) return not_ready("connection refused");
    TRY(wait(POLLOUT));
    int err = 0;
    socklen_t size = sizeof err;
    ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &err, &size);
    if (err != 0) return not_ready("connection refused");
    return ok_status();
  }

  Status send(std::string_view data) {
    while (!data.empty()) {
      const ssize_t n = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
      if (n > 0) {
        data.remove_prefix(static_cast<std::size_t>(n));
      } else if (n < 0 && errno == EAGAIN) {
        TRY(wait(POLLOUT));
      } else if (errno != EINTR) {
        return not_ready("connection lost while sending");
      }
    }
    return ok_status();
  }

  // Appends what has come; false at the end of the stream.
  Result<bool> receive(std::string& into) {
    char buffer[16384];
    while (true) {
      const ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
      if (n > 0) {
        into.append(buffer, static_cast<std::size_t>(n));
        return true;
      }
      if (n == 0) return false;
      if (errno == EAGAIN) {
        TRY(wait(POLLIN));
      } else if (errno != EINTR) {
        return not_ready("connection lost while reading");
      }
    }
  }

 private:
  Fd fd_;
  LoopbackLimits limits_;
  Nanos end_;
};

Result<std::size_t> parse_size(std::string_view text, int base) {
  std::size_t value = 0;
  const auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (err != std::errc{} || end != text.data() + text.size())
    return not_ready("a length is no number");
  return value;
}

Status parse_head(std::string_view head, HttpResponse& response) {
  const std::size_t line_end = head.find("\r\n");
  const std::string_view line = head.substr(0, line_end);
  if (!line.starts_with("HTTP/1.") || line.size() < 12) return not_ready("the answer is no HTTP");
  TRY_ASSIGN(const std::size_t status, parse_size(line.substr(9, 3), 10));
  response.status = static_cast<int>(status);
  head.remove_prefix(
      std::min(head.size(), line_end == std::string_view::npos ? head.size() : line_end + 2));
  while (!head.empty()) {
    const std::size_t end = std::min(head.find("\r\n"), head.size());
    const std::string_view field = head.substr(0, end);
    head.remove_prefix(std::min(head.size(), end + 2));
    const std::size_t colon = field.find(':');
    if (colon == std::string_view::npos) continue;
    std::string_view value = field.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t'))
      value.remove_prefix(1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
    response.headers.emplace(field.substr(0, colon), value);
  }
  return ok_status();
}

Error too_large(std::uint64_t max) {
  return make_error(Code::kExhausted, "BodyTooLarge",
                    "the release's answer is larger than " + std::to_string(max) + " bytes");
}

// RFC 9112 section 7.1, without trailers' content.
Result<std::string> read_chunked(Exchange& io, std::string data, std::uint64_t max) {
  std::string body;
  while (true) {
    std::size_t eol = 0;
    while ((eol = data.find("\r\n")) == std::string::npos) {
      if (data.size() > 256) return not_ready("a chunk has no size");
      TRY_ASSIGN(const bool more, io.receive(data));
      if (!more) return not_ready("the answer was cut");
    }
    const std::string_view line = std::string_view(data).substr(0, eol);
    TRY_ASSIGN(const std::size_t size, parse_size(line.substr(0, line.find(';')), 16));
    if (size == 0) return body;
    if (size > max || body.size() + size > max) return too_large(max);
    while (data.size() < eol + 2 + size + 2) {
      TRY_ASSIGN(const bool more, io.receive(data));
      if (!more) return not_ready("the answer was cut");
    }
    body.append(data, eol + 2, size);
    data.erase(0, eol + 2 + size + 2);
  }
}

}  // namespace

Result<HttpResponse> loopback_request(std::uint16_t port, std::string_view method,
                                      std::string_view path, const HttpHeaders& headers,
                                      std::string_view body, const LoopbackLimits& limits) {
  const bool path_ok =
      path.starts_with("/") && clean(path) && path.find(' ') == std::string_view::npos;
  if ((method != "GET" && method != "POST") || !path_ok) {
    return make_error(Code::kInvalid, "InvalidRequest",
                      "only GET and POST of an absolute path are relayed");
  }
  std::string request = std::string(method) + " " + std::string(path) +
                        " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port) +
                        "\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
                        "\r\n";
  for (const auto& [name, value] : headers) {
    if (name.empty() || !clean(name) || !clean(value) ||
        name.find_first_of(": ") != std::string::npos) {
      return make_error(Code::kInvalid, "InvalidRequest", "a header contains control characters");
    }
    const HeaderLess less;
    const auto is = [&](std::string_view own) { return !less(name, own) && !less(own, name); };
    if (is("host") || is("connection") || is("content-length") || is("transfer-encoding")) continue;
    request += name + ": " + value + "\r\n";
  }
  request += "\r\n";

  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return errno_error(errno, "opening a socket");
  Exchange io(std::move(fd), limits);
  TRY(io.connect(port));
  TRY(io.send(request));
  TRY(io.send(body));

  std::string data;
  std::size_t head_end = 0;
  while ((head_end = data.find("\r\n\r\n")) == std::string::npos) {
    if (data.size() > limits.max_head) return not_ready("its answer's head is too long");
    TRY_ASSIGN(const bool more, io.receive(data));
    if (!more) return not_ready("the answer was cut");
  }
  HttpResponse response;
  TRY(parse_head(std::string_view(data).substr(0, head_end), response));
  data.erase(0, head_end + 4);
  if (header(response.headers, "transfer-encoding") == "chunked") {
    TRY_ASSIGN(response.body, read_chunked(io, std::move(data), limits.max_body));
    return response;
  }
  const std::string length = header(response.headers, "content-length");
  std::size_t want = SIZE_MAX;
  if (!length.empty()) {
    TRY_ASSIGN(want, parse_size(length, 10));
    if (want > limits.max_body) return too_large(limits.max_body);
  }
  while (data.size() < want) {
    TRY_ASSIGN(const bool more, io.receive(data));
    if (!more) break;
    if (data.size() > limits.max_body) return too_large(limits.max_body);
  }
  if (want != SIZE_MAX && data.size() < want) return not_ready("the answer was cut");
  if (want != SIZE_MAX) data.resize(want);
  response.body = std::move(data);
  return response;
}

Result<std::uint16_t> free_loopback_port() {
  const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (!fd.valid() || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return errno_error(errno, "looking for a free port");
  }
  return ntohs(address.sin_port);
}

}  // namespace tango::agent

// A bounded HTTP/1.1 exchange with a release's loopback port: the ready check and `relay` use it.
// One request per connection, 127.0.0.1 only; no TLS, no DNS, no redirects.
#pragma once

#include <cstdint>
#include <string>

#include "lib/base/clock.h"
#include "lib/base/http.h"
#include "lib/base/result.h"

namespace tango::agent {

struct LoopbackLimits {
  Nanos timeout = Seconds{30};
  std::size_t max_head = 64u << 10;
  std::uint64_t max_body = 32u << 20;
};

// `path` begins with '/'. Method, path and header values must be free of control characters.
// Errors: InvalidRequest, ReleaseNotReady (nothing listens, connection lost, or the answer is no
// HTTP), Timeout, BodyTooLarge.
Result<HttpResponse> loopback_request(std::uint16_t port, std::string_view method,
                                      std::string_view path, const HttpHeaders& headers,
                                      std::string_view body, const LoopbackLimits& limits = {});

// A port nobody listens on at this moment. Errors: IoError.
Result<std::uint16_t> free_loopback_port();

}  // namespace tango::agent

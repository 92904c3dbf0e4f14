// Connecting a TCP socket with a deadline and a way to stop; for ssh.cpp.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::fleet {

// Tries every address of the name. The socket is non-blocking, with TCP_NODELAY and keep-alive.
// Errors: Unreachable, Cancelled.
Result<Fd> connect_tcp(const std::string& address, std::uint16_t port, Nanos timeout,
                       std::stop_token stop);

}  // namespace tango::fleet

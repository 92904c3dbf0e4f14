// Role `daemon`: the one long-lived process of a device. Holds the lock of its root, opens the
// device, and serves sessions on two Unix sockets: `agent.sock` for the operator's channel,
// `local.sock` for the verbs of a person on the device.
#pragma once

#include <string>

#include "device-agent/device.h"
#include "device-agent/session.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::agent {

struct DaemonOptions {
  DeviceOptions device;
  SessionLimits session;
  std::size_t max_sessions = 16;
};

// Until SIGTERM or SIGINT. Errors: AlreadyRunning (another daemon has the lock), IoError, ...
Status run_daemon(DaemonOptions options);

// Connects to a socket of the daemon of `root`. Errors: Unreachable.
Result<Fd> connect_daemon(const fs::path& root, bool local);

}  // namespace tango::agent

// Role `serve`: a stateless proxy between the SSH channel (stdin, stdout) and the daemon's socket.
// Where no init system keeps the daemon (provisioning mode User), it starts it.
#pragma once

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::agent {

// Connects, starting `agent daemon --root` in a session of its own when nothing answers. Safe when
// several do it at once: the daemon's lock lets one live. Errors: Unreachable, StartFailed.
Result<Fd> connect_or_start(const fs::path& root, const fs::path& agent, bool local,
                            Nanos patience = Seconds{10});

// Copies both ways until either side has ended. Keeps reading one side while the other blocks.
Status proxy(int in, int out, int peer);

}  // namespace tango::agent

// SSH sessions to devices over libssh: own sockets, host keys that are always checked, keys and
// passwords from memory. Provisioning and the agent session stand on it. It reads no configuration
// file, no known_hosts and no agent, and there is no way to switch host-key checking off.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/result.h"
#include "lib/base/secret.h"
#include "lib/fleet/channel.h"

namespace tango::fleet {

enum class HostKeyPolicy {
  kPinned,           // one of `fingerprints`, or nothing is sent
  kTrustOnFirstUse,  // as Pinned once there are fingerprints; before, only observe_host_key() works
};

struct SshTarget {
  std::string address;  // name or IP address
  std::uint16_t port = 22;
  HostKeyPolicy policy = HostKeyPolicy::kPinned;
  std::vector<std::string> fingerprints;  // "SHA256:<base64, no padding>", as ssh-keygen -lf prints
  Nanos connect_timeout = Seconds{10};    // TCP, key exchange and authentication each
};

struct SshCredential {
  std::string user;
  Secret<std::string> private_key;  // PEM or OpenSSH format, not encrypted; or
  Secret<std::string> password;
};

// Fingerprint of the key the host shows. Nothing but the key exchange is sent: no user name, no
// command. Errors: Unreachable.
Result<std::string> observe_host_key(const SshTarget& target, std::stop_token stop = {});

struct SshKeyPair {
  Secret<std::string> private_key;  // OpenSSH format
  std::string public_line;          // "ssh-ed25519 AAAA..." without a comment
};
// Ed25519. What the operator makes per namespace.
Result<SshKeyPair> generate_ssh_key();
// The public line of a private key. Errors: KeyInvalid.
Result<std::string> ssh_public_line(const Secret<std::string>& private_key);

struct ExecResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};

// 'a' 'b c': each word quoted for a POSIX shell.
std::string shell_words(const std::vector<std::string>& words);

class SshSession {
 public:
  // Connects, checks the host key, authenticates.
  // Errors: Unreachable, HostKeyUnknown, HostKeyChanged, AuthFailed, Cancelled.
  static Result<std::unique_ptr<SshSession>> connect(const SshTarget& target,
                                                     const SshCredential& credential,
                                                     std::stop_token stop = {});
  virtual ~SshSession() = default;
  // Runs one command line to its end. `input` is sent to it and closed. Output is cut at 1 MiB.
  // Errors: ConnectionLost, Timeout, Cancelled.
  virtual Result<ExecResult> exec(const std::string& command, std::string_view input, Nanos timeout,
                                  std::stop_token stop = {},
                                  const std::function<void(std::uint64_t sent)>& progress = {}) = 0;
  // A long-lived exec channel. The session must outlive it.
  virtual Result<std::unique_ptr<ByteChannel>> open_exec(const std::string& command) = 0;
  virtual const std::string& host_fingerprint() const = 0;
};

}  // namespace tango::fleet

// Turns a reachable account on a machine into a device: agent installed, our own key appended,
// hello proved with it (in this order: pin, authenticate once, install, append, prove, forget).
// Mode User only; it never edits or removes an existing line of authorized_keys and never asks for
// root.
#pragma once

#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>

#include "lib/fleet/agent_session.h"
#include "lib/fleet/ssh.h"

namespace tango::fleet {

// Binaries for one architecture; nullopt from the finder: none for it.
struct AgentBinaries {
  std::filesystem::path agent;
  std::filesystem::path gate;
};

struct ProvisionRequest {
  SshTarget ssh;
  SshCredential bootstrap;  // used at most once; empty credential: only re-check with operator_key
  SshCredential operator_key;  // private key; `user` may be empty (then that of the bootstrap)
  std::string root = "/var/lib/tango";           // agent.root, absolute
  std::string authorized_keys_file = "Default";  // or an absolute path on the device
  std::string expected_arch;                     // of the target profile; empty: any we have
  std::function<std::optional<AgentBinaries>(std::string_view arch)> binaries;
  HelloParams hello;
  Nanos command_timeout = Seconds{30};
  Nanos upload_timeout = Seconds{300};
};

struct ProvisionReport {
  std::string host_fingerprint;
  std::string arch;  // amd64 | arm64 | armv7
  std::string kernel;
  bool bootstrap_used = false;  // false: the operator's key worked already
  bool key_appended = false;
  HelloReply hello;
};

// Errors: HostKeyUnknown (approve the fingerprint of observe_host_key() first), HostKeyChanged,
// AuthFailed, Unreachable, WrongArchitecture, UnsupportedSystem, InstallFailed, HashMismatch,
// PathUnsafe, IdentityMismatch, ...
Result<ProvisionReport> provision(const ProvisionRequest& request, const ProgressFn& progress = {},
                                  std::stop_token stop = {});

// "x86_64" -> "amd64"; empty: not one we know.
std::string arch_of_machine(std::string_view uname_machine);

}  // namespace tango::fleet

#include "lib/fleet/provision.h"

#include <algorithm>

#include "lib/artifacts/failure.h"
#include "lib/base/digest.h"
#include "lib/base/file.h"

namespace tango::fleet {
namespace {

constexpr std::uint64_t kMaxBinary = 64u << 20;
constexpr int kWrongHash = 66;  // exit code of our own install line
constexpr std::string_view kComment = "tango-operator";

Error install_failed(std::string what, const ExecResult& r) {
  std::string said = r.err.substr(0, 512);
  while (!said.empty() && said.back() == '\n') said.pop_back();
  std::string lower = said;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::string message = std::move(what) + " failed on the device (exit code " +
                        std::to_string(r.exit_code) + "): " + said;
  if (lower.find("no space left") != std::string::npos) {
    return make_error(Code::kExhausted, "DiskFull", std::move(message));
  }
  if (lower.find("permission denied") != std::string::npos ||
      lower.find("read-only file system") != std::string::npos) {
    return make_error(Code::kDenied, "PermissionDenied", std::move(message));
  }
  return make_error(Code::kIo, "InstallFailed", std::move(message));
}

// These paths become part of a forced command, so they may hold nothing that a shell or sshd reads.
Status check_device_path(std::string_view path, std::string_view what) {
  bool plain = !path.empty() && path.front() == '/' && path.size() <= 256 &&
               std::all_of(path.begin(), path.end(), [](char c) {
                 return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '/' || c == '.' || c == '_' || c == '-';
               });
  if (plain && path != "/" && path.find("/../") == std::string_view::npos &&
      !(path.size() >= 3 && path.substr(path.size() - 3) == "/..")) {
    return ok_status();
  }
  return make_error(Code::kInvalid, "PathUnsafe",
                    std::string(what) + " \"" + std::string(path.substr(0, 128)) +
                        "\" must be an absolute path of letters, digits and / . _ -");
}

class Provisioner {
 public:
  Provisioner(const ProvisionRequest& request, const ProgressFn& progress, std::stop_token stop)
      : request_(request), progress_(progress), stop_(std::move(stop)) {}

  Result<ProvisionReport> run() {
    TRY(check_device_path(request_.root, "agent.root"));
    if (request_.authorized_keys_file != "Default") {
      TRY(check_device_path(request_.authorized_keys_file, "agent.authorizedKeysFile"));
    }
    SshCredential own = request_.operator_key;
    if (own.user.empty()) own.user = request_.bootstrap.user;
    // A device that knows our key already needs no second bootstrap.
    step("auth");
    auto known = SshSession::connect(request_.ssh, own, stop_);
    if (known.ok()) {
      report_.host_fingerprint = (*known)->host_fingerprint();
      auto greeted = greet(std::move(*known));
      if (greeted.ok()) return std::move(report_);
      // Ours to repair only when the agent is absent or does not answer, and there is a credential.
      const std::string& reason = greeted.error().reason;
      bool repairable = reason == "ConnectionLost" || reason == "ProtocolError" ||
                        reason == "InstallFailed" || reason == artifacts::code::kRootMissing;
      if (!repairable || !has_bootstrap()) return std::move(greeted).error();
    } else if (known.error().reason != "AuthFailed" || !has_bootstrap()) {
      return std::move(known).error();
    }
    TRY_ASSIGN(ssh_, SshSession::connect(request_.ssh, request_.bootstrap, stop_));
    report_.bootstrap_used = true;
    report_.host_fingerprint = ssh_->host_fingerprint();
    step("probe");
    TRY(probe());
    step("install");
    TRY(install());
    step("key");
    TRY(append_key());
    ssh_.reset();  // the bootstrap credential has done its work
    step("hello");
    TRY_ASSIGN(auto session, SshSession::connect(request_.ssh, own, stop_));
    TRY(greet(std::move(session)));
    return std::move(report_);
  }

 private:
  bool has_bootstrap() const {
    return !request_.bootstrap.private_key.empty() || !request_.bootstrap.password.empty();
  }
  void step(const char* phase) {
    if (progress_) progress_({phase, 0, 0, {}});
  }

  Result<ExecResult> command(const std::string& line, std::string_view input = {}) {
    return ssh_->exec(line, input,
                      input.empty() ? request_.command_timeout : request_.upload_timeout, stop_);
  }
  Result<std::string> must(const std::string& what, const std::string& line,
                           std::string_view input = {}) {
    TRY_ASSIGN(ExecResult r, command(line, input));
    if (r.exit_code != 0) return install_failed(what, r);
    return std::move(r.out);
  }

  Status greet(std::unique_ptr<SshSession> ssh) {
    std::shared_ptr<SshSession> shared = std::move(ssh);
    TRY_ASSIGN(auto channel, shared->open_exec("tango-agent"));
    TRY_ASSIGN(auto agent, start_agent_session(std::move(channel), shared, request_.hello, stop_));
    if (agent->hello().rescue) {
      return make_error(Code::kIo, "InstallFailed",
                        "the agent below " + request_.root +
                            " does not start on this device; the gate answered in its place");
    }
    report_.hello = agent->hello();
    report_.arch = agent->hello().arch;
    return ok_status();
  }

  Status probe() {
    TRY_ASSIGN(std::string out, must("uname", "uname -s -m -r"));
    while (!out.empty() && (out.back() == '\n' || out.back() == '\r')) out.pop_back();
    std::vector<std::string> words;
    for (std::size_t at = 0; at < out.size();) {
      std::size_t end = std::min(out.find(' ', at), out.size());
      if (end > at) words.push_back(out.substr(at, end - at));
      at = end + 1;
    }
    if (words.size() < 3 || words[0] != "Linux") {
      return make_error(
          Code::kUnsupported, "UnsupportedSystem",
          "the device says it is \"" + out.substr(0, 128) + "\"; the agent needs Linux");
    }
    // uname prints in its own fixed order: system, release, machine.
    report_.kernel = words[1];
    report_.arch = arch_of_machine(words.back());
    if (report_.arch.empty()) {
      return make_error(Code::kInvalid, "WrongArchitecture",
                        "the device's machine \"" + words.back().substr(0, 32) +
                            "\" is not one there is an agent for (amd64, arm64, armv7)");
    }
    if (!request_.expected_arch.empty() && request_.expected_arch != report_.arch) {
      return make_error(Code::kInvalid, "WrongArchitecture",
                        "the device is " + report_.arch + ", its target profile says " +
                            request_.expected_arch + ": correct the profile of the Device");
    }
    return ok_status();
  }

  // Few commands on purpose: each starts a login shell, which costs a third of a second where
  // people have long start-up files.
  Status install() {
    auto binaries = request_.binaries ? request_.binaries(report_.arch) : std::nullopt;
    if (!binaries) {
      return make_error(Code::kInvalid, "WrongArchitecture",
                        "this operator carries no agent for " + report_.arch);
    }
    TRY_ASSIGN(std::string agent, read_file(binaries->agent, kMaxBinary));
    TRY_ASSIGN(std::string gate, read_file(binaries->gate, kMaxBinary));
    const std::string& root = request_.root;
    std::string names[] = {root + "/bin/tango-agent", root + "/bin/tango-gate",
                           root + "/trust/root.json"};
    TRY_ASSIGN(std::string sums,
               must("making agent.root",
                    "umask 022; mkdir -p " + shell_words({root + "/bin", root + "/trust"}) +
                        " && chmod 700 " + shell_words({root}) + " && { sha256sum " +
                        shell_words({names[0], names[1], names[2]}) + " 2>/dev/null; true; }"));
    auto there = [&](const std::string& path, std::string_view hash) {
      return sums.find(std::string(hash) + "  " + path + "\n") != std::string::npos;
    };
    for (int i : {0, 1}) {
      const std::string& bytes = i == 0 ? agent : gate;
      if (!there(names[i], sha256(bytes).hex())) TRY(put(names[i], bytes, "755"));
    }
    // The root that everything else is judged by is set once; later ones need signatures.
    if (there(names[2], "")) return ok_status();
    return put(names[2], request_.hello.root.document, "644");
  }

  Status put(const std::string& path, std::string_view bytes, const std::string& mode) {
    std::string part = shell_words({path + ".part"});
    std::string wanted = sha256(bytes).hex();
    std::string line = "cat > " + part + " || exit; s=$(sha256sum < " + part +
                       ") || exit; if [ \"${s%% *}\" != " + wanted + " ]; then rm -f " + part +
                       "; exit " + std::to_string(kWrongHash) + "; fi; chmod " + mode + " " + part +
                       " && sync " + part + " && mv -f " + part + " " + shell_words({path});
    auto progress = [&](std::uint64_t sent) {
      if (progress_) progress_({"install", sent, bytes.size(), path});
    };
    TRY_ASSIGN(ExecResult r, ssh_->exec(line, bytes, request_.upload_timeout, stop_, progress));
    if (r.exit_code == kWrongHash) {
      return make_error(Code::kDenied, "HashMismatch",
                        path + " did not arrive with the SHA-256 " + wanted.substr(0, 12));
    }
    if (r.exit_code != 0) return install_failed("installing " + path, r);
    return ok_status();
  }

  // Only ever >>: what others wrote stays as it is. A last line without its end gets one first.
  Status append_key() {
    TRY_ASSIGN(std::string line, ssh_public_line(request_.operator_key.private_key));
    std::string forced = request_.root + "/bin/tango-gate --root " + request_.root;
    line = "restrict,command=\"" + forced + "\" " + line + " " + std::string(kComment);
    std::string file = request_.authorized_keys_file == "Default"
                           ? "\"$HOME/.ssh/authorized_keys\""
                           : shell_words({request_.authorized_keys_file});
    std::string has = "grep -qxF -e " + shell_words({line}) + " \"$f\"";
    TRY_ASSIGN(
        std::string said,
        must("appending our key to " + request_.authorized_keys_file,
             "umask 077; f=" + file + "; mkdir -p \"${f%/*}\" || exit; if [ -e \"$f\" ] && " + has +
                 "; then echo present; exit 0; fi; if [ -s \"$f\" ] && [ -n \"$(tail -c "
                 "1 \"$f\")\" ]; then echo >> \"$f\" || exit; fi; cat >> \"$f\" && " +
                 has + " && echo appended",
             line + "\n"));
    report_.key_appended = said.find("appended") != std::string::npos;
    return ok_status();
  }

  const ProvisionRequest& request_;
  const ProgressFn& progress_;
  std::stop_token stop_;
  std::unique_ptr<SshSession> ssh_;
  ProvisionReport report_;
};

}  // namespace

std::string arch_of_machine(std::string_view machine) {
  if (machine == "x86_64" || machine == "amd64") return "amd64";
  if (machine == "aarch64" || machine == "arm64") return "arm64";
  if (machine == "armv7l" || machine == "armv8l") return "armv7";
  return {};
}

Result<ProvisionReport> provision(const ProvisionRequest& request, const ProgressFn& progress,
                                  std::stop_token stop) {
  return Provisioner(request, progress, std::move(stop)).run();
}

}  // namespace tango::fleet

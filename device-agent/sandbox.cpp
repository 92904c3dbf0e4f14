#include "device-agent/sandbox.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tango::agent {
namespace {

constexpr rlim_t kMaxOpenFiles = 4096;

}  // namespace

std::vector<SandboxPart> sandbox_capabilities() {
  std::vector<SandboxPart> parts;
  parts.push_back({"noNewPrivileges", true, ""});
  parts.push_back({"limits", true, ""});
  parts.push_back({"environment", true, ""});
  // One ordinary account owns agent and releases (provisioning mode User); a uid per slot comes
  // with mode System.
  parts.push_back({"uid", false, "provisioned for one account (mode User)"});
  parts.push_back({"cgroup", false, "no delegated cgroup"});
  parts.push_back({"seccomp", false, "no profile for this engine in this version"});
  parts.push_back({"network", false, "needs a network namespace (mode System)"});
  parts.push_back({"devices", false, "needs a device cgroup (mode System)"});
  return parts;
}

Json to_json(const std::vector<SandboxPart>& parts) {
  Json out = Json::array();
  for (const SandboxPart& part : parts) {
    Json entry = {{"part", part.part}, {"state", part.enforced ? "Enforced" : "Unavailable"}};
    if (!part.enforced) entry["reason"] = part.reason;
    out.push_back(std::move(entry));
  }
  return out;
}

Status run_release(const std::vector<std::string>& argv) {
  if (argv.empty()) return make_error(Code::kInvalid, "StartFailed", "no program was named");
  // Order matters: nothing after exec can be gained back by a set-uid file inside the bundle.
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return errno_error(errno, "giving up privileges");
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() == 1) return make_error(Code::kCancelled, "Cancelled", "the agent is gone");
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > kMaxOpenFiles) {
    files.rlim_cur = kMaxOpenFiles;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  ::umask(0077);
  std::vector<char*> raw;
  for (const std::string& arg : argv) raw.push_back(const_cast<char*>(arg.c_str()));
  raw.push_back(nullptr);
  ::execv(argv.front().c_str(), raw.data());
  Error error = errno_error(errno, "starting " + argv.front());
  error.reason = "StartFailed";
  return error;
}

}  // namespace tango::agent

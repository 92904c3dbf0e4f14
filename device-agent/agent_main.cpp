#include "device-agent/agent_main.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "device-agent/daemon.h"
#include "device-agent/inventory.h"
#include "device-agent/sandbox.h"
#include "device-agent/serve.h"
#include "lib/artifacts/failure.h"
#include "lib/artifacts/frame.h"
#include "lib/base/log.h"

namespace tango::agent {
namespace {

constexpr const char* kUsage =
    "usage: tango-agent daemon --root DIR        the long-lived process of the device\n"
    "       tango-agent serve --root DIR         proxy between stdin/stdout and the daemon\n"
    "       tango-agent run -- PROGRAM [ARG...]  become a release, sandboxed\n"
    "       tango-agent status --root DIR        what runs here, as JSON\n"
    "       tango-agent logs --root DIR [--slot main]\n"
    "       tango-agent rollback --root DIR [--slot main]\n"
    "       tango-agent version\n";

constexpr const char* kDefaultRoot = "/var/lib/tango";

int fail(const Error& error) {
  std::fprintf(stderr, "tango-agent: %s: %s\n", error.reason.c_str(), error.to_string().c_str());
  return 1;
}

std::string own_binary() {
  std::error_code ec;
  const fs::path path = fs::read_symlink("/proc/self/exe", ec);
  return ec ? "tango-agent" : path.string();
}

// One request over the local socket. Events are dropped; the reply's JSON.
Result<Json> local_request(const fs::path& root, const Json& request) {
  TRY_ASSIGN(const Fd peer, connect_daemon(root, true));
  TRY(write_all(peer.get(),
                artifacts::encode_frame(artifacts::FrameType::kRequest, 1, dump_json(request))));
  artifacts::FrameDecoder decoder;
  std::string buffer(64u << 10, '\0');
  while (true) {
    TRY_ASSIGN(const auto frame, decoder.next());
    if (!frame) {
      const ssize_t n = ::recv(peer.get(), buffer.data(), buffer.size(), 0);
      if (n <= 0)
        return make_error(Code::kUnavailable, "ConnectionLost", "the daemon closed the connection");
      decoder.feed(std::string_view(buffer).substr(0, static_cast<std::size_t>(n)));
      continue;
    }
    if (frame->type != artifacts::FrameType::kReply) continue;
    TRY_ASSIGN(Json reply, parse_json(frame->payload));
    if (get_bool(reply, "ok")) return reply;
    TRY_ASSIGN(const auto failure, artifacts::parse_failure(get(reply, "failure")));
    return artifacts::to_error(failure);
  }
}

int local_verb(const std::string& verb, const std::map<std::string, std::string>& flags) {
  const auto slot = flags.contains("slot") ? flags.at("slot") : std::string("main");
  Json request = {{"op", verb}, {"slot", slot}};
  auto reply = local_request(flags.at("root"), request);
  if (!reply.ok()) return fail(reply.error());
  if (verb == "logs") {
    const std::string text = get_string(*reply, "text");
    return write_all(STDOUT_FILENO, text).ok() ? 0 : 1;
  }
  reply->erase("ok");
  return write_all(STDOUT_FILENO, dump_json(*reply, 2) + "\n").ok() ? 0 : 1;
}

}  // namespace

int agent_main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  const std::string role = args.empty() ? "" : args[0];
  if (role == "version" || role == "--version") {
    std::printf("tango-agent %s %s\n", std::string(kAgentVersion).c_str(), machine_arch().c_str());
    return 0;
  }
  if (role == "run") {
    if (args.size() < 3 || args[1] != "--") {
      std::fputs(kUsage, stderr);
      return 2;
    }
    const auto failed = run_release({args.begin() + 2, args.end()});
    fail(failed.error());
    return 127;
  }
  std::map<std::string, std::string> flags = {{"root", kDefaultRoot}};
  for (std::size_t i = 1; i < args.size(); i += 2) {
    const bool known = args[i] == "--root" || args[i] == "--slot";
    if (!known || i + 1 >= args.size()) {
      std::fprintf(stderr, "tango-agent: unknown or incomplete flag '%s'\n%s", args[i].c_str(),
                   kUsage);
      return 2;
    }
    flags[args[i].substr(2)] = args[i + 1];
  }
  const fs::path root = fs::absolute(flags.at("root"));
  flags["root"] = root.string();
  if (role == "daemon") {
    DaemonOptions options;
    options.device.root = root;
    options.device.slot.supervisor.agent_binary = own_binary();
    const auto done = run_daemon(std::move(options));
    // Losing the race for the lock is how a second start ends well.
    if (!done.ok() && done.error().reason == "AlreadyRunning") return 0;
    return done.ok() ? 0 : fail(done.error());
  }
  if (role == "serve") {
    auto peer = connect_or_start(root, own_binary(), false);
    if (!peer.ok()) return fail(peer.error());
    const auto done = proxy(STDIN_FILENO, STDOUT_FILENO, peer->get());
    return done.ok() ? 0 : fail(done.error());
  }
  if (role == "status" || role == "logs" || role == "rollback") return local_verb(role, flags);
  std::fputs(kUsage, stderr);
  return 2;
}

}  // namespace tango::agent

// The program `tango-gate`: the forced command of the operator's key. Execs the trial agent, else
// the installed one, else the one before, else answers for itself in rescue mode. It is never
// replaced by an agent upgrade, so it does as little as possible.
#include <errno.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "device-agent/agent_main.h"
#include "device-agent/identity.h"
#include "device-agent/inventory.h"
#include "device-agent/journal.h"
#include "lib/artifacts/failure.h"
#include "lib/artifacts/frame.h"
#include "lib/base/clock.h"

namespace tango::agent {
namespace {

using artifacts::FrameType;

constexpr int kTrialStarts = 3;
constexpr Nanos kTrialTime = std::chrono::minutes{10};

// Counts a start of the trial agent; false when its three starts or ten minutes are used up.
// The state file holds "<starts> <boot id> <boottime of the first start, ns>".
bool trial_allowed(const fs::path& trial) {
  if (::access(trial.c_str(), X_OK) != 0) return false;
  const fs::path state = trial.string() + ".state";
  const std::string boot = boot_id();
  int starts = 0;
  long long first = system_clock().monotonic().count();
  if (const auto text = read_file(state, 256); text.ok()) {
    char stored_boot[64] = {};
    long long stored_first = 0;
    if (std::sscanf(text->c_str(), "%d %63s %lld", &starts, stored_boot, &stored_first) == 3 &&
        boot == stored_boot) {
      first = stored_first;
    }
  }
  if (starts >= kTrialStarts || system_clock().monotonic() - Nanos{first} > kTrialTime)
    return false;
  // Written before the exec: a trial agent that kills the machine is counted too.
  return write_file_atomic(
             state, std::to_string(starts + 1) + " " + boot + " " + std::to_string(first), 0600)
      .ok();
}

void exec_agent(const fs::path& agent, const fs::path& root) {
  const std::string program = agent.string();
  const std::string folder = root.string();
  const char* argv[] = {program.c_str(), "serve", "--root", folder.c_str(), nullptr};
  ::execv(program.c_str(), const_cast<char**>(argv));
}

Json rescue_hello(const Json& request, const fs::path& root) {
  auto key = load_or_create_identity(root / "identity" / "agent.key");
  const auto nonce = from_base64(get_string(request, "nonce"));
  if (!key.ok() || !nonce.ok() || nonce->size() != 32) {
    const auto failure = artifacts::make_failure(artifacts::code::kInvalidRequest, "hello", "gate",
                                                 "no identity, or nonce is not 32 bytes in base64");
    return Json{{"ok", false}, {"failure", artifacts::encode(failure)}};
  }
  const std::string id = artifacts::device_id_of(key->public_key());
  const auto text = [](const auto& bytes) {
    return to_base64(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  };
  Json reply = {
      {"ok", true},
      {"protocol", artifacts::kProtocolVersion},
      {"device",
       {{"id", id}, {"agentKey", {{"alg", "ed25519"}, {"public", text(key->public_key())}}}}},
      {"proof", text(key->sign(artifacts::hello_proof_message(*nonce, id)))},
      {"agentVersion", ""},
      {"arch", machine_arch()},
      {"os", "linux"},
      {"bootId", boot_id()},
      {"rescue", true},
      {"features", {"status"}},
      {"limits", {{"window", artifacts::kDefaultWindow}, {"maxBodyBytes", 0}}},
      {"fleetEpoch", 0},
      {"rootVersion", 0},
      {"slots", Json::array()},
      {"outbox", Json::array()},
      {"sandbox", Json::array()}};
  if (const auto journal = DeviceJournal::open(root / "device.journal"); journal.ok()) {
    reply["fleetEpoch"] = journal->record().fleet_epoch;
    reply["rootVersion"] = journal->record().root_version;
  }
  return reply;
}

int rescue(const fs::path& root) {
  artifacts::FrameDecoder decoder;
  std::string buffer(64u << 10, '\0');
  while (true) {
    auto frame = decoder.next();
    if (!frame.ok()) return 1;
    if (!frame->has_value()) {
      const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return 0;
      decoder.feed(std::string_view(buffer).substr(0, static_cast<std::size_t>(n)));
      continue;
    }
    const artifacts::Frame& f = **frame;
    std::string out;
    if (f.type == FrameType::kPing) {
      out = artifacts::encode_frame(FrameType::kPong, f.id, f.payload);
    } else if (f.type == FrameType::kRequest) {
      const auto request = parse_json(f.payload);
      const std::string op = request.ok() ? get_string(*request, "op") : std::string{};
      Json reply;
      if (op == "hello") {
        reply = rescue_hello(*request, root);
      } else if (op == "status") {
        reply = {
            {"ok", true}, {"rescue", true}, {"slots", Json::array()}, {"outbox", Json::array()}};
      } else {
        const auto failure =
            artifacts::make_failure(artifacts::code::kUnsupported, "run", "gate",
                                    "no agent can be started on this device; the gate answers "
                                    "hello and status only: repair the device");
        reply = {{"ok", false}, {"failure", artifacts::encode(failure)}};
      }
      out = artifacts::encode_frame(FrameType::kReply, f.id, dump_json(reply));
    } else {
      continue;
    }
    if (!write_all(STDOUT_FILENO, out).ok()) return 1;
  }
}

}  // namespace

int gate_main(int argc, char** argv) {
  fs::path root;
  if (argc == 3 && std::string_view(argv[1]) == "--root") {
    root = argv[2];
  } else {
    // <root>/bin/tango-gate
    std::error_code ec;
    root = fs::read_symlink("/proc/self/exe", ec).parent_path().parent_path();
  }
  const fs::path bin = root / "bin";
  if (trial_allowed(bin / "tango-agent.trial")) exec_agent(bin / "tango-agent.trial", root);
  exec_agent(bin / "tango-agent", root);
  exec_agent(bin / "tango-agent.previous", root);
  return rescue(root);
}

}  // namespace tango::agent

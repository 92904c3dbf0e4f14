// An operator for tests of the agent: keys, bundles with a stand-in for tango-infer, and a client
// of the protocol over the daemon's socket. Used by the component and crash tests of the device
// agent.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/artifacts/bundle_store.h"
#include "lib/artifacts/frame.h"
#include "lib/artifacts/keys.h"
#include "lib/artifacts/trust_store.h"
#include "lib/base/file.h"
#include "lib/base/json.h"
#include "lib/base/subprocess.h"

namespace tango::agent::test {

using Behaviour = std::map<std::string, std::string>;

// A release with `bin/tango-infer` (the stand-in), `behaviour` and some weights.
artifacts::Bundle make_release(const fs::path& dir, const std::string& version,
                               Behaviour behaviour = {},
                               const std::function<void(artifacts::BundleSpec&)>& edit = {},
                               std::size_t weight_bytes = 300'000);

// A connection that speaks frames; every call has a deadline.
class Channel {
 public:
  Channel() = default;
  Channel(int in, int out) : in_(in), out_(out) {}
  explicit Channel(Fd socket) : in_(socket.get()), out_(socket.get()), owned_(std::move(socket)) {}
  bool open() const { return in_ >= 0; }

  // Sends a request (with its body as Data frames) and waits for the Reply. Errors: ConnectionLost,
  // Timeout. A reply with ok=false is a success of this call.
  Result<Json> request(Json request, std::string_view body = {}, Nanos timeout = Seconds{20});
  Result<std::uint32_t> begin(const Json& request);
  Status send(artifacts::FrameType type, std::uint32_t id, std::string_view payload);
  Status send_raw(std::string_view bytes);
  Result<artifacts::Frame> next(Nanos timeout);

  std::vector<Json> events;                // of the last request
  std::string body;                        // Data of the last request
  artifacts::Credit credit;                // newest
  std::vector<artifacts::Credit> credits;  // all

 private:
  Status write_bytes(std::string_view bytes);
  int in_ = -1, out_ = -1;
  Fd owned_;
  artifacts::FrameDecoder decoder_;
  std::uint32_t next_id_ = 1;
};

struct PlanOptions {
  std::string slot = "main";
  std::string config = "{}";
  std::string deployment_uid = "deployment-1";
  std::string retry_token;
  std::optional<std::uint64_t> sequence;
  std::function<void(artifacts::Assignment&)> edit;
  std::function<void(artifacts::PlanDocuments&)> tamper;  // after signing
};

class Operator {
 public:
  Operator();
  std::shared_ptr<TempDir> key_dir;  // before the keys that live in it; shared by copies
  artifacts::KeySet keys;
  std::string device_id;
  std::uint64_t epoch = 1;
  std::map<std::string, std::uint64_t> sequence;
  artifacts::TrustStore trust();

  Json hello_request() const;
  Result<Json> hello(Channel& channel);  // checks the proof, learns the id
  artifacts::PlanDocuments documents(const artifacts::Bundle& bundle, std::uint64_t sequence,
                                     const PlanOptions& options = {}) const;
  // Raises the slot's sequence unless one is given.
  Result<Json> plan(Channel& channel, const artifacts::Bundle& bundle,
                    const PlanOptions& options = {});
  // Sends the chunks of a plan's reply. `stop_after` chunks: then it returns without waiting.
  Result<Json> transfer(Channel& channel, const artifacts::Bundle& bundle, const Json& plan_reply,
                        std::optional<std::size_t> stop_after = std::nullopt,
                        const std::function<void(std::size_t, std::string&)>& corrupt = {});
  Result<Json> activate(Channel& channel, const std::string& slot, std::uint64_t sequence);
  // plan, transfer, activate: the ActivationResult, or the failing reply.
  Result<Json> deploy(Channel& channel, const artifacts::Bundle& bundle,
                      const PlanOptions& options = {});
};

// `program daemon --root`, killed at the end of its life.
class DaemonProcess {
 public:
  DaemonProcess(fs::path program, fs::path root, std::map<std::string, std::string> env = {});
  ~DaemonProcess();
  Result<Channel> connect(Nanos timeout = Seconds{10});
  void kill_now();
  bool alive();
  pid_t pid() const { return child_ ? child_->pid() : -1; }

 private:
  fs::path root_;
  std::optional<ChildProcess> child_;
};

// GET http://listen/path, "" when nothing answers.
std::string http_get(const std::string& listen, const std::string& path);
// Polls until `done` or the deadline.
bool eventually(const std::function<bool()>& done, Nanos within = Seconds{10});
fs::path agent_program();
fs::path test_program(const std::string& name);
std::string code_of(const Json& reply);  // of a refusal, "" when ok

}  // namespace tango::agent::test

// The client of the agent protocol (docs/formats/agent-protocol.md): one connection to one agent,
// after a hello that proved who it is. The operator's ssh executor and tangoctl use it. Calls are
// synchronous and one at a time (a lock; open a second session for logs during a transfer); it
// never decides whether a device should have something.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "lib/artifacts/failure.h"
#include "lib/artifacts/frame.h"
#include "lib/artifacts/signature.h"
#include "lib/base/json.h"
#include "lib/fleet/ssh.h"

namespace tango::fleet {

// Progress of anything long: phase is a word of the protocol ("transfer", "selftest", ...).
struct Progress {
  std::string phase;
  std::uint64_t done = 0;  // bytes, or percent when total is 100
  std::uint64_t total = 0;
  std::string message;
};
using ProgressFn = std::function<void(const Progress&)>;

struct HelloParams {
  std::string operator_name = "tango-operator/0.1.0";
  std::uint64_t fleet_epoch = 0;
  artifacts::SignedDocument epoch;  // make with sign_epoch()
  artifacts::SignedDocument root;   // newest
  std::vector<artifacts::SignedDocument>
      root_chain;                  // sent by rotateRoot when the agent says RootGap
  std::string expected_device_id;  // empty: first contact, whatever it proves
};
artifacts::SignedDocument sign_epoch(const artifacts::SigningKey& assignment_key,
                                     std::uint64_t epoch, TimePoint now);

struct Measured {
  std::optional<double> latency_p50_us;
  std::optional<double> latency_p95_us;
  std::optional<std::uint64_t> memory_bytes;
};

struct SlotState {
  std::string name;
  std::string state;  // Empty | Staged | Trial | Committed | RollingBack | Broken
  std::uint64_t sequence = 0;
  std::string digest;   // of the bundle index; empty: none
  std::string release;  // OCI manifest digest
  std::string deployment_uid;
  std::uint64_t generation = 0;
  std::string config_digest;
  std::string previous_digest;
  std::string previous_release;
  bool running = false;
  bool ready = false;
  std::string listen;
  std::optional<artifacts::Failure> failure;
  Measured measured;
  struct Rejected {
    std::string digest;
    std::string reason;
    std::uint64_t sequence = 0;
  };
  std::vector<Rejected> rejected;  // releases that were rolled back here
};

struct ActivationResult {
  std::string id;
  std::string slot;
  std::uint64_t sequence = 0;
  std::string digest;
  std::string outcome;  // committed | rolledBack | deferred
  std::optional<artifacts::Failure> failure;
  std::string reason;
  Nanos retry_after{};
  Measured measured;
  std::optional<Nanos> downtime;
};

struct HelloReply {
  int protocol = 0;
  std::string device_id;
  std::string agent_version;
  std::string arch;
  std::string os;
  std::string boot_id;
  bool rescue = false;
  std::vector<std::string> features;
  std::uint64_t window = artifacts::kDefaultWindow;
  std::uint64_t fleet_epoch = 0;
  std::uint64_t root_version = 0;
  std::vector<SlotState> slots;
  std::vector<ActivationResult> outbox;
  Json sandbox = Json::array();
  const SlotState* slot(std::string_view name) const;
};

struct EvaluationFile {
  std::string path;
  std::string content;
};
// Files of a tar stream (ustar and pax/GNU long names refused), with the bundle's path rules.
// Errors: InvalidTar, PathUnsafe.
Result<std::vector<EvaluationFile>> read_tar(std::string_view tar);

struct RelayRequest {
  std::string slot = "main";
  std::string method = "GET";
  std::string path = "/";
  std::map<std::string, std::string> headers;
  std::string body;
};
struct RelayReply {
  int status = 0;
  std::map<std::string, std::string> headers;
  std::string body;
};

struct LogPage {
  std::string text;
  std::string next;  // cursor
  bool truncated = false;
};

// What a call may carry besides its JSON.
struct CallOptions {
  Nanos timeout = Seconds{60};  // without any frame from the agent; a busy call may take longer
  Nanos deadline{};             // of the whole call; zero: none
  std::stop_token stop;
  std::function<void(const Json& event)> on_event;
  // Body of `size` decoded bytes, read piece by piece; sent as Data frames 0, 1, 2, ...
  std::uint64_t body_size = 0;
  std::function<Result<std::string>(std::uint64_t offset, std::size_t size)> body;
  // Chunks instead of a body: called until nullopt; gives {chunk number, bytes}.
  std::function<Result<std::optional<std::pair<std::uint32_t, std::string>>>()> next_chunk;
  std::function<void(const artifacts::Credit&)> on_credit;
};
struct CallReply {
  Json json;
  std::string body;
};

class AgentSession {
 public:
  virtual ~AgentSession() = default;
  virtual const HelloReply& hello() const = 0;

  // Any op. An {"ok": false} reply becomes the Error of its failure; last_failure() keeps all of
  // it. Errors: ConnectionLost, Timeout, ProtocolError, Cancelled, and every failure code.
  virtual Result<CallReply> call(std::string_view op, Json params, CallOptions options = {}) = 0;
  virtual std::optional<artifacts::Failure> last_failure() const = 0;

  Result<Json> inventory();
  struct StatusReply {
    std::vector<SlotState> slots;
    std::vector<ActivationResult> outbox;
    std::uint64_t free_bytes = 0;
  };
  Result<StatusReply> status();
  Result<LogPage> logs(std::string_view slot, std::string_view since, std::size_t max_bytes);
  Result<Measured> bench(std::string_view slot);
  // Answer of `tango-infer eval`: {accuracy, samples, latencyMs {p50, p95}, ...}.
  Result<Json> evaluate(std::string_view slot, std::string_view format,
                        const std::vector<EvaluationFile>& files, Nanos timeout,
                        std::stop_token stop = {});
  Result<RelayReply> relay(const RelayRequest& request, std::stop_token stop = {});
  Status remove(std::string_view slot, std::string_view deployment_uid = {});
  Result<ActivationResult> rollback(std::string_view slot);
  Status acknowledge(const std::vector<std::string>& result_ids);
  Status rotate_root(const std::vector<artifacts::SignedDocument>& chain);
  virtual Status ping(Nanos timeout = Seconds{10}) = 0;
};

// Says hello over any channel. `owner` is kept alive as long as the session (the SSH session).
Result<std::unique_ptr<AgentSession>> start_agent_session(std::unique_ptr<ByteChannel> channel,
                                                          std::shared_ptr<void> owner,
                                                          const HelloParams& hello,
                                                          std::stop_token stop = {});

struct AgentTarget {
  SshTarget ssh;
  SshCredential credential;  // the operator's own key
  HelloParams hello;
};
// SSH, exec channel (the forced command decides what runs), hello.
// Errors: those of SshSession::connect, ProtocolError, IdentityMismatch, EpochBehind, RootConflict,
// ...
Result<std::unique_ptr<AgentSession>> open_agent(const AgentTarget& target,
                                                 std::stop_token stop = {});

Result<SlotState> parse_slot(const Json& value);
Result<ActivationResult> parse_activation(const Json& value);

}  // namespace tango::fleet

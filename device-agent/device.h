// The device as a whole: identity, trust (pinned root, fleet epoch, highest-seen time), store and
// slots, and what each request of the protocol means for them. Sessions call it from many threads.
// It speaks JSON values, never frames.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "device-agent/journal.h"
#include "device-agent/slot.h"
#include "device-agent/store.h"
#include "lib/artifacts/signature.h"
#include "lib/artifacts/trust_store.h"
#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::agent {

inline constexpr std::string_view kAgentVersion = "0.1.0";

struct DeviceOptions {
  fs::path root;
  std::string arch;  // empty: of this program
  SlotOptions slot;  // for every slot
};

class Device {
 public:
  // Opens or creates everything below the root and starts what should run.
  static Result<std::unique_ptr<Device>> open(DeviceOptions options);
  ~Device();

  const std::string& id() const { return id_; }

  // Errors: ProtocolUnsupported, RootMissing, RootConflict, RootStale, RootGap, SignatureInvalid,
  // EpochBehind, InvalidRequest, ...
  Result<Json> hello(const Json& request);
  Result<Json> rotate_root(const Json& request);
  Json inventory() const;
  // `body` holds the parts of the request. Errors: see docs/formats/agent-protocol.md.
  Result<Json> plan(const Json& request, std::string_view body);
  // Errors: InvalidRequest (no such slot).
  Result<Slot*> slot(const Json& request) const;
  Json status() const;
  Status acknowledge(const Json& request);
  Result<Json> logs(const Json& request) const;
  Result<Json> evaluate(const Json& request, std::string_view body);
  struct Relayed {
    Json reply;
    std::string body;
  };
  Result<Relayed> relay(const Json& request, std::string_view body) const;

 private:
  Device(DeviceOptions options, artifacts::SigningKey key, DeviceJournal journal);
  Result<Slot*> open_slot(const std::string& name);
  Status accept_root(const Json& request);
  Status accept_epoch(const Json& request);
  Status save_root();
  Json slots_json() const;
  Json outbox_json() const;

  DeviceOptions options_;
  std::string id_;
  artifacts::SigningKey key_;
  Nanos started_;
  std::unique_ptr<Store> store_;
  mutable std::mutex mutex_;  // journal_, trust_, slots_ (slots themselves lock on their own)
  std::mutex plan_mutex_;     // verification and acceptance of a plan are one step
  Status write_journal(const DeviceRecord& record);
  DeviceJournal journal_;
  // Copy of the journal's, read by slots that hold their own lock (never the other way round).
  std::atomic<std::int64_t> highest_time_{0};
  std::optional<artifacts::TrustStore> trust_;
  std::map<std::string, std::unique_ptr<Slot>> slots_;
};

}  // namespace tango::agent

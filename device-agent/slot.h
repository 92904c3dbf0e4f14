// One slot of the device: its journal, its incoming release, its running release, and the thread
// that carries out activations, rollbacks and removals as the transition table says. Requests call
// it from any thread. It gets only verified plans; trust is decided in device.cpp.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "device-agent/health.h"
#include "device-agent/journal.h"
#include "device-agent/plan_docs.h"
#include "device-agent/store.h"
#include "device-agent/supervisor.h"
#include "device-agent/transitions.h"
#include "lib/artifacts/failure.h"
#include "lib/artifacts/trust_store.h"
#include "lib/base/json.h"

namespace tango::agent {

// What a slot asks the machine; replaced in tests.
struct Machine {
  std::function<std::uint64_t()> memory_total;
  std::function<std::uint64_t()> memory_available;
  std::function<Result<std::uint64_t>(const fs::path&)> free_bytes;
};
Machine this_machine();

struct SlotOptions {
  SupervisorOptions supervisor;
  HealthLimits health;
  Machine machine = this_machine();
  std::uint64_t disk_reserve = 16u << 20;  // kept free whatever arrives
  Nanos deadline_check = Seconds{5};       // how often a state's deadline is looked at
  Clock* clock = &system_clock();
  std::function<TimePoint()> highest_seen;  // of the device; expiry is compared with it
};

using EventSink = std::function<void(const Json&)>;

class Slot {
 public:
  // Opens the journal, recovers as the state's resume rule says, starts what should run.
  // Errors: JournalCorrupt, IoError.
  static Result<std::unique_ptr<Slot>> open(const std::string& name, Store& store,
                                            SlotOptions options);
  ~Slot();

  const std::string& name() const { return name_; }
  artifacts::SlotFacts facts() const;
  std::uint64_t security_version() const;

  // Accepts a verified plan: memory and space, documents, journal, staging. The reply of `plan`.
  // Errors: Busy, SequenceStale, ReleaseRejected, MemoryShort, DiskFull, IoError.
  Result<Json> plan(const artifacts::VerifiedPlan& plan);

  // Transfer of the staged plan. Errors: SequenceStale when `sequence` is not the incoming one.
  Result<std::uint32_t> chunk_length(std::uint64_t sequence, std::size_t i) const;
  Status put_chunk(std::uint64_t sequence, std::size_t i, std::string_view bytes);
  Status sync_chunks(std::uint64_t sequence);
  struct TransferState {
    std::size_t missing = 0;
  };
  Result<TransferState> transfer_state(std::uint64_t sequence) const;
  // Every chunk is there: Staging -> Staged. Errors: SequenceStale, Busy.
  Status finish_transfer(std::uint64_t sequence);

  // Starts or joins the activation and waits for its end; events come meanwhile. Giving up
  // (`cancelled` true) leaves it going. The ActivationResult.
  Result<Json> activate(std::uint64_t sequence, const EventSink& events,
                        const std::function<bool()>& cancelled);
  Result<Json> rollback(const EventSink& events, const std::function<bool()>& cancelled);
  Status remove(const std::string& deployment_uid);

  Json status() const;
  Json outbox() const;  // array of ActivationResult
  Status acknowledge(const std::string& id);
  Result<ReleaseLog::Piece> logs(std::optional<std::uint64_t> since, std::size_t max) const;
  Result<std::uint16_t> relay_port() const;  // errors: ReleaseNotReady
  // How to run a verb of the current release. Errors: ReleaseNotReady.
  Result<LaunchSpec> current_launch() const;
  Result<Measured> bench_current();
  const SupervisorOptions& supervisor_options() const { return options_.supervisor; }
  const HealthLimits& health_limits() const { return options_.health; }

 private:
  enum class Job { kRecover, kActivate, kRollback, kRemove };

  Slot(std::string name, Store& store, SlotOptions options, SlotJournal journal, ReleaseLog log);

  // --- all of these are called with mutex_ held ---
  Status step(SlotEvent event, const std::function<void(SlotRecord&)>& edit = {});
  Status check_fits(const artifacts::VerifiedPlan& plan, std::uint64_t required) const;
  Result<LoadedRelease> load(const std::optional<ReleaseRef>& ref) const;
  void refresh_leases(const std::optional<Lease>& extra = std::nullopt);
  artifacts::ChunkBitmap wanted_chunks(const artifacts::BundleIndex& index,
                                       const artifacts::ChunkList& list,
                                       const std::vector<artifacts::ChunkPlace>& places) const;
  Json plan_reply(const artifacts::VerifiedPlan& plan, std::string_view state,
                  std::uint64_t required) const;
  Json slot_facts_json(const ReleaseRef& ref) const;
  void take_seeds(const artifacts::ChunkList& list);
  Status open_staging(const artifacts::ChunkList& list, std::string_view bytes,
                      const artifacts::ChunkBitmap& wanted);
  void drop_staging();
  Report add_report(SlotRecord& record, Report::Kind kind, const ReleaseRef& ref,
                    const std::optional<Failure>& failure) const;
  Json report_json(const Report& report) const;
  std::optional<Json> known_outcome(std::uint64_t sequence) const;
  Result<Json> run_job(std::unique_lock<std::mutex>& lock, Job job, const EventSink& events,
                       const std::function<bool()>& cancelled);

  // --- the slot's thread ---
  void work();
  void recover(std::unique_lock<std::mutex>& lock);
  void do_activate(std::unique_lock<std::mutex>& lock);
  Status assemble(std::unique_lock<std::mutex>& lock, const LoadedRelease& candidate);
  // The gate; an error carries the failure's code, `phase` says where it happened.
  Status try_release(std::unique_lock<std::mutex>& lock, const LoadedRelease& candidate);
  Status wait_ready(std::unique_lock<std::mutex>& lock);
  Status stay_healthy(std::unique_lock<std::mutex>& lock, Nanos duration);
  void do_rollback(std::unique_lock<std::mutex>& lock);
  void do_remove(std::unique_lock<std::mutex>& lock);
  void leave(std::unique_lock<std::mutex>& lock);  // Committed/Staging/Staged -> RollingBack
  Status launch(std::unique_lock<std::mutex>& lock, const LoadedRelease& release, bool restart);
  void tidy(std::unique_lock<std::mutex>& lock);
  void check_deadline(std::unique_lock<std::mutex>& lock);
  void progress(std::string_view phase, std::string_view message = {});
  bool interrupted(std::unique_lock<std::mutex>& lock, Nanos pause);
  bool busy() const { return finished_ != job_number_; }
  Failure failure_of(const Error& error) const;
  void reject(SlotRecord& record, const LoadedRelease& release, const Failure& failure) const;

  const std::string name_;
  Store& store_;
  const SlotOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  SlotJournal journal_;
  ReleaseLog log_;
  std::unique_ptr<Supervisor> supervisor_;
  std::optional<Staging> staging_;
  std::map<std::uint64_t, LoadedRelease> loaded_;  // by sequence; those the journal names
  Nanos last_progress_{0};                         // for the state's deadline

  std::optional<Job> job_;
  std::uint64_t job_number_ = 0;  // of the job queued or running last
  std::uint64_t finished_ = 0;
  std::optional<Result<Json>> last_result_;  // of the job that ended last
  std::optional<SlotEvent> abort_;           // Rollback or Remove asked during a trial
  std::vector<Json> events_;                 // of the running job
  bool quit_ = false;
  std::string phase_;          // of the running activation, for failures
  Measured measured_;          // of the running or last trial
  Measured current_measured_;  // of the current release
  Nanos down_since_{0}, downtime_{0};
  bool trial_expired_ = false;
  bool current_untouched_ = false;  // the running trial has not stopped the current release
  std::thread thread_;
};

LaunchSpec launch_spec(const Store& store, const std::string& slot, const LoadedRelease& release);
std::uint64_t rejection_key(std::string_view deployment_uid, std::string_view retry_token);

}  // namespace tango::agent

#include "device-agent/slot.h"

#include <algorithm>

#include "device-agent/crash_point.h"
#include "lib/base/log.h"

namespace tango::agent {
namespace {

namespace code = artifacts::code;
using artifacts::ChunkBitmap;
using artifacts::VerifiedPlan;

constexpr Nanos kWaitStep = Millis{100};
// A start-up that only starts the current release is over in no time; a plan may wait for it.
constexpr Nanos kRecoverPatience = Seconds{2};

Error stale(std::uint64_t sequence) {
  return make_error(
      Code::kConflict, code::kSequenceStale,
      "sequence " + std::to_string(sequence) + " is not the incoming one of this slot");
}

std::uint64_t memory_field(std::string_view name) {
  const auto text = read_file("/proc/meminfo", 64u << 10);
  if (!text.ok()) return 0;
  const std::size_t at = text->find(name);
  if (at == std::string::npos) return 0;
  return std::strtoull(text->c_str() + at + name.size(), nullptr, 10) * 1024;
}

}  // namespace

Machine this_machine() {
  return {[] { return memory_field("MemTotal:"); }, [] { return memory_field("MemAvailable:"); },
          [](const fs::path& path) { return free_bytes(path); }};
}

std::uint64_t rejection_key(std::string_view deployment_uid, std::string_view retry_token) {
  Sha256 hash;
  hash.update(deployment_uid).update(std::string_view("\0", 1)).update(retry_token);
  const Digest digest = hash.finish();
  std::uint64_t key = 0;
  for (std::size_t i = 0; i < 8; ++i)
    key |= static_cast<std::uint64_t>(digest.bytes()[i]) << (8 * i);
  return key;
}

LaunchSpec launch_spec(const Store& store, const std::string& slot, const LoadedRelease& release) {
  LaunchSpec spec{release.ref.digest,
                  store.release_dir(release.ref.digest),
                  store.slot_dir(slot) / "run" / std::to_string(release.ref.sequence),
                  release.index->entry.argv,
                  release.config.env,
                  release.index->entry.listen == "http",
                  release.config.port.value_or(0),
                  release.index->entry.ready_path};
  spec.argv.insert(spec.argv.end(), release.config.args.begin(), release.config.args.end());
  return spec;
}

Slot::Slot(std::string name, Store& store, SlotOptions options, SlotJournal journal, ReleaseLog log)
    : name_(std::move(name)),
      store_(store),
      options_(std::move(options)),
      journal_(std::move(journal)),
      log_(std::move(log)) {}

Result<std::unique_ptr<Slot>> Slot::open(const std::string& name, Store& store,
                                         SlotOptions options) {
  const fs::path dir = store.slot_dir(name);
  TRY(make_dirs(dir, 0755));
  TRY_ASSIGN(auto journal, SlotJournal::open(dir / "journal"));
  TRY_ASSIGN(auto log, ReleaseLog::open(dir / "logs"));
  std::unique_ptr<Slot> slot(
      new Slot(name, store, std::move(options), std::move(journal), std::move(log)));
  slot->supervisor_ = std::make_unique<Supervisor>(slot->options_.supervisor, slot->log_);
  {
    const std::lock_guard lock(slot->mutex_);
    slot->refresh_leases();
    slot->job_ = Job::kRecover;
    slot->job_number_ = 1;
  }
  slot->thread_ = std::thread([self = slot.get()] { self->work(); });
  return slot;
}

Slot::~Slot() {
  {
    const std::lock_guard lock(mutex_);
    quit_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Status Slot::step(SlotEvent event, const std::function<void(SlotRecord&)>& edit) {
  SlotRecord record = journal_.record();
  const SlotState from = record.state;
  const auto next = next_state(from, event, record.current.has_value());
  if (!next) {
    return make_error(Code::kConflict, code::kBusy,
                      "slot " + name_ + " is " + std::string(to_string(from)) + "; " +
                          std::string(to_string(event)) + " is not possible now");
  }
  if (edit) edit(record);
  record.state = *next;
  const std::string name = transition_name(from, event);
  crash_point(name + ".before");
  TRY(journal_.write(std::move(record)));
  crash_point(name + ".after");
  last_progress_ = options_.clock->monotonic();
  refresh_leases();
  return ok_status();
}

Result<LoadedRelease> Slot::load(const std::optional<ReleaseRef>& ref) const {
  if (!ref)
    return make_error(Code::kNotFound, code::kNoPrevious, "slot " + name_ + " has no such release");
  if (const auto it = loaded_.find(ref->sequence);
      it != loaded_.end() && it->second.ref.digest == ref->digest) {
    return it->second;
  }
  return load_plan(store_.slot_dir(name_), *ref);
}

void Slot::refresh_leases(const std::optional<Lease>& extra) {
  const SlotRecord& record = journal_.record();
  std::map<std::uint64_t, LoadedRelease> loaded;
  std::vector<Lease> leases;
  for (const auto& ref : {record.current, record.previous, record.candidate}) {
    if (!ref) continue;
    auto release = load(ref);
    if (!release.ok()) {
      log_error("A release's documents could not be read", {{"slot", name_}, release.error()});
      continue;
    }
    leases.push_back({ref->digest, release->index});
    loaded.emplace(ref->sequence, std::move(*release));
  }
  if (extra) leases.push_back(*extra);
  loaded_ = std::move(loaded);
  store_.set_leases(name_, std::move(leases));
}

artifacts::SlotFacts Slot::facts() const {
  const std::lock_guard lock(mutex_);
  const SlotRecord& record = journal_.record();
  artifacts::SlotFacts facts;
  facts.highest_sequence = record.highest_sequence;
  for (const auto& ref : {record.candidate, record.current}) {
    if (!ref || ref->sequence != record.highest_sequence) continue;
    facts.bundle_at_highest = ref->digest;
    if (auto digest = Digest::parse(ref->config_digest); digest.ok())
      facts.config_at_highest = *digest;
  }
  return facts;
}

std::uint64_t Slot::security_version() const {
  const std::lock_guard lock(mutex_);
  return journal_.record().security_version;
}

ChunkBitmap Slot::wanted_chunks(const artifacts::BundleIndex& index,
                                const artifacts::ChunkList& list,
                                const std::vector<artifacts::ChunkPlace>& places) const {
  std::vector<bool> held(index.files.size());
  for (std::size_t i = 0; i < held.size(); ++i) held[i] = store_.has_file(index.files[i]);
  ChunkBitmap wanted(list.chunks.size());
  std::unordered_map<Digest, std::size_t> first;
  for (std::size_t i = 0; i < list.chunks.size(); ++i) {
    if (held[places[i].file]) continue;
    if (first.emplace(list.chunks[i].hash, i).second) wanted.set(i);
  }
  return wanted;
}

void Slot::take_seeds(const artifacts::ChunkList& list) {
  struct Seed {
    Digest release;
    std::string path;
    std::uint64_t offset;
  };
  std::unordered_map<Digest, Seed> seeds;
  const SlotRecord& record = journal_.record();
  for (const auto& ref : {record.current, record.previous}) {
    if (!ref) continue;
    const auto it = loaded_.find(ref->sequence);
    if (it == loaded_.end()) continue;
    const auto chunks = load_chunks(it->second);
    if (!chunks.ok()) continue;
    for (std::size_t i = 0; i < chunks->list.chunks.size(); ++i) {
      const auto& place = chunks->places[i];
      seeds.emplace(chunks->list.chunks[i].hash,
                    Seed{ref->digest, it->second.index->files[place.file].path, place.offset});
    }
  }
  for (std::size_t i = 0; i < list.chunks.size() && !seeds.empty(); ++i) {
    if (!staging_->wants(i) || staging_->has(i)) continue;
    const auto seed = seeds.find(list.chunks[i].hash);
    if (seed == seeds.end()) continue;
    const auto bytes = store_.read_range(seed->second.release, seed->second.path,
                                         seed->second.offset, list.chunks[i].length);
    // A seed that cannot be read or rotted is no error: the chunk is asked for instead.
    if (bytes.ok()) (void)staging_->put(i, *bytes);
  }
}

Status Slot::open_staging(const artifacts::ChunkList& list, std::string_view bytes,
                          const ChunkBitmap& wanted) {
  staging_.reset();
  TRY_ASSIGN(staging_, Staging::open(store_.staging_dir(), name_, bytes, list, wanted));
  take_seeds(list);
  return staging_->sync();
}

void Slot::drop_staging() {
  staging_.reset();
  if (auto gone = Staging::remove(store_.staging_dir(), name_); !gone.ok()) {
    log_warn("Staging could not be removed", {{"slot", name_}, gone.error()});
  }
  crash_point(point::kStagingRemoved);
}

Status Slot::check_fits(const VerifiedPlan& plan, std::uint64_t required) const {
  const std::uint64_t memory = plan.index->resources.memory_bytes;
  // The running release may be stopped first, so its memory counts as available.
  const std::uint64_t reachable =
      std::min(options_.machine.memory_total(),
               options_.machine.memory_available() + supervisor_->peak_rss());
  if (memory > reachable) {
    return make_error(Code::kExhausted, code::kMemoryShort,
                      "the release needs " + std::to_string(memory) + " bytes of memory, " +
                          std::to_string(reachable) + " can be made available");
  }
  TRY_ASSIGN(std::uint64_t free, options_.machine.free_bytes(store_.root()));
  if (staging_) free += staging_->file_bytes();  // of the release that this one supersedes
  if (required > 0 && required + options_.disk_reserve > free) {
    return make_error(Code::kExhausted, code::kDiskFull,
                      "the release needs " + std::to_string(required) + " bytes and a reserve of " +
                          std::to_string(options_.disk_reserve) + "; " + std::to_string(free) +
                          " are free, " + std::to_string(required + options_.disk_reserve - free) +
                          " are missing below " + store_.root().string());
  }
  return ok_status();
}

Json Slot::plan_reply(const VerifiedPlan& plan, std::string_view state,
                      std::uint64_t required) const {
  Json held = Json::array();
  std::vector<std::string> names;
  for (const auto& file : plan.index->files) {
    if (store_.has_file(file)) names.push_back(file.sha256.hex());
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (std::string& name : names) held.push_back(std::move(name));
  const ChunkBitmap missing =
      staging_ ? staging_->missing() : ChunkBitmap(plan.chunks->chunks.size());
  const auto free = options_.machine.free_bytes(store_.root());
  return Json{{"slot", name_},
              {"sequence", plan.assignment->sequence},
              {"digest", plan.index.digest().to_string()},
              {"state", state},
              {"needed",
               {{"chunks", missing.count()},
                {"bytes", staging_ ? staging_->missing_bytes() : 0},
                {"bitmap", to_base64(missing.bytes())}}},
              {"held", std::move(held)},
              {"freeBytes", free.ok() ? *free : 0},
              {"requiredBytes", required}};
}

Result<Json> Slot::plan(const VerifiedPlan& plan) {
  std::unique_lock lock(mutex_);
  if (busy() && job_ == Job::kRecover) {
    changed_.wait_for(lock, kRecoverPatience, [&] { return quit_ || !busy(); });
  }
  const SlotRecord& record = journal_.record();
  const artifacts::Assignment& assignment = *plan.assignment;
  if (busy() && job_ == Job::kActivate && record.candidate &&
      record.candidate->sequence == assignment.sequence) {
    // Sent again over a new channel while its activation goes on: `activate` joins that.
    return plan_reply(plan, "Complete", 0);
  }
  if (busy() || record.state == SlotState::kTrial || record.state == SlotState::kRollingBack ||
      record.state == SlotState::kRemoving) {
    return make_error(Code::kUnavailable, code::kBusy,
                      "slot " + name_ + " is " + std::string(to_string(record.state)) +
                          " and takes no plan until that has ended");
  }
  if (assignment.sequence < record.highest_sequence) return stale(assignment.sequence);
  const Digest& digest = plan.index.digest();
  if (record.current && record.current->sequence == assignment.sequence) {
    staging_.reset();
    return plan_reply(plan, "Current", 0);
  }
  const std::uint64_t key = rejection_key(assignment.deployment_uid, assignment.retry_token);
  for (const Rejected& rejected : record.rejected) {
    if (rejected.digest == digest && rejected.key == key) {
      return make_error(Code::kInvalid, code::kReleaseRejected,
                        "release " + digest.short_hex() + " was rolled back here with " +
                            rejected.code + " (sequence " + std::to_string(rejected.sequence) +
                            "); it is tried again only with another digest or retryToken");
    }
  }
  const bool resume = record.candidate && record.candidate->sequence == assignment.sequence;
  if (resume && record.state == SlotState::kStaged) return plan_reply(plan, "Complete", 0);

  refresh_leases(Lease{digest, std::make_shared<const artifacts::BundleIndex>(*plan.index)});
  const ChunkBitmap wanted = wanted_chunks(*plan.index, *plan.chunks, plan.places);
  std::uint64_t required = store_.missing_file_bytes(*plan.index);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted.get(i)) required += plan.chunks->chunks[i].length;
  }
  if (!resume) {
    TRY(check_fits(plan, required));
    TRY(save_plan(store_.slot_dir(name_), plan));
    const ReleaseRef ref{digest,
                         assignment.sequence,
                         plan.index->security_version,
                         assignment.generation,
                         assignment.deployment_uid,
                         assignment.config_digest.to_string()};
    TRY(step(SlotEvent::kPlan, [&](SlotRecord& r) {
      r.candidate = ref;
      r.highest_sequence = assignment.sequence;
    }));
  }
  if (auto opened = open_staging(*plan.chunks, plan.chunks.bytes(), wanted); !opened.ok()) {
    const Error error = opened.error();
    (void)step(SlotEvent::kAbandon, [&](SlotRecord& r) {
      r.candidate.reset();
      r.last_failure = artifacts::failure_from(error, "plan", "agent");
    });
    drop_staging();
    return error;
  }
  if (staging_->complete()) {
    TRY(step(SlotEvent::kComplete));
    return plan_reply(plan, "Complete", required);
  }
  return plan_reply(plan, "Needed", required);
}

Result<std::uint32_t> Slot::chunk_length(std::uint64_t sequence, std::size_t i) const {
  const std::lock_guard lock(mutex_);
  const auto& candidate = journal_.record().candidate;
  if (!candidate || candidate->sequence != sequence || !staging_) return stale(sequence);
  return staging_->chunk_length(i);
}

Status Slot::put_chunk(std::uint64_t sequence, std::size_t i, std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  const auto& candidate = journal_.record().candidate;
  if (!candidate || candidate->sequence != sequence || !staging_) return stale(sequence);
  TRY(staging_->put(i, bytes));
  last_progress_ = options_.clock->monotonic();
  return ok_status();
}

Status Slot::sync_chunks(std::uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  const auto& candidate = journal_.record().candidate;
  if (!candidate || candidate->sequence != sequence || !staging_) return stale(sequence);
  return staging_->sync();
}

Result<Slot::TransferState> Slot::transfer_state(std::uint64_t sequence) const {
  const std::lock_guard lock(mutex_);
  const SlotRecord& record = journal_.record();
  if (!record.candidate || record.candidate->sequence != sequence) return stale(sequence);
  if (record.state == SlotState::kStaged) return TransferState{0};
  if (!staging_) return stale(sequence);
  return TransferState{staging_->missing_chunks()};
}

Status Slot::finish_transfer(std::uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  const SlotRecord& record = journal_.record();
  if (!record.candidate || record.candidate->sequence != sequence) return stale(sequence);
  if (record.state == SlotState::kStaged) return ok_status();
  if (!staging_ || !staging_->complete()) {
    return make_error(Code::kInvalid, code::kInvalidRequest, "chunks are still missing");
  }
  TRY(staging_->sync());
  return step(SlotEvent::kComplete);
}

Report Slot::add_report(SlotRecord& record, Report::Kind kind, const ReleaseRef& ref,
                        const std::optional<Failure>& failure) const {
  Report report{
      record.next_report++,
      ref.sequence,
      ref.digest,
      kind,
      std::chrono::duration_cast<Seconds>(options_.clock->now().time_since_epoch()).count(),
      static_cast<std::uint32_t>(std::min<std::int64_t>(downtime_ / Millis{1}, UINT32_MAX)),
      measured_.p50_us,
      measured_.p95_us,
      measured_.iterations,
      measured_.memory_bytes,
      failure};
  record.outbox.push_back(report);
  while (record.outbox.size() > kMaxOutbox) record.outbox.erase(record.outbox.begin());
  return report;
}

Json Slot::report_json(const Report& report) const {
  Json out = {{"id", name_ + "-" + std::to_string(report.id)},
              {"slot", name_},
              {"sequence", report.sequence},
              {"digest", report.digest.to_string()},
              {"outcome", to_string(report.kind)},
              {"downtimeMs", report.downtime_ms},
              {"at", format_time(TimePoint{Seconds{report.at}})}};
  if (report.failure) {
    out["failure"] = artifacts::encode(*report.failure);
  } else if (report.kind == Report::Kind::kRolledBack) {
    out["reason"] = "Requested";
  }
  const Measured measured{report.p50_us, report.p95_us, report.iterations, report.memory_bytes};
  if (measured.any()) out["measured"] = to_json(measured);
  return out;
}

Json Slot::outbox() const {
  const std::lock_guard lock(mutex_);
  Json out = Json::array();
  for (const Report& report : journal_.record().outbox) out.push_back(report_json(report));
  return out;
}

Status Slot::acknowledge(const std::string& id) {
  const std::lock_guard lock(mutex_);
  SlotRecord record = journal_.record();
  const auto it = std::find_if(record.outbox.begin(), record.outbox.end(), [&](const Report& r) {
    return name_ + "-" + std::to_string(r.id) == id;
  });
  if (it == record.outbox.end()) return ok_status();  // acknowledged before
  record.outbox.erase(it);
  return journal_.write(std::move(record));
}

std::optional<Json> Slot::known_outcome(std::uint64_t sequence) const {
  const SlotRecord& record = journal_.record();
  for (auto it = record.outbox.rbegin(); it != record.outbox.rend(); ++it) {
    if (it->sequence == sequence) return report_json(*it);
  }
  if (record.current && record.current->sequence == sequence) {
    return Json{{"id", ""},
                {"slot", name_},
                {"sequence", sequence},
                {"digest", record.current->digest.to_string()},
                {"outcome", "committed"}};
  }
  for (const Rejected& rejected : record.rejected) {
    if (rejected.sequence != sequence) continue;
    Failure failure =
        artifacts::make_failure(rejected.code, "health", "agent", "rolled back earlier");
    if (record.last_failure) failure = *record.last_failure;
    return Json{{"id", ""},
                {"slot", name_},
                {"sequence", sequence},
                {"digest", rejected.digest.to_string()},
                {"outcome", "rolledBack"},
                {"failure", artifacts::encode(failure)}};
  }
  return std::nullopt;
}

Result<Json> Slot::run_job(std::unique_lock<std::mutex>& lock, Job job, const EventSink& events,
                           const std::function<bool()>& cancelled) {
  if (!busy()) {
    job_ = job;
    ++job_number_;
    events_.clear();
    last_result_.reset();
    changed_.notify_all();
  }
  const std::uint64_t number = job_number_;
  std::size_t sent = 0;
  while (true) {
    while (number == job_number_ && sent < events_.size()) {
      const Json event = events_[sent++];
      lock.unlock();
      if (events) events(event);
      lock.lock();
    }
    if (finished_ >= number) break;
    if (quit_ || (cancelled && cancelled())) {
      return make_error(Code::kCancelled, code::kCancelled,
                        "the wait was given up; the work goes on");
    }
    changed_.wait_for(lock, kWaitStep);
  }
  if (!last_result_)
    return make_error(Code::kInternal, code::kInternal, "the work ended without a result");
  return *last_result_;
}

Result<Json> Slot::activate(std::uint64_t sequence, const EventSink& events,
                            const std::function<bool()>& cancelled) {
  std::unique_lock lock(mutex_);
  const SlotRecord& record = journal_.record();
  if (record.candidate && record.candidate->sequence == sequence) {
    if (!busy() && record.state == SlotState::kStaging) {
      return make_error(
          Code::kInvalid, code::kInvalidRequest,
          "the transfer of sequence " + std::to_string(sequence) + " is not complete");
    }
    return run_job(lock, Job::kActivate, events, cancelled);
  }
  if (auto outcome = known_outcome(sequence)) return *outcome;
  return stale(sequence);
}

Result<Json> Slot::rollback(const EventSink& events, const std::function<bool()>& cancelled) {
  std::unique_lock lock(mutex_);
  const SlotRecord& record = journal_.record();
  if (busy()) {
    if (record.state == SlotState::kTrial || record.state == SlotState::kStaged) {
      abort_ = SlotEvent::kRollback;
      changed_.notify_all();
    }
    return run_job(lock, Job::kRollback, events, cancelled);
  }
  if (!record.previous) {
    return make_error(Code::kNotFound, code::kNoPrevious,
                      "slot " + name_ + " has no previous release");
  }
  return run_job(lock, Job::kRollback, events, cancelled);
}

Status Slot::remove(const std::string& deployment_uid) {
  std::unique_lock lock(mutex_);
  const auto owned = [&] {
    const auto& current = journal_.record().current;
    return deployment_uid.empty() || !current || current->deployment_uid == deployment_uid;
  };
  if (!owned()) {
    return make_error(Code::kConflict, code::kAssignmentMismatch,
                      "the release of slot " + name_ + " belongs to another deployment");
  }
  while (busy() && !quit_) {
    const SlotState state = journal_.record().state;
    if (state == SlotState::kTrial || state == SlotState::kStaged) {
      abort_ = SlotEvent::kRemove;
      changed_.notify_all();
    }
    changed_.wait_for(lock, kWaitStep);
  }
  const SlotRecord& record = journal_.record();
  if (!owned() || (record.state == SlotState::kIdle && !record.current && !record.candidate))
    return ok_status();
  auto removed = run_job(lock, Job::kRemove, {}, {});
  if (!removed.ok()) return std::move(removed).error();
  return ok_status();
}

Json Slot::slot_facts_json(const ReleaseRef& ref) const {
  Json out = {{"digest", ref.digest.to_string()},    {"release", ""},
              {"deploymentUid", ref.deployment_uid}, {"generation", ref.generation},
              {"configDigest", ref.config_digest},   {"securityVersion", ref.security_version}};
  if (const auto it = loaded_.find(ref.sequence); it != loaded_.end()) {
    out["display"] = it->second.index->display_version;
    if (it->second.assignment) out["release"] = it->second.assignment->release;
  }
  return out;
}

Json Slot::status() const {
  const ProcessState process = supervisor_->state();
  const bool ready = process.running && supervisor_->ready();
  const std::lock_guard lock(mutex_);
  const SlotRecord& record = journal_.record();
  std::string_view state = to_string(record.state);
  if (record.state == SlotState::kIdle || record.state == SlotState::kRemoving) state = "Empty";
  if (record.state == SlotState::kStaging) state = record.current ? "Committed" : "Empty";
  Json out = {{"name", name_},
              {"state", state},
              {"sequence", record.highest_sequence},
              {"running", process.running},
              {"ready", ready},
              {"restarts", process.restarts}};
  if (record.current) out.update(slot_facts_json(*record.current));
  if (record.previous) {
    const Json previous = slot_facts_json(*record.previous);
    out["previous"] = {{"digest", previous.at("digest")}, {"release", previous.at("release")}};
  }
  if (record.candidate && record.state != SlotState::kRollingBack) {
    out["staged"] = {{"digest", record.candidate->digest.to_string()},
                     {"sequence", record.candidate->sequence}};
  }
  if (process.running && process.port != 0)
    out["listen"] = "127.0.0.1:" + std::to_string(process.port);
  if (!process.last_exit.empty()) out["lastExit"] = process.last_exit;
  if (record.last_failure) out["failure"] = artifacts::encode(*record.last_failure);
  if (current_measured_.any()) out["measured"] = to_json(current_measured_);
  Json rejected = Json::array();
  for (const Rejected& r : record.rejected) {
    rejected.push_back(
        {{"digest", r.digest.to_string()}, {"reason", r.code}, {"sequence", r.sequence}});
  }
  out["rejected"] = std::move(rejected);
  return out;
}

Result<ReleaseLog::Piece> Slot::logs(std::optional<std::uint64_t> since, std::size_t max) const {
  return log_.read(since, max);
}

Result<std::uint16_t> Slot::relay_port() const {
  const ProcessState process = supervisor_->state();
  const std::lock_guard lock(mutex_);
  const auto& current = journal_.record().current;
  if (!process.running || process.port == 0 || !current || !process.digest ||
      *process.digest != current->digest) {
    return make_error(Code::kUnavailable, code::kReleaseNotReady,
                      "no committed release with a port runs in slot " + name_);
  }
  return process.port;
}

Result<LaunchSpec> Slot::current_launch() const {
  const std::lock_guard lock(mutex_);
  auto release = load(journal_.record().current);
  if (!release.ok()) {
    return make_error(Code::kUnavailable, code::kReleaseNotReady,
                      "slot " + name_ + " has no committed release");
  }
  return launch_spec(store_, name_, *release);
}

Result<Measured> Slot::bench_current() {
  TRY_ASSIGN(const LaunchSpec spec, current_launch());
  TRY_ASSIGN(const Measured measured, bench(options_.supervisor, spec, options_.health));
  const std::lock_guard lock(mutex_);
  current_measured_ = measured;
  return measured;
}

}  // namespace tango::agent

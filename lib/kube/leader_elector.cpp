#include "lib/kube/leader_elector.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/kube-types/core.h"
#include "lib/kube/runtime_metrics.h"

namespace tango::kube {
namespace {

const WriteOptions kWrite{.field_manager = "tango-leader-election", .strict = false};

std::string default_identity() {
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  return std::string(host) + "_" + std::to_string(::getpid()) + "_" +
         random_suffix(system_random(), 6);
}

std::int64_t epoch_of(const Json& lease) {
  const Json& annotations = at_path(lease, "metadata.annotations");
  const std::string text = get_string(annotations, kFleetEpochAnnotation);
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return std::max<std::int64_t>(value, 0);
}
void set_epoch(Json& lease, std::int64_t epoch) {
  lease["metadata"]["annotations"][std::string(kFleetEpochAnnotation)] = std::to_string(epoch);
}

std::int64_t whole_seconds(Nanos d) { return std::chrono::duration_cast<Seconds>(d).count(); }

}  // namespace

LeaderElector::LeaderElector(KubeClient& client, const LeaderElectionOptions& options, Clock& clock,
                             MetricsRegistry& metrics)
    : client_(client),
      options_(options),
      identity_(options.identity.empty() ? default_identity() : options.identity),
      clock_(clock),
      metrics_(metrics) {
  declare_leader_metrics(metrics_, options_.name);
}

Result<Json> LeaderElector::read() { return client_.get(Lease::kKind, options_.ns, options_.name); }

Status LeaderElector::create_lease(std::int64_t epoch, bool hold) {
  const std::string now = format_time_micro(clock_.now());
  Json lease = {{"apiVersion", "coordination.k8s.io/v1"},
                {"kind", "Lease"},
                {"metadata", {{"name", options_.name}, {"namespace", options_.ns}}},
                {"spec",
                 {{"holderIdentity", hold ? identity_ : ""},
                  {"leaseDurationSeconds", hold ? whole_seconds(options_.lease) : 1},
                  {"acquireTime", now},
                  {"renewTime", now},
                  {"leaseTransitions", 0}}}};
  set_epoch(lease, epoch);
  auto created = client_.create(Lease::kKind, lease, kWrite);
  if (!created.ok() && created.error().code == Code::kNotFound) {
    const Json ns = {
        {"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", options_.ns}}}};
    if (auto made = client_.create(Namespace::kKind, ns, kWrite);
        made.ok() || made.error().code == Code::kExists) {
      created = client_.create(Lease::kKind, lease, kWrite);
    }
  }
  if (!created.ok()) return std::move(created).error();
  return ok_status();
}

Result<Json> LeaderElector::write(Json lease) {
  lease["apiVersion"] = "coordination.k8s.io/v1";
  lease["kind"] = "Lease";
  return client_.update(Lease::kKind, lease, kWrite);  // carries resourceVersion: compare-and-swap
}

void LeaderElector::became(bool leading, std::int64_t epoch, Nanos renewed) {
  std::lock_guard lock(mutex_);
  if (leading && !leading_) {
    log_info("Leadership acquired",
             {{"lease", options_.name}, {"identity", identity_}, {"epoch", epoch}});
  }
  if (!leading && leading_)
    log_warn("Leadership lost", {{"lease", options_.name}, {"identity", identity_}});
  leading_ = leading;
  if (leading) {
    epoch_ = std::max(epoch_, epoch);
    renewed_ = renewed;
  }
  metrics_.set(metric::kLeader, {{"name", options_.name}}, leading ? 1 : 0);
}

LeaderElector::Try LeaderElector::try_once() {
  std::lock_guard busy(busy_);
  // The renewal counts from before the request: the server may have seen it as early as that.
  const Nanos now = clock_.monotonic();
  bool leading = false;
  {
    std::lock_guard lock(mutex_);
    leading = leading_;
  }
  auto lease = read();
  if (!lease.ok()) {
    if (lease.error().code != Code::kNotFound) return Try::kFailed;
    // After a loss of the whole store the epoch must not fall back.
    const std::int64_t next = epoch() + 1;
    const auto created = create_lease(next, true);
    if (!created.ok()) {
      if (created.error().code == Code::kExists) return Try::kTaken;
      log_warn("Lease could not be created", {{"namespace", options_.ns}, created.error()});
      return Try::kFailed;
    }
    became(true, next, now);
    return Try::kHeld;
  }
  Json& spec = (*lease)["spec"];
  const std::string holder = get_string(spec, "holderIdentity");
  const std::string record = dump_json(spec);
  if (record != observed_record_) {
    observed_record_ = record;
    observed_at_ = now;
  }
  const Nanos duration =
      Seconds{get_int(spec, "leaseDurationSeconds", whole_seconds(options_.lease))};
  if (!holder.empty() && holder != identity_) {
    if (leading) became(false, 0, now);
    if (now - observed_at_ < duration) return Try::kTaken;
  }
  const std::string wall = format_time_micro(clock_.now());
  const bool renewal = leading && holder == identity_;
  const std::int64_t next_epoch =
      renewal ? epoch_of(*lease) : std::max(epoch_of(*lease), epoch()) + 1;
  if (!renewal) {
    spec["acquireTime"] = wall;
    spec["leaseTransitions"] = get_int(spec, "leaseTransitions") + (holder == identity_ ? 0 : 1);
    set_epoch(*lease, next_epoch);
  }
  spec["holderIdentity"] = identity_;
  spec["leaseDurationSeconds"] = whole_seconds(options_.lease);
  spec["renewTime"] = wall;
  auto written = write(std::move(*lease));
  if (!written.ok()) return written.error().code == Code::kConflict ? Try::kTaken : Try::kFailed;
  observed_record_ = dump_json(get(*written, "spec"));
  observed_at_ = now;
  became(true, next_epoch, now);
  return Try::kHeld;
}

bool LeaderElector::holding() const {
  const Nanos now = clock_.monotonic();
  std::lock_guard lock(mutex_);
  return leading_ && now - renewed_ < options_.renew;
}

void LeaderElector::release() {
  std::lock_guard busy(busy_);
  if (!holding()) return became(false, 0, {});
  {
    std::lock_guard lock(mutex_);
    leading_ = false;  // given up, not lost
  }
  if (auto lease = read();
      lease.ok() && get_string(get(*lease, "spec"), "holderIdentity") == identity_) {
    Json& spec = (*lease)["spec"];
    spec["holderIdentity"] = "";
    spec["leaseDurationSeconds"] = 1;
    spec["renewTime"] = format_time_micro(clock_.now());
    if (const auto written = write(std::move(*lease)); written.ok()) {
      log_info("Leadership released", {{"lease", options_.name}, {"identity", identity_}});
    } else {
      log_warn("Lease could not be released", {written.error()});
    }
  }
  became(false, 0, {});
}

Result<std::int64_t> LeaderElector::raise_epoch(std::int64_t floor) {
  std::lock_guard busy(busy_);
  if (options_.enabled && !holding()) {
    return make_error(Code::kConflict, "NotLeader", "only the leader raises the fleet epoch");
  }
  TRY_ASSIGN(Json lease, read());
  if (options_.enabled && get_string(get(lease, "spec"), "holderIdentity") != identity_) {
    return make_error(Code::kConflict, "NotLeader", "the lease went to somebody else");
  }
  const std::int64_t next = std::max({epoch_of(lease), epoch(), floor}) + 1;
  set_epoch(lease, next);
  TRY_ASSIGN(Json written, write(std::move(lease)));
  std::lock_guard lock(mutex_);
  epoch_ = next;
  return next;
}

Status LeaderElector::raise_without_holding() {
  auto lease = read();
  if (!lease.ok()) {
    if (lease.error().code != Code::kNotFound) return std::move(lease).error();
    TRY(create_lease(1, false));
    std::lock_guard lock(mutex_);
    epoch_ = 1;
    return ok_status();
  }
  auto raised = raise_epoch(0);
  if (!raised.ok()) return std::move(raised).error();
  return ok_status();
}

std::int64_t LeaderElector::epoch() const {
  std::lock_guard lock(mutex_);
  return epoch_;
}

}  // namespace tango::kube

// batch/v1 Jobs: pods until `completions` have succeeded or more than `backoffLimit` have failed.
#include <algorithm>
#include <cmath>

#include "standalone/controllers.h"

namespace tango::standalone {
namespace {

constexpr std::int64_t kMaxParallel = 64;  // pods of one job at once on one machine
constexpr double kFirstBackoffSeconds = 10, kMaxBackoffSeconds = 360;
constexpr const char* kManager = "job-controller";

struct PodCount {
  std::vector<const StoredObject*> active;
  std::int64_t succeeded = 0, failed = 0, ready = 0, terminating = 0;
  TimePoint last_failure{};
};

bool finished(const Json& job) {
  for (const Json& c : get(get(job, "status"), "conditions")) {
    std::string type = get_string(c, "type");
    if ((type == "Complete" || type == "Failed") && get_string(c, "status") == "True") return true;
  }
  return false;
}

TimePoint finished_at(const Json& status) {
  for (const Json& c : get(status, "conditions")) {
    std::string type = get_string(c, "type");
    if ((type == "Complete" || type == "Failed") && get_string(c, "status") == "True") {
      auto t = parse_time(get_string(c, "lastTransitionTime"));
      if (t.ok()) return *t;
    }
  }
  return {};
}

Json pod_of(const Json& job) {
  const Json& tmpl = get(get(job, "spec"), "template");
  const Json& meta = get(job, "metadata");
  Json pod = {
      {"metadata", get(tmpl, "metadata").is_object() ? get(tmpl, "metadata") : Json::object()},
      {"spec", get(tmpl, "spec")}};
  Json& m = pod["metadata"];
  for (const char* key : {"creationTimestamp", "name", "namespace"}) m.erase(key);
  m["generateName"] = get_string(meta, "name") + "-";
  m["ownerReferences"] = Json::array({{{"apiVersion", "batch/v1"},
                                       {"kind", "Job"},
                                       {"name", get_string(meta, "name")},
                                       {"uid", get_string(meta, "uid")},
                                       {"controller", true},
                                       {"blockOwnerDeletion", true}}});
  return pod;
}

PodCount count_pods(const std::vector<ObjectPtr>& pods, const std::string& uid) {
  PodCount n;
  for (const ObjectPtr& p : pods) {
    const Json& pod = p->body();
    bool mine = false;
    for (const Json& o : get(get(pod, "metadata"), "ownerReferences"))
      mine = mine || (get_string(o, "uid") == uid && get_bool(o, "controller"));
    if (!mine) continue;
    const Json& status = get(pod, "status");
    std::string phase = get_string(status, "phase");
    if (phase == "Succeeded") {
      ++n.succeeded;
    } else if (phase == "Failed") {
      ++n.failed;
      for (const Json& c : get(status, "containerStatuses")) {
        auto t = parse_time(get_string(get(get(c, "state"), "terminated"), "finishedAt"));
        if (t.ok()) n.last_failure = std::max(n.last_failure, *t);
      }
    } else if (get(pod, "metadata").contains("deletionTimestamp")) {
      ++n.terminating;
    } else {
      n.active.push_back(p.get());
      for (const Json& c : get(status, "conditions"))
        n.ready += get_string(c, "type") == "Ready" && get_string(c, "status") == "True";
    }
  }
  return n;
}

}  // namespace

std::optional<Nanos> Controllers::reconcile_job(const std::string& ns, const std::string& name) {
  ObjectPtr stored = store_.get("batch/jobs", ns, name);
  if (!stored) return std::nullopt;
  const Json job = stored->body();
  const TimePoint now = operations_.clock().now();
  if (get(job, "metadata").contains("deletionTimestamp")) return std::nullopt;
  const Json& spec = job["spec"];
  ResourcePtr pods = builtin_resource(operations_, "", "pods");
  ResourcePtr jobs = builtin_resource(operations_, "batch", "jobs");
  const std::string uid = get_string(job["metadata"], "uid");
  auto snapshot = store_.list("/pods", ns);
  PodCount n = count_pods(snapshot.objects, uid);

  if (finished(job)) {
    const Json& ttl = get(spec, "ttlSecondsAfterFinished");
    if (!ttl.is_number()) return std::nullopt;
    Nanos left = finished_at(get(job, "status")) + Seconds{ttl.get<std::int64_t>()} - now;
    if (left > Nanos{0}) return left;
    DeleteRequest q;
    q.uid = uid;
    operations_.remove(*jobs, ns, name, q);
    return std::nullopt;
  }

  Json status = get(job, "status").is_object() ? get(job, "status") : Json::object();
  const bool suspended = get_bool(spec, "suspend");
  const std::int64_t completions = get_int(spec, "completions", 0);  // 0: any success ends it
  const std::int64_t parallelism = std::min(get_int(spec, "parallelism", 1), kMaxParallel);
  std::optional<Nanos> again;
  std::string failure, failure_text;
  auto remove_active = [&] {
    for (const StoredObject* p : n.active) {
      try {
        operations_.remove(*pods, p->ns, p->name, {});
      } catch (const ApiError& e) {
        if (e.code != 404) throw;
      }
    }
    n.terminating += static_cast<std::int64_t>(n.active.size());
    n.active.clear();
    n.ready = 0;
  };

  if (suspended) {
    if (!n.active.empty()) remove_active();
    status.erase("startTime");
    bool was = false;
    for (const Json& c : get(status, "conditions"))
      was = was || (get_string(c, "type") == "Suspended" && get_string(c, "status") == "True");
    put_condition(status["conditions"], "Suspended", true, "JobSuspended", "Job suspended", now);
    if (!was) record_event(operations_, job, "Normal", "Suspended", "Job suspended", kManager);
  } else {
    for (const Json& c : get(status, "conditions")) {
      if (get_string(c, "type") == "Suspended" && get_string(c, "status") == "True") {
        put_condition(status["conditions"], "Suspended", false, "JobResumed", "Job resumed", now);
        break;
      }
    }
    if (!status.contains("startTime")) status["startTime"] = format_time(now);
    const Json& deadline = get(spec, "activeDeadlineSeconds");
    if (deadline.is_number()) {
      Nanos left = parse_time(get_string(status, "startTime")).value_or(now) +
                   Seconds{deadline.get<std::int64_t>()} - now;
      if (left <= Nanos{0}) {
        failure = "DeadlineExceeded";
        failure_text = "Job was active longer than specified deadline";
      } else {
        again = left;
      }
    }
    if (failure.empty() && n.failed > get_int(spec, "backoffLimit", 6)) {
      failure = "BackoffLimitExceeded";
      failure_text = "Job has reached the specified backoff limit";
    }
    const bool complete =
        completions > 0 ? n.succeeded >= completions : n.succeeded > 0 && n.active.empty();
    if (!failure.empty()) {
      remove_active();
      put_condition(status["conditions"], "Failed", true, failure, failure_text, now);
      record_event(operations_, job, "Warning", failure, failure_text, kManager);
    } else if (complete) {
      if (!n.active.empty()) remove_active();
      put_condition(status["conditions"], "Complete", true, "", "", now);
      status["completionTime"] = format_time(now);
      record_event(operations_, job, "Normal", "Completed", "Job completed", kManager);
    } else {
      std::int64_t want = completions > 0 ? std::min(parallelism, completions - n.succeeded)
                                          : (n.succeeded > 0 ? 0 : parallelism);
      std::int64_t missing = want - static_cast<std::int64_t>(n.active.size()) - n.terminating;
      if (missing > 0 && n.failed > 0) {
        // A failed pod is replaced after an exponential delay.
        double seconds =
            std::min(kFirstBackoffSeconds * std::pow(2.0, static_cast<double>(n.failed - 1)),
                     kMaxBackoffSeconds);
        Nanos left = n.last_failure +
                     std::chrono::duration_cast<Nanos>(std::chrono::duration<double>(seconds)) -
                     now;
        if (left > Nanos{0}) {
          missing = 0;
          again = again ? std::min(*again, left) : left;
        }
      }
      for (; missing > 0; --missing) {
        WriteContext ctx;
        ctx.manager = kManager;
        Json pod = operations_.create(*pods, ns, pod_of(job), ctx);
        record_event(operations_, job, "Normal", "SuccessfulCreate",
                     "Created pod: " + get_string(pod["metadata"], "name"), kManager);
      }
      snapshot = store_.list("/pods", ns);
      n = count_pods(snapshot.objects, uid);
    }
  }
  auto put_count = [&](const char* key, std::int64_t v) {
    if (v > 0) {
      status[key] = v;
    } else {
      status.erase(key);
    }
  };
  put_count("active", static_cast<std::int64_t>(n.active.size()));
  put_count("succeeded", n.succeeded);
  put_count("failed", n.failed);
  put_count("terminating", n.terminating);
  status["ready"] = n.ready;
  update_object(operations_, "batch", "jobs", ns, name, "status", kManager, [&](Json& o) {
    if (get_string(o["metadata"], "uid") != uid || get(o, "status") == status) return false;
    o["status"] = status;
    return true;
  });
  return again;
}

}  // namespace tango::standalone

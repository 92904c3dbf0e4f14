// logs: of pods and Jobs, of whatever runs for one of our objects, and of releases on devices.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <ostream>
#include <thread>

#include "crds/types.h"
#include "lib/kube/request.h"
#include "tangoctl/resources.h"
#include "tangoctl/verbs.h"

namespace tango::ctl {
namespace {

constexpr kube::KindInfo kPod{"", "v1", "Pod", "pods", true};
constexpr kube::KindInfo kJob{"batch", "v1", "Job", "jobs", true};

Error nothing_runs(const Target& t) {
  return make_error(Code::kNotFound, "NoLogs",
                    t.type.printed() + "/" + t.name + " has no Job yet; see `tangoctl describe " +
                        std::string(t.type.singular) + " " + t.name + "`");
}

// The Job that works (or worked last) for the object.
Result<std::string> job_of(kube::KubeClient& client, const Target& t, int depth = 0) {
  constexpr int kMaxDepth = 4;
  TRY_ASSIGN(Json object, client.get(t.type.info, t.ns, t.name));
  const Json& status = get(object, "status");
  std::string kind(t.type.info.kind);
  if (kind == "Dataset" || kind == "ImageBuild") {
    std::string job = get_string(status, "job");
    if (job.empty()) return nothing_runs(t);
    return job;
  }
  const Json& stages = get(status, "stages");
  const Json* best = nullptr;
  if (stages.is_array()) {
    for (const auto& s : stages) {
      std::string child = get_string(get(s, "ref"), "kind");
      bool usable = kind == "TrainJob"
                        ? !get_string(s, "job").empty()
                        : child == "TrainJob" || child == "Dataset" || child == "ImageBuild";
      if (!usable) continue;
      best = &s;  // the last one that has something
      if (get_string(s, "state") == "Running" || get_string(s, "state") == "Failed") break;
    }
  }
  if (best == nullptr) return nothing_runs(t);
  if (kind == "TrainJob") return get_string(*best, "job");
  std::string child_kind = get_string(get(*best, "ref"), "kind");
  Target child{t.type, t.ns, get_string(get(*best, "ref"), "name")};
  if (child_kind == "TrainJob") {
    child.type = {crds::TrainJob::kKind, "trainjob"};
  } else if (child_kind == "Dataset") {
    child.type = {crds::Dataset::kKind, "dataset"};
  } else if (child_kind == "ImageBuild") {
    child.type = {crds::ImageBuild::kKind, "imagebuild"};
  } else {
    return nothing_runs(t);
  }
  if (depth >= kMaxDepth) return nothing_runs(t);
  return job_of(client, child, depth + 1);
}

Result<std::string> pod_of_job(kube::KubeClient& client, const std::string& ns,
                               const std::string& job) {
  kube::ListOptions list;
  list.ns = ns;
  list.label_selector = "job-name=" + job;
  TRY_ASSIGN(auto pods, client.list(kPod, list));
  const Json* newest = nullptr;
  for (const auto& p : pods.items) {
    if (newest == nullptr || get_string(get(p, "metadata"), "creationTimestamp") >=
                                 get_string(get(*newest, "metadata"), "creationTimestamp")) {
      newest = &p;
    }
  }
  if (newest == nullptr) {
    return make_error(Code::kNotFound, "NoLogs",
                      "the Job " + job + " has no pod (yet, or any more)");
  }
  return get_string(get(*newest, "metadata"), "name");
}

int follow(Session& session, kube::KubeClient& client, const std::string& path) {
  std::mutex mutex;
  std::condition_variable changed;
  bool ended = false;
  int status = 0;
  std::string error_body;
  Status result = ok_status();
  StreamCallbacks callbacks;
  callbacks.on_head = [&](int code, const HttpHeaders&) { status = code; };
  callbacks.on_data = [&](std::string_view chunk) {
    if (status >= 400) {
      error_body += chunk;
    } else {
      session.out() << chunk << std::flush;
    }
  };
  callbacks.on_end = [&](Status end) {
    std::lock_guard lock(mutex);
    result = std::move(end);
    ended = true;
    changed.notify_all();
  };
  client.stream(path, callbacks);
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return ended; });
  if (status >= 400) return session.fail(kube::error_from_response(status, error_body, "log"));
  if (!result.ok()) return session.fail(result.error());
  return kOk;
}

int pod_log(Session& session, kube::KubeClient& client, const std::string& ns,
            const std::string& pod, const LogsOptions& options) {
  std::string path = kube::resource_path(kPod, ns, pod, "log");
  std::string query;
  auto add = [&](const std::string& text) { query += (query.empty() ? "?" : "&") + text; };
  if (!options.container.empty()) add("container=" + url_encode(options.container));
  if (options.follow) add("follow=true");
  if (options.previous) add("previous=true");
  if (options.tail >= 0) add("tailLines=" + std::to_string(options.tail));
  if (options.follow) return follow(session, client, path + query);
  auto response = client.raw("GET", path + query, {}, "*/*");
  if (!response.ok()) return session.fail(response.error());
  if (response->status >= 400) {
    return session.fail(
        kube::error_from_response(response->status, response->body, "log of pod \"" + pod + "\""));
  }
  session.out() << response->body;
  return kOk;
}

int device_log(Session& session, const std::string& ns, const std::string& name,
               const LogsOptions& options) {
  auto rest = session.rest();
  if (!rest.ok()) return session.fail(rest.error());
  std::string path = "/api/v1/namespaces/" + url_encode(ns) + "/devices/" + url_encode(name) +
                     "/logs?slot=" + url_encode(options.slot);
  std::string cursor;
  while (true) {
    auto answer =
        (*rest)->call("GET", path + (cursor.empty() ? "" : "&since=" + url_encode(cursor)));
    if (!answer.ok()) return session.fail(answer.error());
    std::string text = get_string(*answer, "text");
    if (options.tail >= 0 && cursor.empty()) {
      std::size_t from = text.size();
      for (int lines = 0; from > 0; --from) {
        if (text[from - 1] == '\n' && from != text.size() && ++lines == options.tail) break;
      }
      text = options.tail == 0 ? std::string() : text.substr(from);
    }
    session.out() << text << std::flush;
    const Json& next = get(*answer, "next");
    cursor = next.is_string() ? next.get<std::string>() : next.is_number() ? next.dump() : cursor;
    if (!options.follow || !session.out()) return kOk;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

}  // namespace

int show_logs(Session& session, const LogsOptions& options) {
  if (options.target.empty()) return session.usage("logs needs a pod, or TYPE/NAME");
  auto client = session.kube();
  if (!client.ok()) return session.fail(client.error());
  std::string target =
      options.target.find('/') == std::string::npos ? "pod/" + options.target : options.target;
  auto parsed = parse_targets(session, {target});
  if (!parsed.ok()) return session.usage(parsed.error().message);
  const Target& t = parsed->front();
  if (t.type.info == kPod) return pod_log(session, **client, t.ns, t.name, options);
  if (t.type.info.kind == "Device") return device_log(session, t.ns, t.name, options);
  std::string job = t.name;
  if (t.type.info != kJob) {
    auto found = job_of(**client, t);
    if (!found.ok()) return session.fail(found.error());
    job = *found;
  }
  auto pod = pod_of_job(**client, t.ns, job);
  if (!pod.ok()) return session.fail(pod.error());
  return pod_log(session, **client, t.ns, *pod, options);
}

}  // namespace tango::ctl

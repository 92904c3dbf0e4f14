#include "standalone/pod_runner.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>

#include "lib/base/log.h"
#include "lib/kube-types/meta.h"
#include "standalone/controllers.h"
#include "standalone/pod_volumes.h"

namespace tango::standalone {
namespace {

constexpr const char* kManager = "tango-pod-runner";
constexpr auto kBusyTick = std::chrono::milliseconds(50);  // while containers run: their exit files
constexpr auto kIdleTick = std::chrono::seconds(1);
constexpr auto kRetry = std::chrono::seconds(2);  // after a configuration error
constexpr double kFirstRestartSeconds = 10, kMaxRestartSeconds = 300;
constexpr auto kStartLimit = std::chrono::seconds(10);  // a shim takes its lock within this

std::string uid_of(const Json& o) { return get_string(get(o, "metadata"), "uid"); }
std::string ns_of(const Json& o) { return get_string(get(o, "metadata"), "namespace"); }
std::string name_of(const Json& o) { return get_string(get(o, "metadata"), "name"); }
bool terminal(const Json& pod) {
  std::string phase = get_string(get(pod, "status"), "phase");
  return phase == "Succeeded" || phase == "Failed";
}
bool deleting(const Json& pod) { return get(pod, "metadata").contains("deletionTimestamp"); }

bool restarts(const Json& pod, const ContainerExit& exit) {
  std::string policy = get_string(get(pod, "spec"), "restartPolicy", "Always");
  return policy == "Always" || (policy == "OnFailure" && exit.code != 0);
}

Json waiting(const std::string& reason, const std::string& message = {}) {
  Json w = {{"reason", reason}};
  if (!message.empty()) w["message"] = message;
  return w;
}

Json terminated(const ContainerExit& e) {
  Json t = {{"exitCode", e.code},
            {"reason", e.reason},
            {"startedAt", e.started_at},
            {"finishedAt", e.finished_at}};
  if (e.code > 128 && e.reason != "StartError") t["signal"] = e.code - 128;
  if (!e.message.empty()) t["message"] = e.message;
  return t;
}

}  // namespace

PodRunner::PodRunner(Operations& operations, PodRunnerOptions options)
    : operations_(operations), store_(operations.store()), options_(std::move(options)) {}

PodRunner::~PodRunner() { stop(); }

fs::path PodRunner::pod_dir(const Json& pod) const { return options_.dir / uid_of(pod); }
ContainerDir PodRunner::attempt_dir(const Json& pod, const std::string& container,
                                    int attempt) const {
  return ContainerDir(pod_dir(pod) / "containers" / container / std::to_string(attempt));
}

const BuiltInImage* PodRunner::image(const std::string& name) const {
  for (const BuiltInImage& i : options_.images) {
    if (name == i.prefix || name.starts_with(i.prefix + ":") || name.starts_with(i.prefix + "@"))
      return &i;
  }
  return nullptr;
}

void PodRunner::event(const Json& pod, const char* type, const char* reason,
                      const std::string& message) {
  record_event(operations_, pod, type, reason, message, "tango-pod-runner");
}

Status PodRunner::start() {
  TRY(make_dirs(options_.dir, 0700));
  auto subscription = store_.subscribe("/pods", store_.revision(), [this](const StoreEvent&) {
    std::lock_guard lock(mutex_);
    changed_ = true;
    wake_.notify_all();
  });
  if (!subscription.ok()) return std::move(subscription).error();
  subscription_ = *subscription;
  thread_ = std::thread([this] { run(); });
  return ok_status();
}

void PodRunner::stop() {
  if (subscription_ != 0) store_.unsubscribe(subscription_);
  subscription_ = 0;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void PodRunner::stop_pods(Nanos grace) {
  std::vector<ContainerDir> all;
  std::error_code ec;
  for (const auto& pod : fs::directory_iterator(options_.dir, ec)) {
    for (const auto& container : fs::directory_iterator(pod.path() / "containers", ec)) {
      for (const auto& attempt : fs::directory_iterator(container.path(), ec))
        all.emplace_back(attempt.path());
    }
  }
  for (const ContainerDir& d : all) {
    if (!d.alive()) continue;
    (void)d.write_grace(grace);
    if (auto s = d.started()) ::kill(s->pid, SIGTERM);
  }
  auto until = std::chrono::steady_clock::now() + grace + std::chrono::seconds(2);
  while (std::chrono::steady_clock::now() < until &&
         std::any_of(all.begin(), all.end(), [](const auto& d) { return d.alive(); })) {
    std::this_thread::sleep_for(kBusyTick);
  }
}

void PodRunner::run() {
  clean_up();
  auto next_clean = std::chrono::steady_clock::now() + kIdleTick;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (!changed_ && !stopping_)
        wake_.wait_for(lock, running_ > 0 ? std::chrono::milliseconds(kBusyTick)
                                          : std::chrono::milliseconds(kIdleTick));
      if (stopping_) return;
      changed_ = false;
    }
    std::erase_if(shims_, [](ChildProcess& c) { return c.poll().has_value(); });
    try {
      sync();
    } catch (const std::exception& e) {
      log_warn("Pod runner pass failed", {{"error", e.what()}});
    }
    if (std::chrono::steady_clock::now() >= next_clean) {
      clean_up();
      next_clean = std::chrono::steady_clock::now() + kIdleTick;
    }
  }
}

void PodRunner::sync() {
  running_ = 0;
  for (const ObjectPtr& o : store_.list("/pods").objects) {
    std::string node = get_string(get(o->body(), "spec"), "nodeName");
    if (!node.empty() && node != options_.node) continue;
    try {
      sync_pod(*o);
    } catch (const ApiError& e) {
      if (e.code != 404 && e.code != 409)
        log_warn("Pod was not synced", {{"pod", o->ns + "/" + o->name}, {"error", e.message}});
    }
  }
}

void PodRunner::sync_pod(const StoredObject& object) {
  const Json& pod = object.body();
  if (get_string(get(pod, "spec"), "nodeName").empty()) {
    if (!deleting(pod)) bind(object);
    return;
  }
  if (terminal(pod) && !deleting(pod)) return;
  Pod& local = adopt(pod);
  poll_containers(pod, local);
  if (deleting(pod)) {
    stop_containers(pod, local);
    bool alive = std::any_of(local.containers.begin(), local.containers.end(),
                             [](const auto& c) { return c.second.dir && !c.second.exit; });
    report(pod, local);
    if (alive) return;
    DeleteRequest q;
    q.uid = uid_of(pod);
    q.grace_seconds = 0;
    operations_.remove(*builtin_resource(operations_, "", "pods"), object.ns, object.name, q);
    return;
  }
  start_containers(pod, local);
  report(pod, local);
}

void PodRunner::bind(const StoredObject& object) {
  const TimePoint now = operations_.clock().now();
  update_object(operations_, "", "pods", object.ns, object.name, "", kManager, [&](Json& pod) {
    pod["spec"]["nodeName"] = options_.node;
    return true;
  });
  update_object(operations_, "", "pods", object.ns, object.name, "status", kManager,
                [&](Json& pod) {
                  Json& s = pod["status"];
                  put_condition(s["conditions"], "PodScheduled", true, "", "", now);
                  s["startTime"] = format_time(now);
                  s["hostIP"] = s["podIP"] = "127.0.0.1";
                  s["podIPs"] = Json::array({{{"ip", "127.0.0.1"}}});
                  return true;
                });
  event(object.body(), "Normal", "Scheduled",
        "Successfully assigned " + object.ns + "/" + object.name + " to " + options_.node);
}

// What is known of a pod's containers; the first time, from the folders that an earlier process
// left.
PodRunner::Pod& PodRunner::adopt(const Json& pod) {
  auto [it, fresh] = pods_.try_emplace(uid_of(pod));
  if (!fresh) return it->second;
  for (const Json& spec : get(get(pod, "spec"), "containers")) {
    std::string name = get_string(spec, "name");
    Container& c = it->second.containers[name];
    c.waiting = waiting("ContainerCreating");
    std::error_code ec;
    while (fs::exists(attempt_dir(pod, name, c.attempt + 1).path(), ec)) ++c.attempt;
    ContainerDir dir = attempt_dir(pod, name, c.attempt);
    if (!fs::exists(dir.path(), ec)) continue;
    if (c.attempt > 0) c.last_exit = attempt_dir(pod, name, c.attempt - 1).exit();
    // Written but never started (we died in between): the same attempt is started again.
    if (!dir.started() && !dir.exit() && !dir.alive()) continue;
    c.dir = dir;
    if (dir.alive())
      log_info("Adopted a running container",
               {{"pod", ns_of(pod) + "/" + name_of(pod)}, {"container", name}});
  }
  return it->second;
}

void PodRunner::poll_containers(const Json& pod, Pod& local) {
  for (auto& [name, c] : local.containers) {
    if (!c.dir || c.exit) continue;
    c.exit = c.dir->exit();
    if (c.exit || c.dir->alive()) {
      if (!c.exit) ++running_;
      continue;
    }
    auto started = c.dir->started();
    if (!started && std::chrono::steady_clock::now() < c.restart_at + kStartLimit) {
      ++running_;  // the shim is on its way to its lock
      continue;
    }
    c.exit = c.dir->exit();  // it may have ended between the two looks
    if (c.exit) continue;
    std::string now = format_time(operations_.clock().now());
    c.exit = ContainerExit{137, "Error", "the container's shim was killed",
                           started ? started->at : now, now};
    (void)c.dir->write_exit(*c.exit);
    event(pod, "Warning", "Failed", "The shim of container " + name + " was killed");
  }
}

void PodRunner::stop_containers(const Json& pod, Pod& local) {
  const Json& grace = get(get(pod, "metadata"), "deletionGracePeriodSeconds");
  for (auto& [name, c] : local.containers) {
    if (!c.dir || c.exit || c.stopping) continue;
    auto started = c.dir->started();
    if (!started || !c.dir->alive()) continue;
    (void)c.dir->write_grace(Seconds{grace.is_number() ? grace.get<std::int64_t>() : 30});
    ::kill(started->pid, SIGTERM);
    c.stopping = true;
    event(pod, "Normal", "Killing", "Stopping container " + name);
  }
}

void PodRunner::start_containers(const Json& pod, Pod& local) {
  const auto now = std::chrono::steady_clock::now();
  const Json& spec = get(pod, "spec");
  if (now < local.retry_at) return;
  if (!get(spec, "initContainers").empty()) {
    for (auto& [name, c] : local.containers)
      c.waiting = waiting("CreateContainerConfigError",
                          "initContainers are not offered by the local pod runner");
    event(pod, "Warning", "Unsupported", "initContainers are not offered by the local pod runner");
    local.retry_at = std::chrono::steady_clock::time_point::max();
    return;
  }
  for (const Json& container : get(spec, "containers")) {
    std::string name = get_string(container, "name");
    Container& c = local.containers[name];
    if (c.dir && c.exit && restarts(pod, *c.exit)) {
      double seconds = std::min(kFirstRestartSeconds * std::pow(2.0, std::min(c.attempt, 10)),
                                kMaxRestartSeconds);
      if (c.waiting.is_null() || get_string(c.waiting, "reason") != "CrashLoopBackOff") {
        c.waiting =
            waiting("CrashLoopBackOff", "back-off " + std::to_string(static_cast<int>(seconds)) +
                                            "s restarting failed container=" + name);
        c.restart_at = now + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                 std::chrono::duration<double>(seconds));
        continue;
      }
      if (now < c.restart_at) continue;
      c.last_exit = c.exit;
      c.exit.reset();
      c.dir.reset();
      ++c.attempt;
    }
    if (c.dir) continue;
    if (running_ >= options_.max_running) {
      c.waiting = waiting("ContainerCreating", "the machine runs as many containers as it may");
      continue;
    }
    Status started = start_container(pod, container, c);
    if (started.ok()) {
      ++running_;
      continue;
    }
    const Error& e = started.error();
    const bool pull = e.reason == "ErrImagePull";
    if (get_string(c.waiting, "message") != e.message) {
      event(pod, "Warning", pull ? "Failed" : "FailedMount", e.message);
    }
    c.waiting =
        waiting(e.reason == "Unsupported" ? "CreateContainerConfigError" : e.reason, e.message);
    local.retry_at = now + kRetry;
  }
}

Status PodRunner::start_container(const Json& pod, const Json& container, Container& c) {
  std::string name = get_string(container, "name"), image_name = get_string(container, "image");
  const BuiltInImage* entry = image(image_name);
  if (entry == nullptr) {
    return make_error(
        Code::kNotFound, "ErrImagePull",
        "Failed to pull image \"" + image_name +
            "\": it is not in the built-in image table, and no container runtime is present");
  }
  std::string ns = ns_of(pod);
  ObjectLookup lookup = [&](const std::string& plural, const std::string& object) {
    ObjectPtr o = store_.get("/" + plural, ns, object);
    return o ? o->body() : Json();
  };
  fs::path dir = pod_dir(pod);
  TRY(make_dirs(dir / "volumes", 0700));
  TRY_ASSIGN(auto mounts, prepare_mounts(pod, container, dir, lookup));
  TRY_ASSIGN(auto env, container_environment(pod, container, mounts, lookup));
  ContainerSpec spec;
  spec.argv = {entry->program.string()};
  auto command = container_arguments(get(container, "command"), env, mounts);
  if (!command.empty()) {
    // There is no image to look into: only the program the image stands for may be named.
    if (fs::path(command[0]).filename() != entry->program.filename()) {
      return make_error(Code::kUnsupported, "Unsupported",
                        "container " + name + ": command \"" + command[0] +
                            "\" is not part of image " + image_name + ", which holds " +
                            entry->program.filename().string());
    }
    spec.argv.insert(spec.argv.end(), command.begin() + 1, command.end());
  }
  for (std::string& a : container_arguments(get(container, "args"), env, mounts))
    spec.argv.push_back(std::move(a));
  for (const char* key : {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH"}) {
    if (const char* v = ::getenv(key)) spec.env[key] = v;
  }
  spec.env["HOSTNAME"] = name_of(pod);
  for (auto& [k, v] : env) spec.env[k] = v;
  spec.cwd = dir / "volumes";
  if (std::string cwd = get_string(container, "workingDir"); !cwd.empty())
    spec.cwd = rewrite_path(cwd, mounts);
  std::string limit = get_string(get(get(container, "resources"), "limits"), "memory");
  if (!limit.empty()) {
    TRY_ASSIGN(std::int64_t bytes, kube::parse_quantity(limit));
    spec.memory_limit = static_cast<std::uint64_t>(std::max<std::int64_t>(bytes, 0));
  }
  spec.grace = Seconds{get_int(get(pod, "spec"), "terminationGracePeriodSeconds", 30)};

  ContainerDir run_dir = attempt_dir(pod, name, c.attempt);
  TRY(make_dirs(run_dir.path(), 0700));
  TRY(run_dir.write_spec(spec));
  ProcessOptions shim;
  shim.argv = {options_.shim.string(), run_dir.path().string()};
  shim.new_session = true;
  auto null = Fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  shim.stdout_fd = shim.stderr_fd = null.get();
  auto child = spawn(shim);
  if (!child.ok())
    return make_error(Code::kIo, "CreateContainerError",
                      "cannot start " + options_.shim.string() + ": " + child.error().message);
  shims_.push_back(std::move(child).value());
  c.dir = run_dir;
  c.exit.reset();
  c.stopping = false;
  c.restart_at = std::chrono::steady_clock::now();
  c.waiting = Json();
  event(pod, "Normal", "Pulled", "Container image \"" + image_name + "\" is built in");
  event(pod, "Normal", "Started", "Started container " + name);
  return ok_status();
}

void PodRunner::report(const Json& pod, Pod& local) {
  const TimePoint now = operations_.clock().now();
  Json statuses = Json::array();
  std::size_t ended = 0, running = 0, failed = 0, total = 0;
  for (const Json& spec : get(get(pod, "spec"), "containers")) {
    std::string name = get_string(spec, "name");
    const Container& c = local.containers[name];
    ++total;
    Json state, last = Json::object();
    bool ready = false;
    std::optional<ContainerDir::Started> started;
    if (c.dir && c.exit) {
      const bool again = restarts(pod, *c.exit) && !deleting(pod);
      if (again && !c.waiting.is_null()) {
        state = {{"waiting", c.waiting}};
        last = {{"terminated", terminated(*c.exit)}};
      } else {
        state = {{"terminated", terminated(*c.exit)}};
      }
      if (!again) {
        ++ended;
        failed += c.exit->code != 0;
      } else {
        ++running;  // between two runs the pod still counts as running
      }
    } else if (c.dir && (started = c.dir->started())) {
      state = {{"running", {{"startedAt", started->at}}}};
      ready = true;
      ++running;
    } else {
      state = {{"waiting", c.waiting.is_null() ? waiting("ContainerCreating") : c.waiting}};
    }
    if (last.empty() && c.last_exit) last = {{"terminated", terminated(*c.last_exit)}};
    statuses.push_back(
        {{"name", name},
         {"state", state},
         {"lastState", last},
         {"ready", ready},
         {"restartCount", c.attempt},
         {"started", ready},
         {"image", get_string(spec, "image")},
         {"imageID", ""},
         {"containerID",
          c.dir ? "tango://" + uid_of(pod) + "/" + name + "/" + std::to_string(c.attempt) : ""}});
  }
  std::string phase = ended == total             ? (failed > 0 ? "Failed" : "Succeeded")
                      : running > 0 || ended > 0 ? "Running"
                                                 : "Pending";
  const bool all_ready = std::all_of(statuses.begin(), statuses.end(),
                                     [](const Json& s) { return s["ready"].get<bool>(); });
  const char* why = ended == total && failed == 0 ? "PodCompleted"
                    : all_ready                   ? ""
                                                  : "ContainersNotReady";
  update_object(operations_, "", "pods", ns_of(pod), name_of(pod), "status", kManager,
                [&](Json& o) {
                  if (uid_of(o) != uid_of(pod)) return false;
                  Json before = get(o, "status");
                  Json& s = o["status"];
                  s["phase"] = phase;
                  s["containerStatuses"] = statuses;
                  put_condition(s["conditions"], "Initialized", true, "", "", now);
                  put_condition(s["conditions"], "ContainersReady", all_ready, why, "", now);
                  put_condition(s["conditions"], "Ready", all_ready, why, "", now);
                  put_condition(s["conditions"], "PodScheduled", true, "", "", now);
                  return before != s;
                });
}

// Folders of pods that no longer exist: their programs are stopped, then the folders go.
void PodRunner::clean_up() {
  std::set<std::string> alive;
  for (const ObjectPtr& o : store_.list("/pods").objects) alive.insert(uid_of(o->body()));
  std::erase_if(pods_, [&](const auto& p) { return !alive.contains(p.first); });
  std::error_code ec;
  for (const auto& pod : fs::directory_iterator(options_.dir, ec)) {
    if (alive.contains(pod.path().filename().string())) continue;
    bool busy = false;
    std::error_code inner;
    for (const auto& container : fs::directory_iterator(pod.path() / "containers", inner)) {
      for (const auto& attempt : fs::directory_iterator(container.path(), inner)) {
        ContainerDir dir(attempt.path());
        if (!dir.alive()) continue;
        busy = true;
        if (auto s = dir.started()) ::kill(s->pid, SIGTERM);
      }
    }
    if (!busy) (void)tango::remove_all(pod.path());
  }
}

LogFinder PodRunner::log_finder() const {
  fs::path root = options_.dir;
  return [root](const Json& pod, const std::string& container, bool previous) -> Result<LogSource> {
    fs::path base = root / uid_of(pod) / "containers" / container;
    int attempt = -1;
    std::error_code ec;
    while (fs::exists(base / std::to_string(attempt + 1) / "spec.json", ec)) ++attempt;
    if (previous) --attempt;
    if (attempt < 0) {
      if (previous)
        return make_error(Code::kNotFound, "NotFound",
                          "previous terminated container \"" + container + "\" in pod \"" +
                              name_of(pod) + "\" not found");
      std::string why = "ContainerCreating";
      for (const Json& s : get(get(pod, "status"), "containerStatuses")) {
        if (get_string(s, "name") == container)
          why = get_string(get(get(s, "state"), "waiting"), "reason", why);
      }
      return make_error(Code::kInvalid, "BadRequest",
                        "container \"" + container + "\" in pod \"" + name_of(pod) +
                            "\" is waiting to start: " + why);
    }
    ContainerDir dir(base / std::to_string(attempt));
    auto opened = std::chrono::steady_clock::now();
    return LogSource{dir.log(), [dir, opened] {
                       if (dir.exit()) return false;
                       return dir.alive() ||
                              std::chrono::steady_clock::now() < opened + std::chrono::seconds(2);
                     }};
  };
}

}  // namespace tango::standalone

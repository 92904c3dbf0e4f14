#include "standalone/supervisor.h"

#include <fcntl.h>
#include <signal.h>

#include <algorithm>

#include "lib/base/json.h"
#include "lib/base/log.h"

namespace tango::standalone {
namespace {

constexpr auto kTick = std::chrono::milliseconds(50);
constexpr auto kFirstDelay = std::chrono::milliseconds(200);
constexpr int kMaxDoublings = 6;                     // at most 12.8 s
constexpr auto kHealthy = std::chrono::seconds(30);  // runs this long: failures are forgotten
constexpr auto kStaleGrace = Seconds{5};

// Field 22 of /proc/<pid>/stat: clock ticks since boot when the process started; 0 when it is gone.
std::int64_t start_ticks(pid_t pid) {
  auto stat = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!stat.ok()) return 0;
  auto at = stat->rfind(')');
  if (at == std::string::npos) return 0;
  std::size_t from = at + 2;
  if ((*stat)[from] == 'Z') return 0;  // dead, only not reaped
  for (int field = 3; field < 22; ++field) {
    from = stat->find(' ', from);
    if (from == std::string::npos) return 0;
    ++from;
  }
  return std::atoll(stat->c_str() + from);
}

bool same_process(pid_t pid, std::int64_t ticks) { return ticks != 0 && start_ticks(pid) == ticks; }

}  // namespace

Status Supervisor::end_stale_children() {
  TRY(make_dirs(run_dir_, 0700));
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(run_dir_, ec)) {
    if (entry.path().extension() != ".pid") continue;
    auto text = read_file(entry.path(), 4096);
    Json j = text.ok() ? Json::parse(*text, nullptr, false) : Json();
    auto pid = static_cast<pid_t>(get_int(j, "pid"));
    std::int64_t ticks = get_int(j, "startTicks");
    if (pid > 1 && same_process(pid, ticks)) {
      log_info("Ended a child that an earlier run left behind",
               {{"name", entry.path().stem().string()}, {"pid", pid}});
      ::kill(pid, SIGTERM);
      auto until = std::chrono::steady_clock::now() + kStaleGrace;
      while (same_process(pid, ticks) && std::chrono::steady_clock::now() < until)
        std::this_thread::sleep_for(kTick);
      if (same_process(pid, ticks)) ::kill(pid, SIGKILL);
    }
    TRY(tango::remove_all(entry.path()));
  }
  return ok_status();
}

Status Supervisor::launch(Child& child) {
  Fd log(::open(child.spec.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log.valid()) return errno_error(errno, "cannot open " + child.spec.log.string());
  ProcessOptions options;
  options.argv = child.spec.argv;
  options.env = child.spec.env;
  options.stdout_fd = options.stderr_fd = log.get();
  options.new_session = true;  // a Ctrl-C of the terminal reaches us alone; we stop in order
  options.die_with_parent = true;
  TRY_ASSIGN(auto process, spawn(options));
  child.started = std::chrono::steady_clock::now();
  Json pid = {{"pid", process.pid()}, {"startTicks", start_ticks(process.pid())}};
  child.process.emplace(std::move(process));
  return write_file_atomic(pid_file(child.spec.name), dump_json(pid), 0600);
}

Status Supervisor::start(ChildSpec spec) {
  auto child = std::make_unique<Child>();
  child->spec = std::move(spec);
  // die_with_parent follows the thread that forked, so the first start and the restarts happen on
  // the supervising thread; this call waits for it.
  Child* waiting = child.get();
  {
    std::lock_guard lock(mutex_);
    children_.push_back(std::move(child));
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  }
  auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (std::chrono::steady_clock::now() < until) {
    {
      std::lock_guard lock(mutex_);
      if (waiting->process) return ok_status();
      if (waiting->failures > 0) break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return make_error(Code::kIo, "StartFailed",
                    "cannot start " + waiting->spec.argv.front() + "; is it installed?");
}

bool Supervisor::running(const std::string& name) const {
  std::lock_guard lock(mutex_);
  return std::any_of(children_.begin(), children_.end(),
                     [&](const auto& c) { return c->spec.name == name && c->process.has_value(); });
}

void Supervisor::run() {
  while (true) {
    {
      std::lock_guard lock(mutex_);
      auto now = std::chrono::steady_clock::now();
      if (stopping_) {
        for (auto it = children_.rbegin(); it != children_.rend(); ++it) {
          if ((*it)->process) (*it)->process->kill_and_wait((*it)->spec.stop_grace);
          (void)tango::remove_all(pid_file((*it)->spec.name));
        }
        return;
      }
      for (auto& c : children_) {
        if (c->process) {
          auto ended = c->process->poll();
          if (!ended) continue;
          if (now - c->started > kHealthy) c->failures = 0;
          auto delay = kFirstDelay * (1 << std::min(c->failures, kMaxDoublings));
          log_warn("Child ended, will be restarted",
                   {{"name", c->spec.name}, {"code", ended->code}});
          c->process.reset();
          ++c->failures;
          c->retry_at = now + delay;
        } else if (now >= c->retry_at) {
          Status s = launch(*c);
          if (!s.ok()) {
            log_error("Child was not started", {{"name", c->spec.name}, s.error()});
            c->retry_at = now + kFirstDelay * (1 << std::min(c->failures, kMaxDoublings));
            ++c->failures;
          }
        }
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void Supervisor::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

}  // namespace tango::standalone

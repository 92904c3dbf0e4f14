#include "device-agent/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "device-agent/loopback_http.h"
#include "lib/base/log.h"

namespace tango::agent {
namespace {
constexpr int kPollMs = 50;
}

std::map<std::string, std::string> release_environment(const LaunchSpec& spec) {
  std::map<std::string, std::string> env = spec.env;
  env["LD_LIBRARY_PATH"] = "lib";
  env["PATH"] = "/usr/local/bin:/usr/bin:/bin";
  env["LANG"] = "C.UTF-8";
  env["HOME"] = spec.run_dir.string();
  env["TANGO_RUN_DIR"] = spec.run_dir.string();
  return env;
}

Supervisor::Supervisor(SupervisorOptions options, ReleaseLog& log)
    : options_(std::move(options)), log_(log), thread_([this] { loop(); }) {}

Supervisor::~Supervisor() {
  {
    const std::lock_guard lock(mutex_);
    quit_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Status Supervisor::start(const LaunchSpec& spec, bool restart) {
  stop();
  std::unique_lock lock(mutex_);
  spec_ = spec;
  restart_ = restart;
  backoff_ = options_.backoff_initial;
  state_ = ProcessState{};
  state_.digest = spec.digest;
  spawn_requested_ = true;
  spawn_result_.reset();
  changed_.notify_all();
  changed_.wait(lock, [&] { return spawn_result_.has_value() || quit_; });
  if (!spawn_result_) return make_error(Code::kCancelled, "Cancelled", "the agent is stopping");
  Status result = std::move(*spawn_result_);
  if (!result.ok() && !restart) spec_.reset();
  return result;
}

void Supervisor::keep_running() {
  const std::lock_guard lock(mutex_);
  restart_ = true;
  changed_.notify_all();
}

void Supervisor::stop() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  spec_.reset();
  changed_.notify_all();
  changed_.wait(lock, [&] { return !child_ || quit_; });
  stopping_ = false;
  const std::uint32_t restarts = state_.restarts;
  state_ = ProcessState{};
  state_.restarts = restarts;
}

ProcessState Supervisor::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

bool Supervisor::ready() const {
  std::uint16_t port = 0;
  std::string path;
  {
    const std::lock_guard lock(mutex_);
    if (!spec_ || !state_.running) return false;
    if (!spec_->http) return true;
    port = state_.port;
    path = spec_->ready_path.empty() ? "/readyz" : spec_->ready_path;
  }
  LoopbackLimits limits;
  limits.timeout = Seconds{2};
  limits.max_body = 64u << 10;
  const auto answer = loopback_request(port, "GET", path, {}, {}, limits);
  return answer.ok() && answer->status == 200;
}

std::uint64_t Supervisor::peak_rss() const {
  pid_t pid = -1;
  {
    const std::lock_guard lock(mutex_);
    pid = state_.pid;
  }
  if (pid <= 0) return 0;
  const auto text = read_file("/proc/" + std::to_string(pid) + "/status", 64u << 10);
  if (!text.ok()) return 0;
  const std::size_t at = text->find("VmHWM:");
  if (at == std::string::npos) return 0;
  return std::strtoull(text->c_str() + at + 6, nullptr, 10) * 1024;
}

Status Supervisor::spawn_now() {
  LaunchSpec& spec = *spec_;
  std::uint16_t port = spec.port;
  if (spec.http && port == 0) {
    TRY_ASSIGN(port, free_loopback_port());
  }
  ProcessOptions options;
  if (!options_.agent_binary.empty()) {
    options.argv = {options_.agent_binary.string(), "run", "--"};
  }
  options.argv.insert(options.argv.end(), spec.argv.begin(), spec.argv.end());
  if (spec.http) {
    options.argv.push_back("--listen");
    options.argv.push_back("127.0.0.1:" + std::to_string(port));
  }
  options.env = release_environment(spec);
  options.clear_env = true;
  options.cwd = spec.release_dir;
  options.new_session = true;
  options.die_with_parent = true;  // tied to this supervisor's thread, which lives as long as we do
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return errno_error(errno, "creating a pipe");
  Fd read_end(pipe_fds[0]);
  const Fd write_end(pipe_fds[1]);
  ::fcntl(read_end.get(), F_SETFL, O_NONBLOCK);
  options.stdout_fd = write_end.get();
  options.stderr_fd = write_end.get();
  TRY_ASSIGN(ChildProcess child, spawn(options));
  state_.running = true;
  state_.pid = child.pid();
  state_.port = spec.http ? port : std::uint16_t{0};
  started_at_ = system_clock().monotonic();
  child_ = std::move(child);
  output_ = std::move(read_end);
  return ok_status();
}

// Moves output to the log without holding the lock.
void Supervisor::drain(std::unique_lock<std::mutex>& lock, int timeout_ms) {
  const int fd = output_.get();
  if (fd < 0) return;
  lock.unlock();
  pollfd p{fd, POLLIN, 0};
  bool ended = false;
  if (::poll(&p, 1, timeout_ms) > 0) {
    char buffer[8192];
    for (int i = 0; i < 64; ++i) {
      const ssize_t n = ::read(fd, buffer, sizeof buffer);
      if (n > 0) {
        log_.append(std::string_view(buffer, static_cast<std::size_t>(n)));
        continue;
      }
      ended = n == 0;
      break;
    }
  }
  lock.lock();
  if (ended) output_.reset();
}

void Supervisor::loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    if (child_) {
      if (stopping_ || quit_) {
        ChildProcess child = std::move(*child_);
        lock.unlock();
        // The whole session: a release must not leave children behind.
        child.kill_and_wait(options_.stop_grace);
        ::kill(-child.pid(), SIGKILL);
        lock.lock();
        drain(lock, 0);
        output_.reset();
        child_.reset();
        state_.running = false;
        state_.pid = -1;
        changed_.notify_all();
        continue;
      }
      if (output_.valid()) {
        drain(lock, kPollMs);
      } else {
        changed_.wait_for(lock, Millis{kPollMs});
      }
      if (!child_) continue;
      if (const auto ended = child_->poll()) {
        ::kill(-child_->pid(), SIGKILL);
        drain(lock, 0);
        output_.reset();
        child_.reset();
        state_.running = false;
        state_.pid = -1;
        state_.last_exit = ended->signalled ? "signal " + std::to_string(ended->code - 128)
                                            : "exit code " + std::to_string(ended->code);
        log_.append("-- tango: the release ended with " + state_.last_exit + "\n");
        const Nanos now = system_clock().monotonic();
        if (now - started_at_ >= options_.stable_after) backoff_ = options_.backoff_initial;
        next_start_ = now + backoff_;
        backoff_ = std::min(backoff_ * 2, options_.backoff_cap);
        changed_.notify_all();
      }
      continue;
    }
    if (quit_) return;
    if (spec_ && spawn_requested_) {
      spawn_requested_ = false;
      spawn_result_ = spawn_now();
      if (!spawn_result_->ok()) next_start_ = system_clock().monotonic() + backoff_;
      changed_.notify_all();
      continue;
    }
    if (spec_ && restart_ && !stopping_) {
      const Nanos now = system_clock().monotonic();
      if (now >= next_start_) {
        ++state_.restarts;
        if (auto started = spawn_now(); !started.ok()) {
          state_.last_exit = started.error().to_string();
          next_start_ = now + backoff_;
          backoff_ = std::min(backoff_ * 2, options_.backoff_cap);
        }
      } else {
        changed_.wait_for(lock, std::min<Nanos>(next_start_ - now, Seconds{1}));
      }
      continue;
    }
    changed_.notify_all();  // a stop() that came when nothing ran
    changed_.wait(lock);
  }
}

}  // namespace tango::agent

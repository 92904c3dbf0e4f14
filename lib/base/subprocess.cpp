#include "lib/base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>

extern char** environ;

namespace tango {
namespace {

std::string find_program(const std::string& name, const std::map<std::string, std::string>& env) {
  if (name.find('/') != std::string::npos) return name;
  std::string path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  if (auto it = env.find("PATH"); it != env.end()) {
    path = it->second;
  } else if (const char* p = ::getenv("PATH")) {
    path = p;
  }
  std::size_t at = 0;
  while (at <= path.size()) {
    std::size_t end = std::min(path.find(':', at), path.size());
    std::string candidate = path.substr(at, end - at) + "/" + name;
    if (end > at && ::access(candidate.c_str(), X_OK) == 0) return candidate;
    at = end + 1;
  }
  return {};
}

ExitStatus decode(int raw) {
  if (WIFSIGNALED(raw)) return {128 + WTERMSIG(raw), true};
  return {WEXITSTATUS(raw), false};
}

struct Pipe {
  Fd read, write;
};
Result<Pipe> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return errno_error(errno, "cannot create a pipe");
  return Pipe{Fd(fds[0]), Fd(fds[1])};
}

}  // namespace

ChildProcess& ChildProcess::operator=(ChildProcess&& o) noexcept {
  pid_ = o.pid_;
  status_ = o.status_;
  o.pid_ = -1;
  return *this;
}

std::optional<ExitStatus> ChildProcess::poll() {
  if (status_ || pid_ <= 0) return status_;
  int raw = 0;
  pid_t r = ::waitpid(pid_, &raw, WNOHANG);
  if (r == pid_) {
    status_ = decode(raw);
  } else if (r < 0 && errno == ECHILD) {
    status_ = ExitStatus{255, false};  // somebody else reaped it
  }
  return status_;
}

ExitStatus ChildProcess::wait() {
  while (!status_ && pid_ > 0) {
    int raw = 0;
    pid_t r = ::waitpid(pid_, &raw, 0);
    if (r == pid_) {
      status_ = decode(raw);
    } else if (r < 0 && errno != EINTR) {
      status_ = ExitStatus{255, false};
    }
  }
  return status_.value_or(ExitStatus{255, false});
}

bool ChildProcess::signal(int signo) {
  if (pid_ <= 0 || status_) return false;
  return ::kill(pid_, signo) == 0;
}

ExitStatus ChildProcess::kill_and_wait(Nanos grace) {
  if (poll()) return *status_;
  signal(SIGTERM);
  auto deadline = system_clock().monotonic() + grace;
  while (system_clock().monotonic() < deadline) {
    if (poll()) return *status_;
    std::this_thread::sleep_for(Millis{5});
  }
  signal(SIGKILL);
  return wait();
}

Result<ChildProcess> spawn(const ProcessOptions& options) {
  if (options.argv.empty())
    return make_error(Code::kInvalid, "StartFailed", "no program was named");
  std::string program = find_program(options.argv[0], options.env);
  if (program.empty()) {
    return make_error(Code::kNotFound, "NotFound",
                      "the program " + options.argv[0] + " is not installed (not found in PATH)");
  }

  // Everything the child needs is prepared before fork(): after it only async-signal-safe calls
  // run.
  std::vector<std::string> env_text;
  if (!options.clear_env) {
    for (char** e = environ; *e; ++e) {
      std::string_view entry = *e;
      if (!options.env.contains(std::string(entry.substr(0, entry.find('=')))))
        env_text.emplace_back(entry);
    }
  }
  for (const auto& [k, v] : options.env) env_text.push_back(k + "=" + v);
  std::vector<char*> envp, argv;
  for (auto& e : env_text) envp.push_back(e.data());
  envp.push_back(nullptr);
  std::vector<std::string> args = options.argv;
  for (auto& a : args) argv.push_back(a.data());
  argv.push_back(nullptr);
  std::string cwd = options.cwd.string();
  std::vector<int> keep = options.keep_fds;
  std::sort(keep.begin(), keep.end());

  TRY_ASSIGN(Pipe failure, make_pipe());
  Fd null_fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  int in = options.stdin_fd >= 0 ? options.stdin_fd : null_fd.get();
  pid_t parent = ::getpid();
  pid_t pid = ::fork();
  if (pid < 0) return errno_error(errno, "cannot start " + program);
  if (pid == 0) {
    auto fail = [&](int stage) {
      int report[2] = {stage, errno};
      [[maybe_unused]] ssize_t n = ::write(failure.write.get(), report, sizeof report);
      ::_exit(127);
    };
    if (options.new_session) ::setsid();
    if (options.die_with_parent) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(127);
    }
    // Duplicate above 2 first, so that no source is overwritten before it is used.
    int s0 = ::fcntl(in, F_DUPFD_CLOEXEC, 3);
    int s1 = options.stdout_fd >= 0 ? ::fcntl(options.stdout_fd, F_DUPFD_CLOEXEC, 3) : -1;
    int s2 = options.stderr_fd >= 0 ? ::fcntl(options.stderr_fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (::dup2(s0, 0) < 0) fail(1);
    if (s1 >= 0 && ::dup2(s1, 1) < 0) fail(1);
    if (s2 >= 0 && ::dup2(s2, 2) < 0) fail(1);
    for (int fd : keep) ::fcntl(fd, F_SETFD, 0);
    unsigned first = 3;
    for (int fd : keep) {
      if (fd >= 3 && static_cast<unsigned>(fd) > first) {
        ::syscall(SYS_close_range, first, static_cast<unsigned>(fd) - 1,
                  4u /* CLOSE_RANGE_CLOEXEC */);
      }
      first = static_cast<unsigned>(fd) + 1;
    }
    ::syscall(SYS_close_range, first, ~0u, 4u);
    for (int s = 1; s < NSIG; ++s) {
      if (s != SIGKILL && s != SIGSTOP) ::signal(s, SIG_DFL);
    }
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (!cwd.empty() && ::chdir(cwd.c_str()) != 0) fail(2);
    ::execve(program.c_str(), argv.data(), envp.data());
    fail(3);
  }
  failure.write.reset();
  int report[2] = {0, 0};
  ssize_t n = 0;
  do {
    n = ::read(failure.read.get(), report, sizeof report);
  } while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(sizeof report)) {
    int raw = 0;
    ::waitpid(pid, &raw, 0);
    Error e = errno_error(
        report[1], report[0] == 2 ? "cannot enter folder " + cwd : "cannot start " + program);
    if (e.reason != "NotFound") e.reason = "StartFailed";
    return e;
  }
  return ChildProcess(pid);
}

Result<ProcessOutput> run_process(const ProcessOptions& given, Nanos timeout,
                                  std::string_view stdin_data, std::size_t max_output) {
  ProcessOptions options = given;
  TRY_ASSIGN(Pipe in, make_pipe());
  TRY_ASSIGN(Pipe out, make_pipe());
  TRY_ASSIGN(Pipe err, make_pipe());
  bool feed = options.stdin_fd < 0 && !stdin_data.empty();
  if (feed) options.stdin_fd = in.read.get();
  options.stdout_fd = out.write.get();
  options.stderr_fd = err.write.get();
  TRY_ASSIGN(ChildProcess child, spawn(options));
  in.read.reset();
  out.write.reset();
  err.write.reset();
  if (!feed) in.write.reset();
  for (int fd : {in.write.get(), out.read.get(), err.read.get()}) {
    if (fd >= 0) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  }
  // A child that exits before reading everything must not kill us with SIGPIPE.
  sigset_t pipe_set, old_set;
  sigemptyset(&pipe_set);
  sigaddset(&pipe_set, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe_set, &old_set);

  ProcessOutput result;
  auto deadline = system_clock().monotonic() + timeout;
  bool timed_out = false;
  auto drain = [&](Fd& fd, std::string& into) {
    char buffer[32 * 1024];
    while (true) {
      ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
      if (n > 0) {
        if (into.size() < max_output)
          into.append(buffer, std::min(static_cast<std::size_t>(n), max_output - into.size()));
        continue;
      }
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
      fd.reset();
      return;
    }
  };
  while (out.read.valid() || err.read.valid()) {
    auto left = deadline - system_clock().monotonic();
    if (left <= Nanos{0}) {
      timed_out = true;
      break;
    }
    pollfd fds[3] = {
        {out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}, {in.write.get(), POLLOUT, 0}};
    int wait_ms = static_cast<int>(std::min<std::int64_t>(left / Millis{1} + 1, 500));
    ::poll(fds, 3, wait_ms);
    if (fds[0].revents) drain(out.read, result.out);
    if (fds[1].revents) drain(err.read, result.err);
    if (in.write.valid() && fds[2].revents) {
      ssize_t n = ::write(in.write.get(), stdin_data.data(), stdin_data.size());
      if (n > 0) stdin_data.remove_prefix(static_cast<std::size_t>(n));
      if (stdin_data.empty() || (n < 0 && errno != EAGAIN && errno != EINTR)) in.write.reset();
    }
    // The child may be gone while a grandchild still holds the pipes.
    if (child.poll()) {
      if (out.read.valid()) drain(out.read, result.out);
      if (err.read.valid()) drain(err.read, result.err);
      break;
    }
  }
  while (!timed_out && !child.poll()) {
    if (system_clock().monotonic() > deadline) timed_out = true;
    std::this_thread::sleep_for(Millis{2});
  }
  timespec zero{};
  ::sigtimedwait(&pipe_set, nullptr, &zero);
  ::pthread_sigmask(SIG_SETMASK, &old_set, nullptr);
  if (timed_out) {
    child.kill_and_wait(Millis{200});
    return make_error(
        Code::kTimeout, "Timeout",
        options.argv[0] + " did not end within " + format_duration(timeout) + " and was killed");
  }
  result.status = child.wait();
  return result;
}

}  // namespace tango

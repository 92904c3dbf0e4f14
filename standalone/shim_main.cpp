// tango-shim DIR: runs one container's program, detached from everything else. It writes the log
// with timestamps, enforces the memory limit, turns SIGTERM into SIGTERM + grace + SIGKILL, and
// leaves the exit status on disk, so that API server, runner and operator may all be killed
// meanwhile.
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <set>

#include "lib/base/log.h"
#include "lib/base/subprocess.h"
#include "standalone/container_dir.h"

namespace tango::standalone {
namespace {

constexpr std::size_t kMaxLine = 16 * 1024;  // longer ones are split (P = partial)
constexpr std::uint64_t kMaxLogBytes =
    256ull << 20;  // afterwards the log starts anew, the old one is log.1
constexpr int kTickMillis = 100;
constexpr int kDrainMillis = 1000;

std::string stamp() {
  // Nanoseconds, as container runtimes write them.
  auto now = system_clock().now();
  auto nanos = std::chrono::duration_cast<Nanos>(now.time_since_epoch()).count() % 1'000'000'000;
  std::string text = format_time(now);
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%09lldZ", static_cast<long long>(nanos));
  return text.substr(0, text.size() - 1) + fraction;
}

class LogFile {
 public:
  explicit LogFile(fs::path path) : path_(std::move(path)) { open(); }
  void write(const char* stream, std::string_view text, bool whole) {
    std::string line = stamp() + " " + stream + (whole ? " F " : " P ");
    line.append(text).append("\n");
    if (size_ + line.size() > kMaxLogBytes) {
      ::rename(path_.c_str(), (path_.string() + ".1").c_str());
      open();
    }
    if (write_all(fd_.get(), line).ok())
      size_ += line.size();  // a full disk loses lines, never the program
  }

 private:
  void open() {
    fd_ = Fd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    off_t end = fd_.valid() ? ::lseek(fd_.get(), 0, SEEK_END) : 0;
    size_ = end > 0 ? static_cast<std::uint64_t>(end) : 0;
  }
  fs::path path_;
  Fd fd_;
  std::uint64_t size_ = 0;
};

// One output stream of the program: bytes in, whole lines out.
struct Pipe {
  const char* name;
  Fd fd;
  std::string rest;
  // False at end of file.
  bool pump(LogFile& log) {
    char block[65536];
    ssize_t n = ::read(fd.get(), block, sizeof block);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return false;
    rest.append(block, static_cast<std::size_t>(n));
    std::size_t from = 0;
    while (true) {
      auto end = rest.find('\n', from);
      if (end == std::string::npos && rest.size() - from < kMaxLine) break;
      std::size_t length =
          std::min(end == std::string::npos ? rest.size() - from : end - from, kMaxLine);
      const bool whole = end != std::string::npos && end - from == length;
      log.write(name, std::string_view(rest).substr(from, length), whole);
      from += length + (whole ? 1 : 0);
    }
    rest.erase(0, from);
    return true;
  }
  void flush(LogFile& log) {
    if (!rest.empty()) log.write(name, rest, true);
    rest.clear();
  }
};

// Resident memory of the shim's descendants: everything it started is below it (it is a subreaper).
std::uint64_t resident_bytes(pid_t session) {
  std::uint64_t pages = 0;
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return 0;
  while (dirent* entry = ::readdir(proc)) {
    pid_t pid = std::atoi(entry->d_name);
    if (pid <= 0 || ::getsid(pid) != session) continue;
    FILE* f = std::fopen(("/proc/" + std::to_string(pid) + "/statm").c_str(), "re");
    if (f == nullptr) continue;
    unsigned long long total = 0, resident = 0;
    if (std::fscanf(f, "%llu %llu", &total, &resident) == 2) pages += resident;
    std::fclose(f);
  }
  ::closedir(proc);
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

bool make_pipe(Fd& reader, Fd& writer) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return false;
  reader = Fd(fds[0]);
  writer = Fd(fds[1]);
  return ::fcntl(reader.get(), F_SETFL, O_NONBLOCK) == 0;
}

int run(const ContainerDir& dir) {
  Fd lock(::open(dir.lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  // A runner that asks "alive?" holds the lock for a moment; a second shim holds it for good.
  for (int i = 0; ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0; ++i) {
    if (i == 50) return 2;
    ::usleep(20'000);
  }
  if (dir.exit()) return 0;  // it ran already
  auto spec = dir.read_spec();
  LogFile log(dir.log());
  ContainerExit result;
  result.started_at = format_time(system_clock().now());
  auto fail = [&](const Error& e) {
    log.write("stderr", e.to_string(), true);
    result.code = 128;
    result.reason = "StartError";
    result.message = e.to_string();
    result.finished_at = format_time(system_clock().now());
    return dir.write_exit(result).ok() ? 0 : 1;
  };
  if (!spec.ok()) return fail(spec.error());

  sigset_t signals;
  sigemptyset(&signals);
  for (int s : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&signals, s);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  Fd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);

  Pipe out{"stdout", {}, {}}, err{"stderr", {}, {}};
  Fd out_writer, err_writer;
  if (!make_pipe(out.fd, out_writer) || !make_pipe(err.fd, err_writer))
    return fail(errno_error(errno, "cannot make a pipe"));
  ProcessOptions options;
  options.argv = spec->argv;
  options.env = spec->env;
  options.clear_env = true;
  options.cwd = spec->cwd;
  options.stdout_fd = out_writer.get();
  options.stderr_fd = err_writer.get();
  options.new_session = true;
  options.die_with_parent = true;
  if (auto s = dir.write_started(::getpid(), result.started_at); !s.ok()) return fail(s.error());
  auto child = spawn(options);
  if (!child.ok()) return fail(child.error());
  out_writer.reset();
  err_writer.reset();
  const pid_t pid = child->pid();

  Nanos kill_at{0};
  bool out_of_memory = false, out_open = true, err_open = true;
  std::optional<ExitStatus> status;
  while (!status) {
    pollfd fds[3] = {{signal_fd.get(), POLLIN, 0},
                     {out_open ? out.fd.get() : -1, POLLIN, 0},
                     {err_open ? err.fd.get() : -1, POLLIN, 0}};
    ::poll(fds, 3, spec->memory_limit > 0 || kill_at > Nanos{0} ? kTickMillis : 1000);
    signalfd_siginfo info;
    while (::read(signal_fd.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo == SIGCHLD) continue;
      Nanos deadline = system_clock().monotonic() + dir.grace(spec->grace);
      if (kill_at == Nanos{0}) ::kill(-pid, SIGTERM);
      kill_at = kill_at == Nanos{0} ? deadline : std::min(kill_at, deadline);
    }
    if (out_open) out_open = out.pump(log);
    if (err_open) err_open = err.pump(log);
    if (kill_at > Nanos{0} && system_clock().monotonic() >= kill_at) ::kill(-pid, SIGKILL);
    if (spec->memory_limit > 0 && !out_of_memory && resident_bytes(pid) > spec->memory_limit) {
      out_of_memory = true;
      log.write("stderr",
                "memory limit of " + std::to_string(spec->memory_limit) + " bytes exceeded; killed",
                true);
      ::kill(-pid, SIGKILL);
    }
    status = child->poll();
    // Orphans that were re-parented to us.
    for (int ignored = 0; status && ::waitpid(-1, &ignored, WNOHANG) > 0;) {
    }
  }
  ::kill(-pid, SIGKILL);  // whatever the program left behind in its session
  Nanos drain_until = system_clock().monotonic() + Millis{kDrainMillis};
  while ((out_open || err_open) && system_clock().monotonic() < drain_until) {
    pollfd fds[2] = {{out_open ? out.fd.get() : -1, POLLIN, 0},
                     {err_open ? err.fd.get() : -1, POLLIN, 0}};
    if (::poll(fds, 2, 50) < 0) break;
    if (out_open) out_open = out.pump(log);
    if (err_open) err_open = err.pump(log);
  }
  out.flush(log);
  err.flush(log);
  result.code = status->code;
  result.reason = out_of_memory ? "OOMKilled" : status->code == 0 ? "Completed" : "Error";
  result.finished_at = format_time(system_clock().now());
  return dir.write_exit(result).ok() ? 0 : 1;
}

}  // namespace
}  // namespace tango::standalone

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(
        stderr,
        "usage: tango-shim DIR   (started by the pod runner; see docs/formats/container-dir.md)\n");
    return 64;
  }
  return tango::standalone::run(tango::standalone::ContainerDir(argv[1]));
}

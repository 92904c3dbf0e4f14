// A real sshd of one's own on loopback: high port, own host key, own authorized_keys, all in a
// temporary folder. For component tests; nothing of the machine's own SSH set-up is read or
// changed.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/subprocess.h"
#include "lib/fleet/ssh.h"

namespace tango::fleet::testing {

inline int free_port() {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t len = sizeof a;
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&a), &len), 0);
  return ntohs(a.sin_port);
}

class Sshd {
 public:
  static bool available() { return ::access("/usr/sbin/sshd", X_OK) == 0; }

  explicit Sshd(const fs::path& dir) : dir_(dir), port_(free_port()) {
    EXPECT_TRUE(make_dirs(dir_).ok());
    // As root sshd wants its privilege separation folder; only the package's start script makes it.
    if (::geteuid() == 0) {
      EXPECT_TRUE(make_dirs("/run/sshd").ok());
    }
    new_host_key();
    EXPECT_TRUE(write_file_atomic(authorized_keys(), "# kept as it is\n", 0600).ok());
  }
  ~Sshd() { stop(); }

  void new_host_key() {
    std::error_code ec;
    fs::remove(dir_ / "host", ec);
    keygen(dir_ / "host");
  }
  // A client key whose public half is allowed to log in when `allow`.
  Secret<std::string> client_key(const std::string& name, bool allow) {
    keygen(dir_ / name);
    if (allow) {
      auto pub = read_file(dir_ / (name + ".pub"));
      EXPECT_TRUE(append_file(authorized_keys(), *pub).ok());
    }
    return Secret<std::string>(*read_file(dir_ / name));
  }
  void start() {
    std::string conf = "Port " + std::to_string(port_) + "\nListenAddress 127.0.0.1\nHostKey " +
                       (dir_ / "host").string() + "\nPidFile none\nAuthorizedKeysFile " +
                       authorized_keys().string() +
                       "\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
                       "KbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
                       "PrintMotd no\nLogLevel ERROR\n";
    ASSERT_TRUE(write_file_atomic(dir_ / "sshd.conf", conf).ok());
    ProcessOptions options;
    options.argv = {"/usr/sbin/sshd", "-D", "-e", "-f", (dir_ / "sshd.conf").string()};
    options.die_with_parent = true;
    Fd log(::open((dir_ / "sshd.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    options.stdout_fd = log.get();
    options.stderr_fd = log.get();
    auto child = spawn(options);
    ASSERT_TRUE(child.ok()) << child.error().to_string();
    child_.emplace(std::move(*child));
    for (int i = 0; i < 200; ++i) {
      if (observe_host_key(target()).ok()) return;
      system_clock().sleep_for(Millis{25});
    }
    FAIL() << "sshd did not start: " << *read_file(dir_ / "sshd.log");
  }
  void stop() {
    if (child_) child_->kill_and_wait(Seconds{2});
    child_.reset();
  }
  // Pinned to the key that the file says, not to what somebody shows.
  SshTarget target() const {
    SshTarget t;
    t.address = "127.0.0.1";
    t.port = static_cast<std::uint16_t>(port_);
    t.fingerprints = {fingerprint()};
    t.connect_timeout = Seconds{10};
    return t;
  }
  std::string fingerprint() const {
    ProcessOptions options;
    options.argv = {"ssh-keygen", "-lf", (dir_ / "host.pub").string()};
    auto r = run_process(options, Seconds{10});
    EXPECT_TRUE(r.ok());
    std::size_t at = r->out.find("SHA256:");
    return r->out.substr(at, r->out.find(' ', at) - at);
  }
  static std::string user() {
    const passwd* p = ::getpwuid(::geteuid());
    return p == nullptr ? "root" : p->pw_name;
  }
  fs::path authorized_keys() const { return dir_ / "authorized_keys"; }
  const fs::path& dir() const { return dir_; }

 private:
  static void keygen(const fs::path& file) {
    ProcessOptions options;
    options.argv = {"ssh-keygen", "-q", "-t",   "ed25519", "-N",
                    "",           "-C", "test", "-f",      file.string()};
    auto r = run_process(options, Seconds{20});
    ASSERT_TRUE(r.ok() && r->status.ok()) << (r.ok() ? r->err : r.error().to_string());
  }
  fs::path dir_;
  int port_;
  std::optional<ChildProcess> child_;
};

}  // namespace tango::fleet::testing

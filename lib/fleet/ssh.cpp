#include "lib/fleet/ssh.h"

#include <libssh/libssh.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "lib/base/digest.h"
#include "lib/fleet/socket.h"

namespace tango::fleet {
namespace {

// GCM first: fastest where the CPU has AES; ChaCha20 is what small ARM cores prefer.
constexpr const char* kCiphers =
    "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,"
    "aes128-ctr";
constexpr const char* kHostKeys =
    "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,rsa-sha2-512,rsa-sha2-256";
constexpr std::size_t kMaxExecOutput = 1u << 20;
constexpr std::size_t kMaxErrorText = 4096;
constexpr std::size_t kPiece = 256u << 10;
constexpr Nanos kSlice = Millis{100};
constexpr Nanos kStatusGrace = Seconds{2};  // for an exit status after both streams ended

Error lost(std::string why) {
  return make_error(Code::kUnavailable, "ConnectionLost", std::move(why));
}
Error cancelled() {
  return make_error(Code::kCancelled, "Cancelled", "the SSH operation was stopped on request");
}

struct SessionFree {
  void operator()(ssh_session s) const {
    ssh_disconnect(s);
    ssh_free(s);
  }
};
using Session = std::unique_ptr<std::remove_pointer_t<ssh_session>, SessionFree>;
struct KeyFree {
  void operator()(ssh_key k) const { ssh_key_free(k); }
};
using Key = std::unique_ptr<std::remove_pointer_t<ssh_key>, KeyFree>;
struct ChannelFree {
  void operator()(ssh_channel c) const { ssh_channel_free(c); }
};
using Channel = std::unique_ptr<std::remove_pointer_t<ssh_channel>, ChannelFree>;

void wait_socket(ssh_session s, Nanos timeout) {
  pollfd p{ssh_get_fd(s), POLLIN, 0};
  if ((ssh_get_poll_flags(s) & SSH_WRITE_PENDING) != 0) p.events |= POLLOUT;
  auto ms = std::chrono::ceil<Millis>(std::max(timeout, Nanos::zero())).count();
  (void)::poll(&p, 1, static_cast<int>(ms));
}

// Repeats a libssh call that says "again" until it ends, the time is over or somebody stops it.
template <typename Step>
Result<int> drive(ssh_session s, int again, Nanos timeout, const std::stop_token& stop, Step step) {
  Nanos until = system_clock().monotonic() + timeout;
  for (;;) {
    int rc = step();
    if (rc != again) return rc;
    if (stop.stop_requested()) return cancelled();
    Nanos left = until - system_clock().monotonic();
    if (left <= Nanos::zero()) {
      return make_error(Code::kTimeout, "Timeout", "the SSH server did not answer in time");
    }
    wait_socket(s, std::min(left, kSlice));
  }
}

Result<std::string> fingerprint_of(ssh_session s) {
  ssh_key raw = nullptr;
  if (ssh_get_server_publickey(s, &raw) != SSH_OK) {
    return make_error(Code::kUnavailable, "Unreachable", "the SSH server showed no host key");
  }
  Key key(raw);
  unsigned char* hash = nullptr;
  std::size_t size = 0;
  if (ssh_get_publickey_hash(key.get(), SSH_PUBLICKEY_HASH_SHA256, &hash, &size) != 0) {
    return make_error(Code::kInternal, "Internal", "the host key could not be hashed");
  }
  std::string text = to_base64(std::string_view(reinterpret_cast<const char*>(hash), size));
  ssh_clean_pubkey_hash(&hash);
  while (!text.empty() && text.back() == '=') text.pop_back();
  return "SHA256:" + text;
}

// TCP and key exchange only.
Result<Session> exchange_keys(const SshTarget& target, const std::string& user,
                              const std::stop_token& stop) {
  TRY_ASSIGN(Fd socket, connect_tcp(target.address, target.port, target.connect_timeout, stop));
  Session s(ssh_new());
  if (!s) return make_error(Code::kExhausted, "Internal", "no memory for an SSH session");
  int off = 0;
  int on = 1;
  socket_t fd = socket.get();
  auto set = [&](ssh_options_e option, const void* value) {
    return ssh_options_set(s.get(), option, value) == SSH_OK;
  };
  bool good = set(SSH_OPTIONS_HOST, target.address.c_str()) && set(SSH_OPTIONS_FD, &fd) &&
              set(SSH_OPTIONS_PROCESS_CONFIG, &off) && set(SSH_OPTIONS_NODELAY, &on) &&
              set(SSH_OPTIONS_SSH_DIR, "/nonexistent") &&
              set(SSH_OPTIONS_KNOWNHOSTS, "/dev/null") &&
              set(SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null") &&
              set(SSH_OPTIONS_CIPHERS_C_S, kCiphers) && set(SSH_OPTIONS_CIPHERS_S_C, kCiphers) &&
              set(SSH_OPTIONS_HOSTKEYS, kHostKeys) && set(SSH_OPTIONS_COMPRESSION, "no") &&
              set(SSH_OPTIONS_USER, user.empty() ? "nobody" : user.c_str());
  if (!good) {
    return make_error(Code::kInvalid, "InvalidAddress",
                      "libssh refuses the address or user: " + std::string(ssh_get_error(s.get())));
  }
  socket.release();  // the session closes it from here on
  ssh_set_blocking(s.get(), 0);
  auto rc =
      drive(s.get(), SSH_AGAIN, target.connect_timeout, stop, [&] { return ssh_connect(s.get()); });
  if (!rc.ok() && rc.error().code == Code::kCancelled) return std::move(rc).error();
  if (!rc.ok() || *rc != SSH_OK) {
    return make_error(Code::kUnavailable, "Unreachable",
                      target.address + ":" + std::to_string(target.port) +
                          " does not complete the SSH key exchange: " +
                          (rc.ok() ? ssh_get_error(s.get()) : rc.error().message.c_str()));
  }
  return s;
}

Status check_host_key(const SshTarget& target, const std::string& shown) {
  const auto& pins = target.fingerprints;
  if (std::find(pins.begin(), pins.end(), shown) != pins.end()) return ok_status();
  std::string where = target.address + ":" + std::to_string(target.port);
  if (pins.empty()) {
    return make_error(Code::kDenied, "HostKeyUnknown",
                      where + " shows the host key " + shown +
                          "; compare it on the device and approve it (nothing was sent)");
  }
  return make_error(Code::kDenied, "HostKeyChanged",
                    where + " shows the host key " + shown + " instead of the pinned " +
                        pins.front() + "; nothing was sent");
}

Result<Key> import_key(const Secret<std::string>& text) {
  ssh_key raw = nullptr;
  // The callback keeps libssh from asking a terminal for a passphrase.
  auto no_passphrase = [](const char*, char*, size_t, int, int, void*) { return -1; };
  if (ssh_pki_import_privkey_base64(text.reveal().c_str(), nullptr, no_passphrase, nullptr, &raw) !=
      SSH_OK) {
    return make_error(Code::kInvalid, "KeyInvalid",
                      "the private SSH key cannot be read: it must be an OpenSSH or PEM key "
                      "without a passphrase");
  }
  return Key(raw);
}

Status authenticate(ssh_session s, const SshTarget& target, const SshCredential& c,
                    const std::stop_token& stop) {
  Result<int> rc = SSH_AUTH_DENIED;
  std::string with;
  if (!c.private_key.empty()) {
    TRY_ASSIGN(Key key, import_key(c.private_key));
    with = "key";
    rc = drive(s, SSH_AUTH_AGAIN, target.connect_timeout, stop,
               [&] { return ssh_userauth_publickey(s, nullptr, key.get()); });
  } else if (!c.password.empty()) {
    with = "password";
    rc = drive(s, SSH_AUTH_AGAIN, target.connect_timeout, stop,
               [&] { return ssh_userauth_password(s, nullptr, c.password.reveal().c_str()); });
  } else {
    return make_error(Code::kInvalid, "AuthFailed", "there is neither a key nor a password to use");
  }
  TRY(rc);
  if (*rc == SSH_AUTH_SUCCESS) return ok_status();
  std::string where = c.user + "@" + target.address + ":" + std::to_string(target.port);
  if (*rc == SSH_AUTH_ERROR) {
    return make_error(Code::kUnavailable, "Unreachable",
                      where + ": the connection broke while authenticating: " + ssh_get_error(s));
  }
  return make_error(Code::kDenied, "AuthFailed", where + " refused the " + with);
}

Result<Channel> start_exec(ssh_session s, const std::string& command, Nanos timeout,
                           const std::stop_token& stop) {
  Channel channel(ssh_channel_new(s));
  if (!channel) return lost(ssh_get_error(s));
  auto step = [&](auto call) -> Status {
    TRY_ASSIGN(int rc, drive(s, SSH_AGAIN, timeout, stop, call));
    if (rc != SSH_OK)
      return lost("the SSH server refused a channel: " + std::string(ssh_get_error(s)));
    return ok_status();
  };
  TRY(step([&] { return ssh_channel_open_session(channel.get()); }));
  TRY(step([&] { return ssh_channel_request_exec(channel.get(), command.c_str()); }));
  return channel;
}

// One read of a stream; 0: nothing now. Sets `eof`.
Result<std::size_t> read_channel(ssh_session s, ssh_channel c, char* buffer, std::size_t size,
                                 bool err, bool& eof) {
  int n = ssh_channel_read_nonblocking(c, buffer, static_cast<std::uint32_t>(size), err ? 1 : 0);
  if (n > 0) return static_cast<std::size_t>(n);
  if (n == SSH_EOF || ssh_channel_is_eof(c) != 0 || ssh_channel_is_closed(c) != 0) {
    // At the end of one stream the other may still hold bytes.
    if (ssh_channel_poll(c, err ? 1 : 0) <= 0) eof = true;
    return std::size_t{0};
  }
  if (n == SSH_ERROR) return lost("the SSH connection broke: " + std::string(ssh_get_error(s)));
  return std::size_t{0};
}

Result<std::size_t> write_channel(ssh_session s, ssh_channel c, std::string_view data) {
  std::size_t room = std::min<std::size_t>({ssh_channel_window_size(c), data.size(), kPiece});
  if (room == 0) return std::size_t{0};
  int n = ssh_channel_write(c, data.data(), static_cast<std::uint32_t>(room));
  if (n == SSH_AGAIN) return std::size_t{0};
  if (n < 0) return lost("the SSH connection broke: " + std::string(ssh_get_error(s)));
  return static_cast<std::size_t>(n);
}

class SshChannel : public ByteChannel {
 public:
  SshChannel(ssh_session s, Channel channel) : session_(s), channel_(std::move(channel)) {}
  ~SshChannel() override {
    if (ssh_is_connected(session_) != 0) ssh_channel_close(channel_.get());
  }

  Result<std::size_t> read_some(char* buffer, std::size_t size) override {
    // The error stream shares the window with us, so it must be taken off even when nobody looks.
    char text[1024];
    bool ignored = false;
    for (;;) {
      auto n = read_channel(session_, channel_.get(), text, sizeof text, true, ignored);
      if (!n.ok() || *n == 0) break;
      error_text_.append(text, *n);
      if (error_text_.size() > kMaxErrorText) {
        error_text_.erase(0, error_text_.size() - kMaxErrorText);
      }
    }
    return read_channel(session_, channel_.get(), buffer, size, false, eof_);
  }
  Result<std::size_t> write_some(std::string_view data) override {
    if (ssh_channel_is_closed(channel_.get()) != 0 || ssh_channel_is_eof(channel_.get()) != 0) {
      return lost("the agent closed the channel");
    }
    return write_channel(session_, channel_.get(), data);
  }
  bool eof() const override { return eof_; }
  Status wait(bool, Nanos timeout) override {
    wait_socket(session_, timeout);
    return ok_status();
  }
  std::string error_text() const override { return error_text_; }

 private:
  ssh_session session_;
  Channel channel_;
  bool eof_ = false;
  std::string error_text_;
};

class LibsshSession : public SshSession {
 public:
  LibsshSession(Session s, std::string fingerprint, Nanos timeout)
      : session_(std::move(s)), fingerprint_(std::move(fingerprint)), timeout_(timeout) {}

  Result<ExecResult> exec(const std::string& command, std::string_view input, Nanos timeout,
                          std::stop_token stop,
                          const std::function<void(std::uint64_t)>& progress) override {
    TRY_ASSIGN(Channel channel, start_exec(session_.get(), command, timeout_, stop));
    ExecResult result;
    Nanos until = system_clock().monotonic() + timeout;
    std::size_t sent = 0;
    bool closed_input = false;
    bool eof[2] = {false, false};
    std::string buffer(64u << 10, '\0');
    std::optional<Nanos> drained;
    for (;;) {
      bool moved = false;
      // Not is_closed(): libssh leaves a channel "open" whose close arrived together with output.
      // The exit status comes before the end of the streams; a command killed by a signal has none.
      if (eof[0] && eof[1]) {
        if (!drained) drained = system_clock().monotonic();
        result.exit_code = ssh_channel_get_exit_status(channel.get());
        if (result.exit_code >= 0 || ssh_channel_is_closed(channel.get()) != 0 ||
            system_clock().monotonic() - *drained > kStatusGrace) {
          return result;
        }
      }
      if (sent < input.size() && ssh_channel_is_eof(channel.get()) == 0) {
        TRY_ASSIGN(std::size_t n, write_channel(session_.get(), channel.get(), input.substr(sent)));
        sent += n;
        moved = n > 0;
        if (moved && progress) progress(sent);
      } else if (!closed_input) {
        ssh_channel_send_eof(channel.get());
        closed_input = true;
      }
      for (bool err : {false, true}) {
        TRY_ASSIGN(std::size_t n, read_channel(session_.get(), channel.get(), buffer.data(),
                                               buffer.size(), err, eof[err ? 1 : 0]));
        std::string& text = err ? result.err : result.out;
        text.append(buffer, 0, std::min(n, kMaxExecOutput - std::min(kMaxExecOutput, text.size())));
        moved = moved || n > 0;
      }
      if (moved) continue;
      if (stop.stop_requested()) return cancelled();
      Nanos left = until - system_clock().monotonic();
      if (left <= Nanos::zero()) {
        return make_error(Code::kTimeout, "Timeout", "a command on the device did not end in time");
      }
      if (ssh_is_connected(session_.get()) == 0) return lost("the SSH connection broke");
      wait_socket(session_.get(), std::min(left, kSlice));
    }
  }

  Result<std::unique_ptr<ByteChannel>> open_exec(const std::string& command) override {
    TRY_ASSIGN(Channel channel, start_exec(session_.get(), command, timeout_, {}));
    return std::unique_ptr<ByteChannel>(
        std::make_unique<SshChannel>(session_.get(), std::move(channel)));
  }

  const std::string& host_fingerprint() const override { return fingerprint_; }

 private:
  Session session_;
  std::string fingerprint_;
  Nanos timeout_;
};

}  // namespace

Result<std::string> observe_host_key(const SshTarget& target, std::stop_token stop) {
  TRY_ASSIGN(Session s, exchange_keys(target, {}, stop));
  return fingerprint_of(s.get());
}

Result<std::unique_ptr<SshSession>> SshSession::connect(const SshTarget& target,
                                                        const SshCredential& credential,
                                                        std::stop_token stop) {
  TRY_ASSIGN(Session s, exchange_keys(target, credential.user, stop));
  TRY_ASSIGN(std::string shown, fingerprint_of(s.get()));
  TRY(check_host_key(target, shown));
  TRY(authenticate(s.get(), target, credential, stop));
  return std::unique_ptr<SshSession>(
      std::make_unique<LibsshSession>(std::move(s), std::move(shown), target.connect_timeout));
}

Result<std::string> ssh_public_line(const Secret<std::string>& private_key) {
  TRY_ASSIGN(Key key, import_key(private_key));
  char* text = nullptr;
  if (ssh_pki_export_pubkey_base64(key.get(), &text) != SSH_OK) {
    return make_error(Code::kInvalid, "KeyInvalid", "the key has no public half");
  }
  std::string line = std::string(ssh_key_type_to_char(ssh_key_type(key.get()))) + " " + text;
  ssh_string_free_char(text);
  return line;
}

std::string shell_words(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += ' ';
    out += '\'';
    for (char c : word) {
      if (c == '\'') {
        out += "'\\''";
      } else {
        out += c;
      }
    }
    out += '\'';
  }
  return out;
}

}  // namespace tango::fleet

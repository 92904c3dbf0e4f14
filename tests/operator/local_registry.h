// Debian's docker-registry on a free loopback port, for the life of one test.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <optional>
#include <string>

#include "lib/base/file.h"
#include "lib/base/http.h"
#include "lib/base/subprocess.h"

namespace tango::op {

class LocalRegistry {
 public:
  static constexpr const char* kProgram = "/usr/bin/docker-registry";
  static bool installed() { return fs::exists(kProgram); }

  LocalRegistry() : http_(make_curl_client({})) {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof a;
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&a), &size), 0);
    port_ = ntohs(a.sin_port);
    fd.reset();
    const std::string config =
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage:\n  filesystem: "
        "{rootdirectory: " +
        (dir_ / "data").string() +
        "}\nhttp:\n  secret: test\n  addr: 127.0.0.1:" + std::to_string(port_) + "\n";
    EXPECT_TRUE(write_file_atomic(dir_ / "conf.yml", config).ok());
    ProcessOptions options;
    options.argv = {kProgram, "serve", (dir_ / "conf.yml").string()};
    options.die_with_parent = true;
    Fd quiet(::open((dir_ / "log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    options.stdout_fd = quiet.get();
    options.stderr_fd = quiet.get();
    auto child = spawn(options);
    EXPECT_TRUE(child.ok());
    child_.emplace(std::move(*child));
    HttpRequest ping;
    ping.url = url() + "/v2/";
    for (int i = 0; i < 200; ++i) {
      auto r = http_->send(ping);
      if (r.ok() && r->status == 200) return;
      system_clock().sleep_for(Millis{50});
    }
    ADD_FAILURE() << "docker-registry did not start";
  }
  ~LocalRegistry() { stop(); }
  void stop() {
    if (child_) child_->kill_and_wait(Seconds{2});
    child_.reset();
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  HttpClient& http() { return *http_; }

 private:
  TempDir dir_;
  std::unique_ptr<HttpClient> http_;
  int port_ = 0;
  std::optional<ChildProcess> child_;
};

}  // namespace tango::op

// Runs the example of lib/kube/README.md, and restarts the server under it.
#include <gtest/gtest.h>

#include <thread>

#include "lib/base/file.h"
#include "lib/kube-types/core.h"
#include "standalone/api_server.h"
#include "tests/kube/example_controller.h"

namespace tango::kube {
namespace {

// The embedded server, with a way to take it down and bring it back on the same port and data.
class RestartableServer {
 public:
  Status up() {
    standalone::ApiServerOptions options;
    options.database = state_ / "api.db";
    options.token_key = Secret<std::string>(std::string(32, 'k'));
    TRY_ASSIGN(api_, standalone::ApiServer::open(std::move(options)));
    TRY(api_->bootstrap());
    api_->set_ready(true);
    HttpServerOptions http;
    http.port = port_;
    http.threads = 4;
    auto server =
        start_beast_server(http, [this](const HttpRequest& r) { return api_->handle(r); });
    if (!server.ok()) return std::move(server).error();
    server_ = std::move(*server);
    port_ = server_->port();
    return ok_status();
  }
  void down() {
    if (api_) api_->stop();
    if (server_) server_->stop();
    server_.reset();
    api_.reset();
  }
  ~RestartableServer() { down(); }
  ClientConfig config() const {
    ClientConfig config;
    config.server = "http://127.0.0.1:" + std::to_string(port_);
    config.token = Secret<std::string>(api_->admin_token());
    return config;
  }

 private:
  TempDir state_;
  std::uint16_t port_ = 0;
  std::unique_ptr<standalone::ApiServer> api_;
  std::unique_ptr<HttpServer> server_;
};

template <typename F>
bool eventually(F condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(Millis{20});
  }
  return false;
}

TEST(Example, CopiesHealsAndSurvivesARestartOfTheServer) {
  RestartableServer server;
  const Status up = server.up();
  ASSERT_TRUE(up.ok()) << up.error().to_string();
  auto client = KubeClient::connect(server.config());
  ASSERT_TRUE(client.ok());
  auto manager_client = KubeClient::connect(server.config());
  ASSERT_TRUE(manager_client.ok());
  auto manager = example::make_manager(std::move(*manager_client), "default");
  Status result = ok_status();
  std::thread thread([&] { result = manager->run(); });

  auto value_of_copy = [&] {
    auto copy = (*client)->get(ConfigMap::kKind, "default", "copy");
    return copy.ok() ? get_string(get(*copy, "data"), "k") : std::string("absent");
  };
  auto original = [](const std::string& value) {
    return Json{
        {"apiVersion", "v1"},
        {"kind", "ConfigMap"},
        {"metadata",
         {{"name", "original"}, {"namespace", "default"}, {"labels", {{"copy-to", "copy"}}}}},
        {"data", {{"k", value}}}};
  };
  ASSERT_TRUE((*client)->apply(ConfigMap::kKind, original("1")).ok());
  EXPECT_TRUE(eventually([&] { return value_of_copy() == "1"; }));
  ASSERT_TRUE((*client)->remove(ConfigMap::kKind, "default", "copy").ok());
  EXPECT_TRUE(eventually([&] { return value_of_copy() == "1"; })) << "a deleted copy comes back";

  server.down();
  std::this_thread::sleep_for(Millis{300});
  ASSERT_TRUE(server.up().ok());
  EXPECT_TRUE(eventually([&] { return (*client)->apply(ConfigMap::kKind, original("2")).ok(); }));
  EXPECT_TRUE(eventually([&] { return value_of_copy() == "2"; })) << "the watch came back";
  EXPECT_TRUE(manager->ready());
  manager->stop();
  thread.join();
  EXPECT_TRUE(result.ok());
}

}  // namespace
}  // namespace tango::kube

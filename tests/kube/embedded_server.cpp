// The environment on the embedded API server, in this process behind the Beast server.
#include "lib/base/file.h"
#include "standalone/api_server.h"
#include "tests/kube/server_environment.h"

namespace tango::kube::test {
namespace {

class EmbeddedServer : public ServerEnvironment {
 public:
  EmbeddedServer() {
    const Status started = start();
    if (!started.ok()) missing = started.error().to_string();
  }
  ~EmbeddedServer() override {
    if (api_) api_->stop();
    if (server_) server_->stop();
  }

 private:
  Status start() {
    standalone::ApiServerOptions options;
    options.database = state_ / "api.db";
    options.token_key = Secret<std::string>(std::string(32, 'k'));
    options.bookmark_interval = Seconds{1};
    TRY_ASSIGN(api_, standalone::ApiServer::open(std::move(options)));
    TRY(api_->bootstrap());
    api_->set_ready(true);
    HttpServerOptions http;
    http.threads = 4;
    auto server = start_beast_server(
        http, [this](const HttpRequest& request) { return api_->handle(request); });
    if (!server.ok()) return std::move(server).error();
    server_ = std::move(*server);
    config.server = "http://127.0.0.1:" + std::to_string(server_->port());
    config.token = Secret<std::string>(api_->admin_token());
    return ok_status();
  }
  TempDir state_;
  std::unique_ptr<standalone::ApiServer> api_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace

std::unique_ptr<ServerEnvironment> start_server() { return std::make_unique<EmbeddedServer>(); }

}  // namespace tango::kube::test

// An embedded API server with our kinds, and a stand-in for the operator's REST API, both on
// loopback, for tests of the command line. Everything is gone with the object.
#pragma once

#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "crds/crds.h"
#include "lib/base/file.h"
#include "standalone/api_server.h"
#include "standalone/manifests.h"
#include "tangoctl/verbs.h"

namespace tango::ctl {

struct Output {
  int code = 0;
  std::string out;
  std::string err;
};

class Cluster {
 public:
  Cluster() {
    // The surroundings of whoever runs the tests must not matter.
    for (const char* name : {"KUBECONFIG", "TANGO_STATE", "TANGO_SERVER", "TANGO_TOKEN", "NO_COLOR",
                             "CLICOLOR_FORCE"}) {
      ::unsetenv(name);
    }
    standalone::ApiServerOptions options;
    options.database = dir_ / "api.db";
    options.token_key = Secret<std::string>(std::string(32, 'k'));
    options.admission = standalone::tango_admission();
    auto server = standalone::ApiServer::open(std::move(options));
    if (!server.ok()) throw std::runtime_error(server.error().to_string());
    server_ = std::move(*server);
    require(server_->bootstrap());
    require(standalone::apply_manifests(server_->operations(),
                                        crds::manifests(crds::Flavour::kPlain), "test"));
    server_->set_ready(true);
    api_ = start([this](const HttpRequest& r) { return server_->handle(r); });
    rest_ = start([this](const HttpRequest& r) { return answer(r); });
    write("kubeconfig",
          "apiVersion: v1\nkind: Config\ncurrent-context: t\n"
          "clusters: [{name: t, cluster: {server: \"http://127.0.0.1:" +
              std::to_string(api_->port()) +
              "\"}}]\n"
              "users: [{name: t, user: {token: \"" +
              server_->admin_token() +
              "\"}}]\n"
              "contexts: [{name: t, context: {cluster: t, user: t}}]\n");
    write("operator.json", "{\"api\":\"http://127.0.0.1:" + std::to_string(rest_->port()) +
                               "\",\"tokenFile\":\"token\"}");
    write("token", "secret-token\n");
  }
  ~Cluster() {
    server_->stop();
    api_->stop();
    rest_->stop();
  }

  // tangoctl ARGS --kubeconfig ...; `in` is its standard input.
  Output run(std::vector<std::string> args, const std::string& in = {}) {
    std::ostringstream out, err;
    std::istringstream input(in);
    args.insert(args.begin(), "tangoctl");
    args.push_back("--kubeconfig");
    args.push_back((dir_ / "kubeconfig").string());
    Output result;
    result.code = ctl::run(args, {out, err, input, false});
    result.out = out.str();
    result.err = err.str();
    return result;
  }

  std::string write(const std::string& name, const std::string& text) {
    require(write_file_atomic(dir_ / name, text, 0600));
    return (dir_ / name).string();
  }
  fs::path dir() const { return dir_.path(); }

  // What the operator's REST API answers, and what it was asked.
  std::function<HttpReply(const HttpRequest&)> on_rest;
  std::vector<HttpRequest> asked() {
    std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  static void require(const Status& status) {
    if (!status.ok()) throw std::runtime_error(status.error().to_string());
  }
  static std::unique_ptr<HttpServer> start(HttpHandler handler) {
    auto server = start_beast_server({}, std::move(handler));
    if (!server.ok()) throw std::runtime_error(server.error().to_string());
    return std::move(*server);
  }
  HttpReply answer(const HttpRequest& request) {
    std::lock_guard lock(mutex_);
    asked_.push_back(request);
    if (header(request.headers, "Authorization") != "Bearer secret-token") {
      return {{401, {}, R"({"code":"Denied","reason":"Unauthorized","message":"no token"})"}, {}};
    }
    return on_rest ? on_rest(request) : HttpReply{{404, {}, "{}"}, {}};
  }

  TempDir dir_{"tangoctl-test"};
  std::unique_ptr<standalone::ApiServer> server_;
  std::unique_ptr<HttpServer> api_, rest_;
  std::mutex mutex_;
  std::vector<HttpRequest> asked_;
};

}  // namespace tango::ctl

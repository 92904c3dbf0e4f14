// An ApiServer in a temporary folder, called in-process, and the streams that catch what it
// watches.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "standalone/api_server.h"
#include "standalone/controllers.h"

namespace tango::standalone {

// Collects lines; can be waited for.
class CaughtStream : public HttpStream {
 public:
  bool send(std::string data) override {
    std::lock_guard lock(mutex_);
    if (closed_) return false;
    text_ += data;
    changed_.notify_all();
    return true;
  }
  void close() override {
    std::function<void()> callback;
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      callback = std::move(callback_);
      callback_ = nullptr;
      changed_.notify_all();
    }
    if (callback) callback();
  }
  bool closed() const override {
    std::lock_guard lock(mutex_);
    return closed_;
  }
  void on_close(std::function<void()> callback) override {
    std::lock_guard lock(mutex_);
    callback_ = std::move(callback);
  }
  // The first `n` events, or fewer after `ms`.
  std::vector<Json> events(std::size_t n, int ms = 5000) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(ms),
                      [&] { return lines().size() >= n || closed_; });
    return lines();
  }
  bool wait_closed(int ms = 5000) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::milliseconds(ms), [&] { return closed_; });
  }
  std::string text() const {
    std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  std::vector<Json> lines() const {
    std::vector<Json> out;
    std::size_t from = 0;
    for (auto end = text_.find('\n'); end != std::string::npos; end = text_.find('\n', from)) {
      out.push_back(Json::parse(text_.substr(from, end - from), nullptr, false));
      from = end + 1;
    }
    return out;
  }
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
  bool closed_ = false;
  std::function<void()> callback_;
};

class ApiTest : public ::testing::Test {
 protected:
  void SetUp() override { open(); }
  void TearDown() override { close(); }

  void open(StoreOptions store = {}, Nanos bookmarks = Seconds{60}) {
    ApiServerOptions o;
    o.database = dir_ / "api.db";
    o.token_key = Secret<std::string>("a-test-key-of-thirty-two-bytes--");
    o.store = store;
    o.bookmark_interval = bookmarks;
    o.admission = admission_;
    auto server = ApiServer::open(std::move(o));
    ASSERT_TRUE(server.ok()) << server.error().to_string();
    server_ = std::move(server).value();
    ASSERT_TRUE(server_->bootstrap().ok());
    server_->set_ready(true);
  }
  void run_controllers() {
    controllers_ = std::make_unique<Controllers>(server_->operations());
    ASSERT_TRUE(controllers_->start().ok());
  }
  void close() {
    controllers_.reset();
    if (server_) server_->stop();
    server_.reset();
  }

  HttpReply raw(const std::string& method, const std::string& url, const std::string& body = {},
                const std::string& type = "application/json",
                const std::string& accept = "application/json") {
    HttpRequest r;
    r.method = method;
    r.url = url;
    r.body = body;
    r.headers = {{"Content-Type", type}, {"Accept", accept}, {"User-Agent", "test/1"}};
    r.client_cert_subject = subject_;
    return server_->handle(r);
  }
  struct Answer {
    int status = 0;
    Json body;
    HttpHeaders headers;
    std::string reason() const { return get_string(body, "reason"); }
  };
  Answer call(const std::string& method, const std::string& url, const Json& body = nullptr,
              const std::string& type = "application/json",
              const std::string& accept = "application/json") {
    HttpReply reply = raw(method, url, body.is_null() ? "" : body.dump(), type, accept);
    return {reply.response.status, Json::parse(reply.response.body, nullptr, false),
            reply.response.headers};
  }
  Answer merge(const std::string& url, const Json& patch) {
    return call("PATCH", url, patch, "application/merge-patch+json");
  }
  Answer apply(const std::string& url, const Json& object,
               const std::string& query = "fieldManager=one") {
    return call("PATCH", url + "?" + query, object, "application/apply-patch+yaml");
  }
  std::shared_ptr<CaughtStream> watch(const std::string& url,
                                      const std::string& accept = "application/json") {
    HttpReply reply = raw("GET", url, "", "application/json", accept);
    EXPECT_EQ(reply.response.status, 200) << reply.response.body;
    auto stream = std::make_shared<CaughtStream>();
    if (reply.stream) reply.stream(stream);
    return stream;
  }
  template <typename F>
  static bool eventually(F condition, int ms = 8000) {
    auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    while (std::chrono::steady_clock::now() < until) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  static Json config_map(const std::string& name, const Json& labels = Json::object()) {
    return {{"apiVersion", "v1"},
            {"kind", "ConfigMap"},
            {"metadata", {{"name", name}, {"labels", labels}}},
            {"data", {{"k", "v"}}}};
  }
  void make_widgets() {
    Json crd = Json::parse(
        R"({"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.t.io"},
      "spec":{"group":"t.io","scope":"Namespaced","names":{"plural":"widgets","kind":"Widget","shortNames":["wd"]},"versions":[{"name":"v1","served":true,"storage":true,
      "subresources":{"status":{}},"additionalPrinterColumns":[{"name":"Size","type":"integer","jsonPath":".spec.size"},
      {"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}],
      "schema":{"openAPIV3Schema":{"type":"object","required":["spec"],"properties":{"spec":{"type":"object","required":["size"],"properties":{"size":{"type":"integer","maximum":10},
      "color":{"type":"string","default":"red"}}},"status":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}}]}})");
    ASSERT_EQ(call("POST", kCrds, crd).status, 201);
  }
  static Json widget(const std::string& name, int size) {
    return {{"apiVersion", "t.io/v1"},
            {"kind", "Widget"},
            {"metadata", {{"name", name}}},
            {"spec", {{"size", size}}}};
  }

  static constexpr const char* kCrds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
  static constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";
  static constexpr const char* kWidgets = "/apis/t.io/v1/namespaces/default/widgets";
  TempDir dir_{"api-test"};
  std::string subject_ = "CN=admin,O=system:masters";
  AdmissionHook admission_;
  std::unique_ptr<ApiServer> server_;
  std::unique_ptr<Controllers> controllers_;
};

}  // namespace tango::standalone

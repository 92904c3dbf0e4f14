// An API server of a few lines for the management API's tests.
#pragma once

#include <gtest/gtest.h>

#include <atomic>

#include "lib/kube/client.h"

namespace tango::op {

// An API server that knows one token and one right, and serves one pod's log.
class FakeReviews : public kube::KubeClient {
 public:
  int reviews = 0;
  bool allow_all = false;
  bool deny_all = false;
  std::string log;
  std::atomic<int> log_requests{0};

  Result<Json> create(const kube::KindInfo& kind, const Json& object,
                      const kube::WriteOptions&) override {
    ++reviews;
    Json out = object;
    if (kind.kind == "TokenReview") {
      const bool good = object["spec"]["token"] == "good";
      out["status"] = {{"authenticated", good},
                       {"user", {{"username", good ? "ann" : ""}, {"groups", {"staff"}}}}};
    } else {
      const Json& a = object["spec"]["resourceAttributes"];
      out["status"] = {{"allowed", !deny_all && (allow_all || (a["verb"] == "list" &&
                                                               object["spec"]["user"] == "ann"))},
                       {"reason", "no rule"}};
    }
    return out;
  }
  std::uint64_t stream(std::string_view path, StreamCallbacks callbacks) override {
    ++log_requests;
    EXPECT_EQ(path, "/api/v1/namespaces/default/pods/p/log");
    callbacks.on_head(200, {});
    callbacks.on_data(std::string_view(log).substr(0, 40));
    callbacks.on_data(std::string_view(log).substr(40));
    callbacks.on_end(Ok{});
    return 1;
  }
  Result<Json> get(const kube::KindInfo&, std::string_view, std::string_view) override {
    return Json();
  }
  Result<kube::ListResult> list(const kube::KindInfo&, const kube::ListOptions&) override {
    return kube::ListResult{};
  }
  Result<Json> update(const kube::KindInfo&, const Json&, const kube::WriteOptions&) override {
    return Json();
  }
  Result<Json> patch(const kube::KindInfo&, std::string_view, std::string_view, kube::PatchType,
                     const Json&, const kube::WriteOptions&) override {
    return Json();
  }
  Result<Json> apply(const kube::KindInfo&, const Json&, const kube::WriteOptions&) override {
    return Json();
  }
  Status remove(const kube::KindInfo&, std::string_view, std::string_view,
                const kube::DeleteOptions&) override {
    return Ok{};
  }
  Result<HttpResponse> raw(std::string_view, std::string_view, std::string_view,
                           std::string_view) override {
    return HttpResponse{};
  }
  void cancel(std::uint64_t) override {}
  std::unique_ptr<kube::KubeClient> with_timeout(Nanos) override { return nullptr; }
  const kube::ClientConfig& config() const override { return config_; }

 private:
  kube::ClientConfig config_;
};

}  // namespace tango::op

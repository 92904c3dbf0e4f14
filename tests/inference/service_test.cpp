#include "inference/service.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "inference/checks.h"
#include "tests/inference/bundle_fixture.h"

namespace tango::inference {
namespace {

class ServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    test::write_bundle(dir_.path());
    auto model = Model::load(dir_.path(), {1});
    ASSERT_TRUE(model.ok()) << model.error().to_string();
    model_ = std::move(*model);
    service_ = std::make_unique<Service>(*model_, ServiceOptions{});
  }
  HttpResponse post(std::string body, std::string type = "image/png",
                    std::string url = "/predict") {
    HttpRequest request;
    request.method = "POST";
    request.url = std::move(url);
    request.body = std::move(body);
    request.headers.emplace("Content-Type", std::move(type));
    return service_->handle(request);
  }
  TempDir dir_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Service> service_;
};

TEST_F(ServiceTest, EngineAgreesWithTheReferenceLoops) {
  const test::QuadrantNet net;
  for (std::uint64_t i = 0; i < 8; ++i) {
    const auto input = *vision::preprocess(test::quadrant_image(static_cast<int>(i % 4), i),
                                           model_->network().input);
    const auto got = model_->run(input.values);
    ASSERT_TRUE(got.ok()) << got.error().to_string();
    const auto want = net.run(input.values);
    for (std::size_t k = 0; k < want.size(); ++k) EXPECT_NEAR((*got)[k], want[k], 1e-5);
  }
}

TEST_F(ServiceTest, PredictAnswersClassScoreAndTop) {
  for (int quadrant = 0; quadrant < 4; ++quadrant) {
    const auto response = post(*vision::encode_png(test::quadrant_image(quadrant, 1000)));
    ASSERT_EQ(response.status, 200) << response.body;
    const auto answer = parse_json(response.body);
    ASSERT_TRUE(answer.ok());
    EXPECT_EQ((*answer)["index"], quadrant);
    EXPECT_EQ((*answer)["class"], model_->network().classes[static_cast<std::size_t>(quadrant)]);
    EXPECT_EQ((*answer)["top"].size(), 4U);
    double sum = 0;
    for (const Json& entry : (*answer)["top"]) sum += entry["score"].get<double>();
    EXPECT_NEAR(sum, 1.0, 1e-5);
    EXPECT_GE((*answer)["latencyMs"].get<double>(), 0.0);
  }
  const auto jpeg =
      post(*vision::encode_jpeg(test::quadrant_image(2, 5), 95), "image/jpeg", "/predict?top=1");
  const auto answer = parse_json(jpeg.body);
  EXPECT_EQ((*answer)["index"], 2);
  EXPECT_EQ((*answer)["top"].size(), 1U);
}

TEST_F(ServiceTest, MultipartIsUnderstood) {
  const std::string png = *vision::encode_png(test::quadrant_image(1, 7));
  const std::string body =
      "--b0\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n"
      "--b0\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n"
      "Content-Type: image/png\r\n\r\n" +
      png + "\r\n--b0--\r\n";
  const auto response = post(body, "multipart/form-data; boundary=b0");
  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_EQ((*parse_json(response.body))["index"], 1);
  for (std::size_t n = 0; n + 9 < body.size(); n += 5) {  // before the closing boundary
    const auto cut = post(body.substr(0, n), "multipart/form-data; boundary=b0");
    EXPECT_GE(cut.status, 400) << "cut at " << n;
    EXPECT_LT(cut.status, 500) << "cut at " << n;
  }
  EXPECT_EQ(post(body, "multipart/form-data").status, 400);
}

TEST_F(ServiceTest, BadImagesAreClientErrors) {
  EXPECT_EQ(post("hello").status, 415);
  EXPECT_EQ(post("").status, 415);
  const std::string png = *vision::encode_png(test::quadrant_image(1, 7));
  EXPECT_EQ(post(png.substr(0, png.size() / 2)).status, 400);
  EXPECT_EQ(post(png, "image/png", "/predict?top=zero").status, 400);
  const auto body = parse_json(post("hello").body);
  EXPECT_EQ((*body)["error"]["reason"], "UnknownImageFormat");
}

TEST_F(ServiceTest, ManyCallersAreServedInTurn) {
  const std::string png = *vision::encode_png(test::quadrant_image(3, 7));
  std::vector<std::jthread> callers;
  std::atomic<int> good{0};
  for (int t = 0; t < 6; ++t) {
    callers.emplace_back([&] {
      for (int i = 0; i < 20; ++i) good += post(png).status == 200 ? 1 : 0;
      for (int i = 0; i < 20; ++i) (void)post("bad");  // a refused image gives its turn back
    });
  }
  callers.clear();
  EXPECT_EQ(good, 120);
}

TEST_F(ServiceTest, OtherPathsAndMethods) {
  HttpRequest request;
  request.url = "/readyz";
  EXPECT_EQ(service_->handle(request).status, 200);
  request.url = "/predict";
  EXPECT_EQ(service_->handle(request).status, 405);
  request.url = "/nothing";
  EXPECT_EQ(service_->handle(request).status, 404);
  post("hello");
  request.url = "/metrics";
  const auto metrics = service_->handle(request);
  EXPECT_NE(metrics.body.find("tango_infer_requests_total{code=\"415\",path=\"/predict\"} 1"),
            std::string::npos)
      << metrics.body;
}

// ---- The gate against networks that are broken in different ways.

class GateTest : public testing::Test {
 protected:
  std::string reason_of(const test::QuadrantNet& net) {
    TempDir dir;
    test::write_bundle(dir.path(), net);
    const auto model = Model::load(dir.path(), {1});
    if (!model.ok()) return model.error().reason;
    const auto result = self_test(**model);
    if (!result.ok()) return result.error().reason;
    return get_bool(*result, "passed") ? "passed" : get_string(*result, "reason");
  }
};

TEST_F(GateTest, IntactNetworkPasses) { EXPECT_EQ(reason_of({}), "passed"); }

TEST_F(GateTest, BrokenNetworksAreRejected) {
  test::QuadrantNet zero;
  std::fill(zero.weights.begin(), zero.weights.end(), 0.0F);
  EXPECT_EQ(reason_of(zero), "ConstantAnswer");
  test::QuadrantNet reversed;
  std::reverse(reversed.weights.begin(), reversed.weights.end());
  std::rotate(reversed.weights.begin(), reversed.weights.begin() + 64, reversed.weights.end());
  EXPECT_EQ(reason_of(reversed), "TooFewAgree");
  test::QuadrantNet nan;
  nan.weights[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(reason_of(nan), "NotFinite");
}

TEST_F(GateTest, TruncatedAndForeignNetworksAreErrors) {
  TempDir dir;
  test::write_bundle(dir.path());
  const fs::path onnx = dir.path() / "model/model.onnx";
  const std::string bytes = *read_file(onnx);
  for (const std::string& bad :
       {bytes.substr(0, bytes.size() / 2), std::string("not a network"), std::string()}) {
    ASSERT_TRUE(write_file_atomic(onnx, bad).ok());
    const auto model = Model::load(dir.path(), {1});
    ASSERT_FALSE(model.ok());
    EXPECT_EQ(model.error().reason, "EngineFailed");
  }
  ASSERT_TRUE(write_file_atomic(onnx, bytes).ok());
  Json network = vision::encode(test::quadrant_network());
  network["classes"].push_back("fifth");
  ASSERT_TRUE(write_file_atomic(dir.path() / "model/network.json", network.dump()).ok());
  EXPECT_EQ(Model::load(dir.path(), {1}).error().reason, "InvalidSize");
}

TEST(Percentile, IsNearestRank) {
  std::vector<double> values{5, 1, 3, 2, 4};
  EXPECT_EQ(percentile(values, 0.5), 3);
  EXPECT_EQ(percentile(values, 0.95), 5);
  std::vector<double> none;
  EXPECT_EQ(percentile(none, 0.5), 0);
}

}  // namespace
}  // namespace tango::inference

// Executors against a real docker-registry: results are found again, bundles are signed only after
// their lineage was checked.
#include "operator/executors.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "lib/artifacts/bundle_store.h"
#include "lib/artifacts/trust_store.h"
#include "lib/run/stage.h"
#include "operator/fleet_json.h"
#include "tests/operator/fake_reviews.h"
#include "tests/operator/local_registry.h"

namespace tango::op {
namespace {

// Serves the two objects that the signer asks for.
class FakeObjects : public FakeReviews {
 public:
  Json build, model;
  Result<Json> get(const kube::KindInfo& kind, std::string_view, std::string_view name) override {
    const Json& object = kind.kind == "Model" ? model : build;
    if (object.is_null())
      return make_error(Code::kNotFound, "NotFound", "there is no " + std::string(name));
    return object;
  }
};

class Executors : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!LocalRegistry::installed()) GTEST_SKIP() << LocalRegistry::kProgram << " is not installed";
    registry_.emplace();
    access_ = {&registry_->http(), registry_->url(), {}};
  }

  void push_result(const std::string& tag, std::string_view type, const std::string& result) {
    artifacts::RegistryClient client = access_.client("tango/default/x");
    auto layer = client.push_blob(result, "application/json");
    ASSERT_TRUE(layer.ok()) << layer.error().to_string();
    layer->annotations["org.opencontainers.image.title"] = "result.json";
    const std::string line = run::encode_line(
        {1, "2026-01-01T00:00:00.000000Z", "default/r", 1, "done", Json::object()});
    auto events = client.push_blob(line + "\n", "application/jsonl");
    ASSERT_TRUE(events.ok());
    events->annotations["org.opencontainers.image.title"] = "events.jsonl";
    ASSERT_TRUE(client.push_artifact(type, {*layer, *events}, {}, tag).ok());
  }
  Json look_up(const std::string& tag, RunStore* runs = nullptr) {
    auto found =
        look_up_result(access_, Json{{"repository", "tango/default/x"}, {"tag", tag}}, runs);
    EXPECT_TRUE(found.ok()) << found.error().to_string();
    return found.ok() ? *found : Json();
  }

  // A bundle of one program, made of model `model`.
  Digest push_bundle_of(const std::optional<Digest>& model) {
    TempDir tree;
    EXPECT_TRUE(make_dirs(tree / "bin").ok());
    EXPECT_TRUE(write_file_atomic(tree / "bin/tango-infer", "program", 0755).ok());
    artifacts::BundleSpec spec;
    spec.id = "default/x";
    spec.entry = {{"bin/tango-infer", "serve"}, "http", "/readyz"};
    spec.model = model;
    auto bundle = artifacts::build_bundle(tree.path(), spec);
    EXPECT_TRUE(bundle.ok()) << bundle.error().to_string();
    artifacts::RegistryClient client = access_.client("tango/default/x");
    auto digest = artifacts::push_bundle(client, *bundle);
    EXPECT_TRUE(digest.ok()) << digest.error().to_string();
    return *digest;
  }
  Json sign_input(const Digest& bundle, const Digest& model) {
    return Json{{"repository", "tango/default/x"},
                {"bundleDigest", bundle.to_string()},
                {"modelDigest", model.to_string()},
                {"namespace", "default"},
                {"imageBuild", "b"},
                {"imageBuildUid", "uid-b"}};
  }
  static void say(FakeObjects& o, const Digest& model) {
    o.build = Json{{"metadata", {{"uid", "uid-b"}}}, {"spec", {{"modelRef", {{"name", "m"}}}}}};
    o.model = Json{{"spec", {{"digest", model.to_string()}}}};
  }

  std::optional<LocalRegistry> registry_;
  RegistryAccess access_;
  TempDir dir_;
};

TEST_F(Executors, ResultsAreFoundAgainWithTheirEvents) {
  EXPECT_EQ(look_up("result-a")["found"], false);
  push_result("result-a", artifacts::kRunArtifact,
              R"({"outputs":{"model":"sha256:aa"},"metrics":{"top1":0.9}})");
  auto runs = RunStore::open(dir_ / "runs.db");
  ASSERT_TRUE(runs.ok());
  const Json found = look_up("result-a", runs->get());
  EXPECT_EQ(found["found"], true);
  EXPECT_EQ(found["result"]["metrics"]["top1"], 0.9);
  auto progress = (*runs)->progress("default/r");
  ASSERT_TRUE(progress.ok());
  ASSERT_TRUE(progress->has_value());
  EXPECT_TRUE((*progress)->done);
}

TEST_F(Executors, OtherArtifactsUnderAResultTagAreRefused) {
  push_result("result-b", artifacts::kModelArtifact, "{}");
  auto found = look_up_result(access_, Json{{"repository", "tango/default/x"}, {"tag", "result-b"}},
                              nullptr);
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().reason, "ResultInvalid");
}

TEST_F(Executors, ARegistryThatIsDownIsSaid) {
  registry_->stop();
  auto found = look_up_result(access_, Json{{"repository", "tango/default/x"}, {"tag", "result-a"}},
                              nullptr);
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().reason, "RegistryUnavailable");
  EXPECT_EQ(found.error().code, Code::kUnavailable);
}

TEST_F(Executors, SignsWhatTheImageBuildSaysAndNothingElse) {
  auto keys = artifacts::init_keys(dir_ / "keys");
  ASSERT_TRUE(keys.ok()) << keys.error().to_string();
  const Digest model = sha256("model");
  const Digest bundle = push_bundle_of(model);
  FakeObjects objects;
  say(objects, model);
  auto signature = sign_bundle(access_, *keys, objects, sign_input(bundle, model));
  ASSERT_TRUE(signature.ok()) << signature.error().to_string();
  artifacts::RegistryClient client = access_.client("tango/default/x");
  auto index = artifacts::pull_bundle_index(client, bundle.to_string());
  ASSERT_TRUE(index.ok());
  EXPECT_EQ((*signature)["indexDigest"], sha256(*index).to_string());
  auto envelope = artifacts::pull_bundle_signature(client, bundle, *index);
  ASSERT_TRUE(envelope.ok()) << envelope.error().to_string();
  EXPECT_TRUE(artifacts::check_envelope(keys->root, artifacts::Role::kRelease, *index,
                                        artifacts::encode_envelope(*envelope),
                                        artifacts::kIndexType, 1u << 20)
                  .ok());
  // Asked again (a new leader): the same signature.
  auto again = sign_bundle(access_, *keys, objects, sign_input(bundle, model));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*again, *signature);
}

TEST_F(Executors, RefusesABundleOfAnotherLineage) {
  auto keys = artifacts::init_keys(dir_ / "keys");
  ASSERT_TRUE(keys.ok());
  const Digest model = sha256("model"), other = sha256("other");
  const Digest bundle = push_bundle_of(other);
  FakeObjects objects;
  say(objects, model);
  const auto reason = [&](FakeObjects& o, const Digest& b) {
    auto signature = sign_bundle(access_, *keys, o, sign_input(b, model));
    return signature.ok() ? std::string("signed") : signature.error().reason;
  };
  EXPECT_EQ(reason(objects, bundle), "LineageMismatch") << "made of another model";
  EXPECT_EQ(reason(objects, push_bundle_of(std::nullopt)), "LineageMismatch") << "says nothing";
  const Digest good = push_bundle_of(model);
  objects.build["metadata"]["uid"] = "uid-of-another";
  EXPECT_EQ(reason(objects, good), "LineageMismatch") << "another ImageBuild";
  objects.build = nullptr;
  EXPECT_EQ(reason(objects, good), "NotFound");
}

TEST(FailureOfLog, IsTheLastFailedEvent) {
  const std::string log = "noise\n" +
                          run::encode_line({1,
                                            "2026-01-01T00:00:00.000000Z",
                                            "r",
                                            1,
                                            "failed",
                                            {{"reason", "First"}, {"message", "a"}}}) +
                          "\n" +
                          run::encode_line({2,
                                            "2026-01-01T00:00:00.000000Z",
                                            "r",
                                            1,
                                            "failed",
                                            {{"reason", "DatasetChanged"}, {"message", "b"}}}) +
                          "\nmore noise";
  EXPECT_EQ(failure_of_log(log), (Json{{"reason", "DatasetChanged"}, {"message", "b"}}));
  EXPECT_EQ(failure_of_log("nothing here"), Json::object());
}

TEST(PooledExecutor, EveryWorkEndsOnceAlsoWhenCancelled) {
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::string> ended;
  {
    PooledExecutor executor(
        "x", 1, [](const kube::Work&, const auto&, std::stop_token stop) -> Result<Json> {
          while (!stop.stop_requested()) system_clock().sleep_for(Millis{1});
          return make_error(Code::kCancelled, "Cancelled", "stopped");
        });
    for (const char* key : {"a", "b"}) {
      executor.start({"x", key, {}, Seconds{1}},
                     {[](Json) {},
                      [&, key](Result<Json> r) {
                        const std::lock_guard lock(mutex);
                        ended.push_back(key + std::string(r.ok() ? "" : r.error().reason));
                        wake.notify_all();
                      }});
    }
    executor.cancel("a");
    std::unique_lock lock(mutex);
    EXPECT_TRUE(wake.wait_for(lock, std::chrono::seconds(5), [&] { return ended.size() == 1; }));
  }  // the destructor stops the other
  EXPECT_EQ(ended, (std::vector<std::string>{"aCancelled", "bCancelled"}));
}

TEST(FleetJson, SaysWhatTheDeviceSaid) {
  fleet::SlotState s;
  s.name = "main";
  s.state = "Committed";
  s.sequence = 3;
  s.release = "sha256:aa";
  s.listen = "127.0.0.1:4711";
  s.running = s.ready = true;
  s.measured.latency_p50_us = 1500;
  const Json j = slot_json(s);
  EXPECT_EQ(j["current"], "sha256:aa");
  EXPECT_EQ(j["port"], 4711);
  EXPECT_EQ(j["latency"]["p50"], 1.5);
  EXPECT_FALSE(j["latency"].contains("p95")) << "what was not measured is absent";
  EXPECT_EQ(j["healthy"], true);
  s.state = "Empty";
  EXPECT_EQ(slot_json(s)["current"], "");
}

}  // namespace
}  // namespace tango::op

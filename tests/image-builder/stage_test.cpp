// tango-builder as a pod would run it: stage.json and environment in, a real registry (Debian's
// docker-registry), exit codes and artifacts out.
#include "lib/run/stage.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include <cstdlib>

#include "image-builder/build.h"
#include "lib/artifacts/registry_client.h"
#include "lib/base/subprocess.h"
#include "lib/run/events.h"
#include "tests/inference/bundle_fixture.h"

namespace tango::builder {
namespace {

constexpr const char* kRegistry = "/usr/bin/docker-registry";

int free_port() {
  const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof a;
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&a), &length), 0);
  return ntohs(a.sin_port);
}

class StageTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kRegistry)) GTEST_SKIP() << kRegistry << " is not installed";
    url_ = "http://127.0.0.1:" + std::to_string(free_port());
    const std::string config =
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage:\n  filesystem: "
        "{rootdirectory: " +
        (dir_ / "registry").string() + "}\nhttp:\n  addr: " + url_.substr(7) + "\n";
    ASSERT_TRUE(write_file_atomic(dir_ / "registry.yml", config).ok());
    ProcessOptions options;
    options.argv = {kRegistry, "serve", (dir_ / "registry.yml").string()};
    options.die_with_parent = true;
    options.clear_env = true;
    const Fd quiet(
        ::open((dir_ / "registry.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    options.stdout_fd = options.stderr_fd = quiet.get();
    auto child = spawn(options);
    ASSERT_TRUE(child.ok()) << child.error().to_string();
    registry_process_.emplace(std::move(*child));
    http_ = make_curl_client({});
    HttpRequest ping;
    ping.url = url_ + "/v2/";
    bool up = false;
    for (int i = 0; i < 200 && !up; ++i) {
      const auto reply = http_->send(ping);
      up = reply.ok() && reply->status == 200;
      if (!up) system_clock().sleep_for(Millis{50});
    }
    ASSERT_TRUE(up) << "docker-registry did not start";
    artifacts::RegistryOptions registry;
    registry.url = url_;
    registry.repository = "tango/default/quadrant";
    registry_ = std::make_unique<artifacts::RegistryClient>(*http_, registry);
  }
  void TearDown() override {
    if (registry_process_) registry_process_->kill_and_wait(Seconds{2});
  }

  // Pushes a Model artifact of these files.
  Digest push_model(const std::map<std::string, std::string>& files) {
    std::vector<artifacts::Descriptor> layers;
    for (const auto& [title, bytes] : files) {
      auto layer = registry_->push_blob(bytes, "application/octet-stream");
      EXPECT_TRUE(layer.ok());
      layer->annotations["org.opencontainers.image.title"] = title;
      layers.push_back(*layer);
    }
    const auto digest = registry_->push_artifact(artifacts::kModelArtifact, layers);
    EXPECT_TRUE(digest.ok());
    return *digest;
  }
  run::StageSpec stage(const Digest& model) {
    run::StageSpec spec;
    spec.stage = "build";
    spec.type = "Build";
    spec.config = Json::parse(R"({"id": "default/quadrant", "version": {"display": "7"}})");
    spec.inputs["model"] = model.to_string();
    spec.registry = {url_, "tango/default/quadrant"};
    spec.run_id = "run-1";
    return spec;
  }
  ProcessOptions command(const run::StageSpec& spec, const std::string& name) {
    const fs::path folder = dir_ / name;
    EXPECT_TRUE(make_dirs(folder / "run").ok());
    EXPECT_TRUE(write_file_atomic(folder / "run/stage.json", dump_json(run::encode(spec))).ok());
    ProcessOptions options;
    options.argv = {(fs::path(std::getenv("TANGO_BIN_DIR")) / "tango-builder").string()};
    options.env = {{"TANGO_RUN_DIR", (folder / "run").string()},
                   {"TANGO_WORK_DIR", (folder / "work").string()}};
    options.die_with_parent = true;
    return options;
  }
  int run(const run::StageSpec& spec, const std::string& name) {
    const auto out = run_process(command(spec, name), Seconds{60});
    EXPECT_TRUE(out.ok()) << out.error().to_string();
    return out.ok() ? out->status.code : -1;
  }
  std::string failure(const std::string& name) {
    const auto text = read_file(dir_ / name / "run/events.jsonl");
    const auto last = text->rfind('\n', text->size() - 2);
    const auto event = run::parse_event(
        text->substr(last == std::string::npos ? 0 : last + 1,
                     text->size() - 1 - (last == std::string::npos ? 0 : last + 1)));
    return event.ok() ? get_string(event->fields, "reason") : event.error().to_string();
  }
  Result<run::StageResult> result_of(const run::StageSpec& spec) {
    TRY_ASSIGN(const auto hash,
               run::input_hash(spec.type, spec.type_version, spec.config, spec.inputs));
    TRY_ASSIGN(const auto manifest, registry_->get_manifest(run::result_tag(hash)));
    EXPECT_EQ(manifest.artifact_type, artifacts::kRunArtifact);
    EXPECT_NE(manifest.layer_titled("events.jsonl"), nullptr);
    TRY_ASSIGN(const auto text, registry_->pull_blob(*manifest.layer_titled("result.json")));
    TRY_ASSIGN(const Json value, parse_json(text));
    return run::parse_result(value);
  }

  TempDir dir_;
  std::string url_;
  std::optional<ChildProcess> registry_process_;
  std::unique_ptr<HttpClient> http_;
  std::unique_ptr<artifacts::RegistryClient> registry_;
};

TEST_F(StageTest, BuildsPushesAndRecordsLineage) {
  const Digest model = push_model(test::quadrant_model_files());
  const auto spec = stage(model);
  ASSERT_EQ(run(spec, "a"), run::kDone);
  const auto result = result_of(spec);
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  const std::string bundle = result->outputs.at("bundle");
  const auto index_bytes = artifacts::pull_bundle_index(*registry_, bundle);
  ASSERT_TRUE(index_bytes.ok()) << index_bytes.error().to_string();
  EXPECT_EQ(sha256(std::string_view(*index_bytes)).to_string(), result->metrics["indexDigest"]);
  const auto index = artifacts::parse_index(*index_bytes);
  ASSERT_TRUE(index.ok());
  EXPECT_EQ(index->model, model);
  EXPECT_EQ(index->total_bytes, result->metrics["bytes"]);
  EXPECT_EQ(result->metrics["gateRejected"].size(), 3U);
  const auto referrers = registry_->referrers(*Digest::parse(bundle), "application/spdx+json");
  ASSERT_TRUE(referrers.ok());
  EXPECT_EQ(referrers->size(), 1U);
  EXPECT_EQ(index->sbom->to_string(), result->metrics["sbomDigest"]);

  // Whole and runnable after the way through the registry.
  const auto pulled = artifacts::pull_bundle(*registry_, bundle, dir_ / "cache");
  ASSERT_TRUE(pulled.ok()) << pulled.error().to_string();
  ASSERT_TRUE(artifacts::unpack_bundle(*pulled, dir_ / "device").ok());
  ProcessOptions device;
  device.argv = {"bin/tango-infer", "selftest", "--bundle", ".", "--json"};
  device.cwd = dir_ / "device";
  device.clear_env = true;
  const auto out = run_process(device, Seconds{30});
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(out->status.code, 0) << out->out << out->err;

  // Another version of the same release: other index, equal files, nothing else is uploaded.
  auto next = spec;
  next.config["version"]["display"] = "8";
  ASSERT_EQ(run(next, "b"), run::kDone);
  const auto second = result_of(next);
  ASSERT_TRUE(second.ok());
  EXPECT_NE(second->outputs.at("bundle"), bundle);
  EXPECT_EQ(second->metrics["bytes"], result->metrics["bytes"]);
}

TEST_F(StageTest, ASecondAttemptFindsTheResult) {
  const auto spec = stage(push_model(test::quadrant_model_files()));
  ASSERT_EQ(run(spec, "a"), run::kDone);
  const auto before = result_of(spec);
  auto again = spec;
  again.attempt = 2;
  ASSERT_EQ(run(again, "b"), run::kDone);
  EXPECT_FALSE(fs::exists(dir_ / "b/work/release"));  // nothing was built
  EXPECT_EQ(result_of(spec)->outputs, before->outputs);
}

TEST_F(StageTest, FailuresHaveTheirExitCodes) {
  auto files = test::quadrant_model_files();
  test::QuadrantNet zero;
  std::fill(zero.weights.begin(), zero.weights.end(), 0.0F);
  files["model.onnx"] = zero.onnx();
  EXPECT_EQ(run(stage(push_model(files)), "gate"), run::kBadInput);
  EXPECT_EQ(failure("gate"), "KnownAnswerFailed");

  files.erase("golden.png");
  EXPECT_EQ(run(stage(push_model(files)), "missing"), run::kBadInput);
  EXPECT_EQ(failure("missing"), "MissingModelFile");

  EXPECT_EQ(run(stage(sha256(std::string_view("nobody"))), "absent"), run::kBadInput);

  const Digest model = push_model(test::quadrant_model_files());
  auto unknown = stage(model);
  unknown.config["colour"] = "red";
  EXPECT_EQ(run(unknown, "config"), run::kBadInput);
  EXPECT_EQ(failure("config"), "UnknownField");
  auto type = stage(model);
  type.type = "Train";
  EXPECT_EQ(run(type, "type"), run::kBadInput);

  registry_process_->kill_and_wait(Seconds{2});
  registry_process_.reset();
  auto options = command(stage(model), "down");
  const auto out = run_process(options, Seconds{60});
  ASSERT_TRUE(out.ok()) << out.error().to_string();
  EXPECT_EQ(out->status.code, run::kRegistryFailure);
}

// Killed in the middle: the next attempt starts over in the same work folder and gives the same.
TEST_F(StageTest, AKilledBuildIsRepeatable) {
  const auto spec = stage(push_model(test::quadrant_model_files()));
  const auto command_line = command(spec, "a");
  for (const int wait_ms : {150, 600, 1200}) {
    auto child = spawn(command_line);
    ASSERT_TRUE(child.ok());
    system_clock().sleep_for(Millis{wait_ms});
    child->signal(SIGKILL);
    child->wait();
  }
  const auto out = run_process(command_line, Seconds{60});
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(out->status.code, run::kDone) << out->err;
  const auto result = result_of(spec);
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(
      artifacts::pull_bundle(*registry_, result->outputs.at("bundle"), dir_ / "cache").ok());
}

TEST_F(StageTest, TerminationIsAnInterruption) {
  const auto spec = stage(push_model(test::quadrant_model_files()));
  auto child = spawn(command(spec, "a"));
  ASSERT_TRUE(child.ok());
  system_clock().sleep_for(Millis{300});
  child->signal(SIGTERM);
  const auto status = child->wait();
  EXPECT_TRUE(status.code == run::kInterrupted || status.code == run::kDone) << status.code;
}

}  // namespace
}  // namespace tango::builder

// The program as it is run: by hand, killed in the middle, with bad input, and as a stage against a
// real docker-registry.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <csignal>
#include <cstdlib>

#include "autonn/artifact_store.h"
#include "autonn/model_files.h"
#include "lib/artifacts/registry_client.h"
#include "lib/base/subprocess.h"
#include "lib/run/events.h"
#include "tests/autonn/tiny.h"

namespace tango::autonn {
namespace {

constexpr const char* kRegistryProgram = "/usr/bin/docker-registry";
constexpr Nanos kRunTimeout = Seconds{60};
constexpr const char* kTrainConfig =
    R"({"network": "resnet20", "epochs": 6, "batchSize": 32, "learningRate": 0.05, "threads": 1,
        "ema": 0.9, "augmentation": {"crop": 1, "flip": 0}})";

std::string trainer() { return std::string(std::getenv("TANGO_BIN_DIR")) + "/tango-trainer"; }

std::vector<run::Event> events_of(const fs::path& dir) {
  std::vector<run::Event> out;
  const std::string text = read_file(dir / "events.jsonl").value_or("");
  std::size_t at = 0;
  while (at < text.size()) {
    const auto end = text.find('\n', at);
    if (end == std::string::npos) break;
    auto e = run::parse_event(std::string_view(text).substr(at, end - at));
    EXPECT_TRUE(e.ok()) << text.substr(at, end - at);
    if (e.ok()) out.push_back(std::move(*e));
    at = end + 1;
  }
  return out;
}
bool has(const std::vector<run::Event>& events, std::string_view type,
         std::string_view reason = "") {
  for (const run::Event& e : events) {
    if (e.type == type && (reason.empty() || get_string(e.fields, "reason") == reason)) return true;
  }
  return false;
}

class Trainer : public ::testing::Test {
 protected:
  void SetUp() override { test::write_tiny_set(data(), 200, 60); }
  fs::path data() const { return dir_ / "data"; }

  fs::path stage_file(const std::string& type, const Json& config,
                      const Json& inputs = Json::object()) {
    const fs::path path = dir_ / ("stage-" + std::to_string(count_++) + ".json");
    test::write(path, dump_json({{"type", type}, {"config", config}, {"inputs", inputs}}));
    return path;
  }
  ProcessOptions command(const fs::path& stage, const fs::path& out) {
    ProcessOptions o;
    o.argv = {trainer(), "run",        "--stage", stage.string(),
              "--out",   out.string(), "--data",  data().string()};
    o.die_with_parent = true;
    return o;
  }
  int run(const fs::path& stage, const fs::path& out) {
    auto done = run_process(command(stage, out), kRunTimeout);
    EXPECT_TRUE(done.ok()) << done.error().to_string();
    if (!done.ok()) return -1;
    errors_ = done->err;
    return done->status.code;
  }
  Json result(const fs::path& out) {
    return parse_json(read_file(out / "result.json").value_or("{}")).value();
  }
  static Json config(const char* text = kTrainConfig) { return parse_json(text).value(); }

  TempDir dir_;
  int count_ = 0;
  std::string errors_;
};

TEST_F(Trainer, RunsEveryStageByHand) {
  const fs::path out = dir_ / "out";
  ASSERT_EQ(run(stage_file("Dataset", {{"format", "Idx"}}), out), 0) << errors_;
  const std::string dataset = get_string(get(result(out), "outputs"), "dataset");
  EXPECT_TRUE(dataset.starts_with("sha256:"));
  EXPECT_EQ(get_int(get(result(out), "metrics"), "classCount"), 4);

  ASSERT_EQ(run(stage_file("Train", config(), {{"dataset", dataset}}), out), 0) << errors_;
  const std::string model = get_string(get(result(out), "outputs"), "model");
  EXPECT_TRUE(get(result(out), "outputs").contains("trainerState"));
  EXPECT_EQ(get_string(get(result(out), "metrics"), "network"), "resnet20");

  ASSERT_EQ(
      run(stage_file("Evaluate", {{"split", "test"}}, {{"dataset", dataset}, {"model", model}}),
          out),
      0)
      << errors_;
  const Json trained = get(result(out), "metrics");
  EXPECT_GE(get_double(trained, "top1"), 0.9) << dump_json(trained);
  for (const char* key : {"top5", "f1", "loss", "confusion", "perClass", "samples"}) {
    EXPECT_TRUE(trained.contains(key)) << key;
  }

  ASSERT_EQ(
      run(stage_file("Export", Json::object(), {{"dataset", dataset}, {"model", model}}), out), 0)
      << errors_;
  const std::string exported = get_string(get(result(out), "outputs"), "model");
  const auto artifact = make_folder_store(out)->pull(exported);
  ASSERT_TRUE(artifact.ok());
  for (const char* title : {"graph.json", "weights.safetensors", "network.json", "metrics.json",
                            "model.onnx", "golden.json", "golden.safetensors", "golden.png"}) {
    EXPECT_TRUE(artifact->file(title).ok()) << title;
  }
  // The deploy form answers as the trained one did.
  ASSERT_EQ(run(stage_file("Evaluate", {{"split", "test"}}, {{"model", exported}}), out), 0)
      << errors_;
  EXPECT_EQ(get(result(out), "metrics")["confusion"], trained["confusion"]);

  ASSERT_EQ(
      run(stage_file("Distill",
                     config(R"({"network": "resnet20", "epochs": 4, "batchSize": 32, "ema": 0.9,
                                                 "learningRate": 0.05, "augmentation": {"crop": 1, "flip": 0}})"),
                     {{"dataset", dataset}, {"teacher", exported}}),
          out),
      0)
      << errors_;
  std::int64_t seq = -1;
  for (const run::Event& e : events_of(out)) {
    EXPECT_EQ(e.seq, seq + 1);
    seq = e.seq;
    if (e.type != "epoch") continue;
    for (const char* key : {"epoch", "epochs", "loss", "top1", "valLoss", "imagesPerSecond"}) {
      EXPECT_TRUE(e.fields.contains(key)) << key;
    }
  }
  EXPECT_TRUE(has(events_of(out), "epoch"));
}

TEST_F(Trainer, AKilledRunEndsWithTheSameModel) {
  const fs::path stage = stage_file("Train", config());
  const fs::path whole = dir_ / "whole";
  ASSERT_EQ(run(stage, whole), 0) << errors_;
  const std::string expected = get_string(get(result(whole), "outputs"), "model");

  for (const int signal : {SIGKILL, SIGTERM}) {
    const fs::path out = dir_ / ("cut-" + std::to_string(signal));
    ProcessOptions o = command(stage, out);
    Fd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    o.stdout_fd = o.stderr_fd = null.get();
    auto child = spawn(o);
    ASSERT_TRUE(child.ok());
    for (int i = 0; i < 3000 && !has(events_of(out), "checkpoint"); ++i)
      system_clock().sleep_for(Millis{10});
    ASSERT_TRUE(has(events_of(out), "checkpoint"));
    child->signal(signal);
    const ExitStatus status = child->wait();
    if (signal == SIGTERM) {
      // It may have been at its last step; else it says so.
      EXPECT_TRUE(status.code == run::kInterrupted || status.code == 0) << status.code;
    } else {
      EXPECT_TRUE(status.signalled || status.code == 0);
    }
    ASSERT_EQ(run(stage, out), 0) << errors_;
    EXPECT_EQ(get_string(get(result(out), "outputs"), "model"), expected);
    if (status.code != 0) {
      EXPECT_TRUE(has(events_of(out), "resumed"));
    }
  }
}

TEST_F(Trainer, BadInputIsAnsweredWithAReasonAndExitCode10) {
  const std::string nothing = sha256("nothing").to_string();
  const struct {
    const char* type;
    Json config;
    Json inputs;
    const char* reason;
  } cases[] = {
      {"Train", {{"epoch", 1}}, Json::object(), "UnknownField"},
      {"Train", {{"network", "yolov9-s"}}, Json::object(), "NotFound"},
      {"Train", config(), {{"dataset", nothing}}, "DatasetChanged"},
      {"Train", {{"data", {{"path", "absent"}}}}, Json::object(), "NotFound"},
      {"Train", {{"data", {{"path", "../data"}}}}, Json::object(), "UnsafePath"},
      {"Train", {{"data", {{"format", "COCO"}}}}, Json::object(), "Unsupported"},
      {"Train",
       {{"momentum", 0.999},
        {"weightDecay", 1},
        {"learningRate", 100},
        {"epochs", 40},
        {"schedule", "constant"}},
       Json::object(),
       "LossNotFinite"},
      {"Evaluate", Json::object(), Json::object(), "MissingInput"},
      {"Evaluate", Json::object(), {{"model", nothing}}, "NotFound"},
      {"Export", {{"formats", {"TFLite"}}}, Json::object(), "Unsupported"},
      {"Dataset", {{"folder", "x"}}, Json::object(), "UnknownField"},
      {"Quantize", Json::object(), Json::object(), "Unsupported"},
  };
  for (const auto& c : cases) {
    const fs::path out = dir_ / ("bad-" + std::to_string(count_));
    EXPECT_EQ(run(stage_file(c.type, c.config, c.inputs), out), run::kBadInput)
        << c.type << dump_json(c.config) << errors_;
    EXPECT_TRUE(has(events_of(out), "failed", c.reason)) << c.reason << ": " << errors_;
  }
  test::write(dir_ / "broken.json", "{\"type\": ");
  EXPECT_EQ(run(dir_ / "broken.json", dir_ / "bad"), run::kBadInput);
  EXPECT_EQ(run(dir_ / "absent.json", dir_ / "bad"), run::kBadInput);
}

class Stage : public Trainer {
 protected:
  void SetUp() override {
    if (!fs::exists(kRegistryProgram)) GTEST_SKIP() << kRegistryProgram << " is not installed";
    Trainer::SetUp();
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof a;
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    ASSERT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&a), &len), 0);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(a.sin_port));
    test::write(
        dir_ / "conf.yml",
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage:\n  filesystem: "
        "{rootdirectory: " +
            (dir_ / "registry").string() +
            "}\nhttp:\n  addr: 127.0.0.1:" + std::to_string(ntohs(a.sin_port)) + "\n");
  }
  void TearDown() override {
    if (registry_) registry_->kill_and_wait(Seconds{2});
  }
  void start_registry() {
    ProcessOptions o;
    o.argv = {kRegistryProgram, "serve", (dir_ / "conf.yml").string()};
    o.die_with_parent = true;
    Fd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    o.stdout_fd = o.stderr_fd = null.get();
    auto child = spawn(o);
    ASSERT_TRUE(child.ok());
    registry_.emplace(std::move(*child));
    HttpRequest ping;
    ping.url = url_ + "/v2/";
    for (int i = 0; i < 200; ++i) {
      const auto r = http_->send(ping);
      if (r.ok() && r->status == 200) return;
      system_clock().sleep_for(Millis{50});
    }
    FAIL() << "docker-registry did not start";
  }
  int run_stage(const std::string& name, const std::string& type, const Json& config,
                const Json& inputs) {
    const fs::path run_dir = dir_ / name;
    run::StageSpec spec;
    spec.stage = name;
    spec.type = type;
    spec.config = config;
    for (const auto& [port, digest] : inputs.items()) spec.inputs[port] = digest.get<std::string>();
    spec.registry = {url_, "tango/default/tiny"};
    spec.run_id = "run-" + name;
    test::write(run_dir / "stage.json", dump_json(run::encode(spec)));
    hash_ = run::input_hash(type, 1, config, spec.inputs).value();
    ProcessOptions o;
    o.argv = {trainer()};
    o.env = {{"TANGO_RUN_DIR", run_dir.string()},
             {"TANGO_WORK_DIR", (dir_ / ("work-" + name)).string()},
             {"TANGO_DATA_DIR", data().string()},
             {"TANGO_INPUT_HASH", hash_}};
    o.die_with_parent = true;
    auto done = run_process(o, kRunTimeout);
    EXPECT_TRUE(done.ok());
    if (!done.ok()) return -1;
    errors_ = done->err;
    return done->status.code;
  }
  std::unique_ptr<HttpClient> http_ = make_curl_client({});
  std::optional<ChildProcess> registry_;
  std::string url_;
  std::string hash_;
};

TEST_F(Stage, LeavesItsResultInTheRegistryUnderTheInputHash) {
  start_registry();
  Json small = config();
  small["epochs"] = 2;
  ASSERT_EQ(run_stage("train", "Train", small, Json::object()), 0) << errors_;
  const auto store = make_registry_store(*http_, {url_, "tango/default/tiny"}, {});
  const auto result = store->pull("result-" + hash_);
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_EQ(result->type, artifacts::kRunArtifact);
  const auto parsed =
      run::parse_result(parse_json(result->file("result.json").value()->bytes).value());
  ASSERT_TRUE(parsed.ok());
  EXPECT_NE(result->file("events.jsonl").value()->bytes.find("\"type\":\"done\""),
            std::string::npos);
  const auto model = store->pull(parsed->outputs.at("model"));
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(model->annotations.at("ml-tango.io/input-hash"), hash_);
  EXPECT_TRUE(read_model(*model).ok());

  // A new pod without the old work folder goes on from the pushed checkpoint: nothing is left to
  // do.
  fs::remove_all(dir_ / "work-train");
  fs::remove(dir_ / "train" / "events.jsonl");
  ASSERT_EQ(run_stage("train", "Train", small, Json::object()), 0) << errors_;
  EXPECT_TRUE(has(events_of(dir_ / "train"), "resumed"));
  EXPECT_FALSE(has(events_of(dir_ / "train"), "epoch"));
  const auto again = store->pull("result-" + hash_);
  EXPECT_EQ(run::parse_result(parse_json(again->file("result.json").value()->bytes).value())
                ->outputs.at("model"),
            parsed->outputs.at("model"));
}

TEST_F(Stage, ARegistryThatIsDownIsExitCode13) {
  EXPECT_EQ(run_stage("dataset", "Dataset", Json::object(), Json::object()), run::kRegistryFailure)
      << errors_;
}

}  // namespace
}  // namespace tango::autonn

// tango-infer as a process: the command line that agents and builders rely on.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>

#include "lib/base/json.h"
#include "lib/base/subprocess.h"
#include "tests/data/fixtures.h"
#include "tests/inference/bundle_fixture.h"
#include "tests/inference/raw_http.h"

namespace tango::inference {
namespace {

class ProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* bin = std::getenv("TANGO_BIN_DIR");
    ASSERT_NE(bin, nullptr);
    program_ = (fs::path(bin) / "tango-infer").string();
    test::write_bundle(bundle_);
  }
  ProcessOutput run(std::vector<std::string> args) {
    ProcessOptions options;
    options.argv = {program_};
    options.argv.insert(options.argv.end(), args.begin(), args.end());
    options.cwd = dir_.path();
    auto out = run_process(options, Seconds{30});
    EXPECT_TRUE(out.ok()) << out.error().to_string();
    return out.ok() ? *out : ProcessOutput{};
  }
  Json json(const ProcessOutput& out) {
    const auto value = parse_json(out.out);
    EXPECT_TRUE(value.ok()) << out.out << out.err;
    return value.ok() ? *value : Json::object();
  }
  // <folder>/<class>/<n>.png, `per_class` each.
  void write_images(const fs::path& folder, int per_class) {
    for (int c = 0; c < test::kClasses; ++c) {
      const auto name = test::quadrant_network().classes[static_cast<std::size_t>(c)];
      for (int i = 0; i < per_class; ++i) {
        test::write(
            folder / name / (std::to_string(i) + ".png"),
            *vision::encode_png(test::quadrant_image(c, 500 + static_cast<std::uint64_t>(i))));
      }
    }
  }
  TempDir dir_;
  fs::path bundle_ = dir_ / "bundle";
  std::string program_;
};

TEST_F(ProgramTest, SelftestPassesAndFails) {
  auto out = run({"selftest", "--bundle", "bundle", "--json"});
  EXPECT_EQ(out.status.code, 0) << out.out << out.err;
  EXPECT_EQ(json(out)["passed"], true);
  EXPECT_EQ(json(out)["samples"], 16);
  EXPECT_LT(json(out)["maxAbsDiff"].get<double>(), 1e-4);

  test::QuadrantNet zero;
  std::fill(zero.weights.begin(), zero.weights.end(), 0.0F);
  test::write_bundle(bundle_, zero);
  out = run({"selftest", "--bundle", "bundle", "--json"});
  EXPECT_EQ(out.status.code, 1);
  EXPECT_EQ(json(out)["reason"], "ConstantAnswer");

  fs::remove(bundle_ / "model/golden.safetensors");
  out = run({"selftest", "--bundle", "bundle", "--json"});
  EXPECT_EQ(out.status.code, 1);
  EXPECT_EQ(json(out)["passed"], false);
}

TEST_F(ProgramTest, BenchMeasures) {
  const auto out = run({"bench", "--bundle", "bundle", "--json", "--iterations", "30"});
  ASSERT_EQ(out.status.code, 0) << out.err;
  const Json result = json(out);
  EXPECT_EQ(result["iterations"], 30);
  EXPECT_GT(result["p50Ms"].get<double>(), 0);
  EXPECT_GE(result["p95Ms"].get<double>(), result["p50Ms"].get<double>());
  EXPECT_GT(result["peakRssBytes"].get<std::uint64_t>(), 1u << 20);
}

TEST_F(ProgramTest, EvalReadsFoldersAndIdx) {
  write_images(dir_ / "plain", 5);
  auto out = run({"eval", "--bundle", "bundle", "--data", "plain", "--format", "folder", "--json"});
  ASSERT_EQ(out.status.code, 0) << out.err;
  EXPECT_EQ(json(out)["samples"], 20);
  EXPECT_EQ(json(out)["accuracy"], 1.0);
  EXPECT_GT(json(out)["latencyMs"]["p95"].get<double>(), 0);

  test::write_idx(dir_ / "noise", "t10k", 200, 4, 3, true, test::kSide);
  out = run({"eval", "--bundle", "bundle", "--data", "noise", "--format", "idx", "--json"});
  ASSERT_EQ(out.status.code, 0) << out.err;
  EXPECT_EQ(json(out)["samples"], 200);
  EXPECT_LT(json(out)["accuracy"].get<double>(), 0.6);  // labels of noise mean nothing

  out = run({"eval", "--bundle", "bundle", "--data", "absent", "--json"});
  EXPECT_EQ(out.status.code, 1);
  EXPECT_EQ(json(out)["reason"], "NotFound");
}

TEST_F(ProgramTest, PredictAnswersFilesAndFolders) {
  write_images(dir_ / "in", 1);
  auto out = run({"predict", "--bundle", "bundle", "in"});
  ASSERT_EQ(out.status.code, 0) << out.err;
  EXPECT_NE(out.out.find("in/upper-right/0.png\tupper-right\t0."), std::string::npos) << out.out;
  out = run({"predict", "--bundle", "bundle", "--output", "image", "--output-dir", "marked", "in"});
  ASSERT_EQ(out.status.code, 0) << out.err;
  // Four images called 0.png: none overwrote another, and each is a picture.
  for (const char* name : {"0.png", "0-1.png", "0-2.png", "0-3.png"}) {
    const auto bytes = read_file(dir_ / "marked" / name);
    ASSERT_TRUE(bytes.ok()) << name;
    EXPECT_TRUE(vision::decode_image(*bytes).ok());
  }
  test::write(dir_ / "in/bad.png", "junk");
  out = run(
      {"predict", "--bundle", "bundle", "--output", "json", "in/bad.png", "in/lower-left/0.png"});
  EXPECT_EQ(out.status.code, 1);  // one failed, the other is answered all the same
  EXPECT_NE(out.out.find("UnknownImageFormat"), std::string::npos);
  EXPECT_NE(out.out.find("\"class\":\"lower-left\""), std::string::npos);
}

TEST_F(ProgramTest, WrongCommandLinesExitWithTwo) {
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{},
        {"dance"},
        {"selftest"},
        {"selftest", "--bundle"},
        {"selftest", "--bundle", "bundle", "--colour", "red"},
        {"selftest", "--bundle", "bundle", "extra"},
        {"bench", "--bundle", "bundle", "--iterations", "many"},
        {"serve", "--bundle", "bundle", "--listen", "nowhere"},
        {"predict", "--bundle", "bundle"}}) {
    EXPECT_EQ(run(args).status.code, 2) << (args.empty() ? "" : args.back());
  }
}

TEST_F(ProgramTest, ServeSaysReadyAnswersAndStops) {
  for (const bool unix_socket : {false, true}) {
    int fds[2];
    ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
    Fd reader(fds[0]);
    Fd writer(fds[1]);
    ProcessOptions options;
    const std::string path = (dir_ / "infer.sock").string();
    options.argv = {program_,         "serve",    "--bundle",
                    bundle_.string(), "--listen", unix_socket ? "unix:" + path : "127.0.0.1:0"};
    options.stdout_fd = writer.get();
    options.die_with_parent = true;
    auto child = spawn(options);
    ASSERT_TRUE(child.ok()) << child.error().to_string();
    writer.reset();
    std::string line;
    char c = 0;
    while (::read(reader.get(), &c, 1) == 1 && c != '\n') line += c;
    const auto ready = parse_json(line);
    ASSERT_TRUE(ready.ok()) << line;
    EXPECT_EQ((*ready)["ready"], true);
    {
      test::RawClient client = unix_socket ? test::RawClient(path)
                                           : test::RawClient((*ready)["port"].get<std::uint16_t>());
      ASSERT_TRUE(client.connected());
      EXPECT_EQ(client.request("GET", "/readyz").status, 200);
      const auto reply =
          client.request("POST", "/predict", *vision::encode_png(test::quadrant_image(2, 1)));
      EXPECT_EQ(reply.status, 200);
      EXPECT_EQ((*parse_json(reply.body))["class"], "lower-left");
    }
    child->signal(SIGTERM);
    EXPECT_EQ(child->wait().code, 0);
    EXPECT_FALSE(fs::exists(path));  // never made, or removed at the end
  }
}

}  // namespace
}  // namespace tango::inference

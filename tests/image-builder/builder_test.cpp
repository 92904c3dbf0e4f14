// The builder without a registry: closure, damage, configuration, determinism, the gate's proof.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "image-builder/build.h"
#include "image-builder/build_config.h"
#include "image-builder/onnx_corrupt.h"
#include "lib/base/subprocess.h"
#include "tests/inference/bundle_fixture.h"

namespace tango::builder {
namespace {

fs::path runtime() { return fs::path(std::getenv("TANGO_BIN_DIR")) / "tango-infer"; }

Json config() {
  return Json::parse(R"({"id": "default/quadrant",
    "target": {"profile": "linux-x86", "arch": "amd64", "os": "linux", "engine": "OpenCV"},
    "version": {"display": "1.0", "security": 3}, "healthGate": {"latencyUs": 20000},
    "io": {"output": {"http": {"port": 8080}}}})");
}

TEST(Elf, ReadsTheRuntime) {
  const auto info = parse_elf(*read_file(runtime()));
  ASSERT_TRUE(info.ok()) << info.error().to_string();
  EXPECT_EQ(architecture_of(*info), "amd64");
  EXPECT_THAT(info->needed, testing::Contains("libopencv_dnn.so.406"));
  EXPECT_THAT(info->search_path, testing::Contains("$ORIGIN/../lib"));
}

TEST(Elf, DamagedFilesAreErrorsNeverCrashes) {
  const std::string good = read_file(runtime())->substr(0, 20000);
  CounterRandom random(3, 3);
  for (int i = 0; i < 300; ++i) {
    std::string bytes = good;
    for (int k = 0; k < 8; ++k) {
      bytes[random.below(1024)] = static_cast<char>(random.next());
    }
    (void)parse_elf(bytes);
  }
  for (std::size_t n = 0; n < 2000; n += 13) (void)parse_elf(good.substr(0, n));
  EXPECT_EQ(parse_elf("#!/bin/sh").error().reason, "InvalidElf");
  EXPECT_EQ(parse_elf("").error().reason, "InvalidElf");
}

TEST(Closure, IsCompleteAndLeavesGlibcOut) {
  const auto objects = shared_object_closure(runtime());
  ASSERT_TRUE(objects.ok()) << objects.error().to_string();
  std::vector<std::string> names;
  std::uint64_t bytes = 0;
  for (const auto& object : *objects) {
    names.push_back(object.name);
    bytes += fs::file_size(object.source);
  }
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_THAT(names, testing::IsSupersetOf({"libopencv_core.so.406", "libprotobuf.so.32",
                                            "libstdc++.so.6", "libgcc_s.so.1"}));
  EXPECT_THAT(names, testing::Each(testing::ResultOf(is_glibc, false)));
  // A device should not have to fetch a BLAS that inference never calls, nor image codecs.
  EXPECT_LT(bytes, 48u << 20);
  EXPECT_THAT(names, testing::Not(testing::Contains(testing::HasSubstr("imgcodecs"))));
}

TEST(Closure, NamesWhatIsMissingAndWhoAsks) {
  ClosureOptions nowhere;
  const auto objects = shared_object_closure(runtime(), nowhere);
  ASSERT_FALSE(objects.ok());
  EXPECT_EQ(objects.error().reason, "LibraryNotFound");
  EXPECT_NE(objects.error().message.find("tango-infer"), std::string::npos);
}

TEST(Corrupt, ChangesWeightsAndNothingElse) {
  const test::QuadrantNet net;
  const std::string onnx = net.onnx();
  for (const Corruption kind : {Corruption::kZeroed, Corruption::kReversed}) {
    const auto bad = corrupt_weights(onnx, kind);
    ASSERT_TRUE(bad.ok()) << bad.error().to_string();
    EXPECT_EQ(bad->size(), onnx.size());
    EXPECT_NE(*bad, onnx);
    test::QuadrantNet expected;  // the bias has one dimension and stays
    if (kind == Corruption::kZeroed) {
      std::fill(expected.weights.begin(), expected.weights.end(), 0.0F);
      std::fill(expected.kernel.begin(), expected.kernel.end(), 0.0F);
    } else {
      std::reverse(expected.weights.begin(), expected.weights.end());
      std::reverse(expected.kernel.begin(), expected.kernel.end());
    }
    EXPECT_EQ(*bad, expected.onnx());
  }
  EXPECT_EQ(corrupt_weights("", Corruption::kZeroed).error().reason, "InvalidOnnx");
  for (std::size_t n = 1; n < onnx.size(); n += 11) {
    (void)corrupt_weights(onnx.substr(0, n), Corruption::kReversed);
  }
}

TEST(Config, IsReadStrictly) {
  const auto spec = parse_build_config(config());
  ASSERT_TRUE(spec.ok()) << spec.error().to_string();
  EXPECT_EQ(spec->security_version, 3U);
  EXPECT_EQ(spec->health_gate.latency_us, 20000U);
  EXPECT_EQ(spec->entry.argv,
            (std::vector<std::string>{"bin/tango-infer", "serve", "--bundle", "."}));
  EXPECT_EQ(spec->entry.ready_path, "/readyz");
  struct Case {
    const char* path;
    const char* value;
    const char* reason;
  };
  for (const Case& c :
       {Case{"/surprise", "1", "UnknownField"}, Case{"/target/colour", "1", "UnknownField"},
        Case{"/id", "7", "WrongType"}, Case{"/target/engine", "\"TensorRT\"", "Unsupported"},
        Case{"/target/os", "\"windows\"", "Unsupported"},
        Case{"/version/security", "-1", "WrongType"}, Case{"/io", "[]", "WrongType"},
        Case{"/healthGate/maybe", "1", "IndexInvalid"},
        Case{"/entry/argv", "\"x\"", "WrongType"}}) {
    Json bad = config();
    bad[Json::json_pointer(c.path)] = Json::parse(c.value);
    const auto result = parse_build_config(bad);
    ASSERT_FALSE(result.ok()) << c.path;
    EXPECT_EQ(result.error().reason, c.reason) << c.path << " " << result.error().to_string();
  }
}

class BuildTest : public testing::Test {
 protected:
  Result<Built> build(const std::string& work, std::map<std::string, std::string> files) {
    BuildInput input;
    input.model_files = std::move(files);
    input.runtime = runtime();
    input.spec = *parse_build_config(config());
    input.spec.model = sha256(std::string_view("model"));
    input.work = dir_ / work;
    return build_release(input);
  }
  TempDir dir_;
};

TEST_F(BuildTest, TwiceGivesTheSameBytesAndTheTreeRuns) {
  const auto first = build("a", test::quadrant_model_files());
  ASSERT_TRUE(first.ok()) << first.error().to_string();
  const auto second = build("b", test::quadrant_model_files());
  ASSERT_TRUE(second.ok()) << second.error().to_string();
  EXPECT_EQ(first->bundle.index_bytes, second->bundle.index_bytes);
  EXPECT_EQ(first->bundle.chunk_list_bytes, second->bundle.chunk_list_bytes);
  EXPECT_EQ(first->sbom, second->sbom);
  EXPECT_EQ(first->rejected.size(), 3U);

  const auto& index = first->bundle.index;
  EXPECT_EQ(index.model, sha256(std::string_view("model")));
  EXPECT_EQ(index.sbom, sha256(std::string_view(first->sbom)));
  std::vector<std::string> paths;
  for (const auto& file : index.files) paths.push_back(file.path);
  EXPECT_THAT(paths, testing::IsSupersetOf({"bin/tango-infer", "config/io.json", "model/model.onnx",
                                            "model/network.json", "model/golden.json",
                                            "model/golden.safetensors", "model/golden.png"}));
  EXPECT_TRUE(artifacts::parse_index(first->bundle.index_bytes).ok());

  // As a device gets it: unpacked, moved, started from its root with nothing of this machine.
  ASSERT_TRUE(artifacts::unpack_bundle(first->bundle, dir_ / "device").ok());
  ProcessOptions options;
  options.argv = {"bin/tango-infer", "selftest", "--bundle", ".", "--json"};
  options.cwd = dir_ / "device";
  options.clear_env = true;
  const auto out = run_process(options, Seconds{30});
  ASSERT_TRUE(out.ok()) << out.error().to_string();
  EXPECT_EQ(out->status.code, 0) << out->out << out->err;

  const auto sbom = parse_json(first->sbom);
  ASSERT_TRUE(sbom.ok());
  EXPECT_EQ((*sbom)["spdxVersion"], "SPDX-2.3");
  EXPECT_EQ((*sbom)["files"].size(), first->objects.size() + 1);
}

TEST_F(BuildTest, AModelThatFailsItsOwnGateIsNotBuilt) {
  auto files = test::quadrant_model_files();
  test::QuadrantNet wrong;
  std::rotate(wrong.weights.begin(), wrong.weights.begin() + 64, wrong.weights.end());
  files["model.onnx"] = wrong.onnx();
  const auto built = build("a", files);
  ASSERT_FALSE(built.ok());
  EXPECT_EQ(built.error().reason, "KnownAnswerFailed");
}

// Weights whose reversal is the same network: the golden samples cannot notice that damage.
TEST_F(BuildTest, AGateThatNoticesNoDamageFailsTheBuild) {
  test::QuadrantNet symmetric;
  // Reversing the fully connected weights maps class c to 3 - c and pixel p to 63 - p: opposite
  // quadrants swap twice, so the quadrant network is its own reversal.
  symmetric.weights = test::quadrant_weights({0, 1, 2, 3});
  symmetric.bias = {0, 0, 0, 0};
  const auto golden = test::quadrant_golden(symmetric);
  const auto tensors = vision::encode_golden(golden, test::quadrant_network());
  ASSERT_TRUE(tensors.ok());
  auto files = test::quadrant_model_files(symmetric);
  files["golden.json"] = tensors->json;
  files["golden.safetensors"] = tensors->tensors;
  const auto built = build("a", files);
  ASSERT_FALSE(built.ok());
  EXPECT_EQ(built.error().reason, "GateAcceptsCorruption");
}

TEST_F(BuildTest, MissingPartsAndOtherMachinesAreNamed) {
  auto files = test::quadrant_model_files();
  files.erase("golden.safetensors");
  const auto built = build("a", files);
  ASSERT_FALSE(built.ok());
  EXPECT_EQ(built.error().reason, "MissingModelFile");
  EXPECT_NE(built.error().message.find("golden.safetensors"), std::string::npos);
  BuildInput input;
  input.model_files = test::quadrant_model_files();
  input.runtime = runtime();
  input.spec = *parse_build_config(config());
  input.spec.target.arch = "arm64";
  input.work = dir_ / "b";
  EXPECT_EQ(build_release(input).error().reason, "Unsupported");
}

}  // namespace
}  // namespace tango::builder

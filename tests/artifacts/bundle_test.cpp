#include "lib/artifacts/bundle.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "lib/artifacts/bundle_store.h"
#include "tests/artifacts/vectors.h"

namespace tango::artifacts {
namespace {

using testing::load_vectors;

std::string index_bytes() { return load_vectors("trust.json")["index"]["document"]; }

// The vector's index with one thing changed, in canonical form.
std::string changed(const std::function<void(Json&)>& change) {
  Json doc = *parse_json(index_bytes());
  change(doc);
  return *canonical_json(doc);
}

std::string reason_of(const std::string& bytes) {
  auto index = parse_index(bytes);
  return index.ok() ? "accepted" : index.error().reason;
}

Json file_entry(const std::string& path) {
  return Json{{"path", path}, {"mode", 420}, {"size", 0}, {"sha256", sha256("").hex()}};
}

TEST(BundleIndexFormat, ReadsTheVectorAndWritesTheSameBytes) {
  auto index = parse_index(index_bytes());
  ASSERT_TRUE(index.ok()) << index.error().to_string();
  EXPECT_EQ(index->id, "default/fashion");
  EXPECT_EQ(index->files.size(), 3u);
  EXPECT_EQ(index->links.at(0).target, "model.onnx");
  EXPECT_EQ(index->entry.argv.at(1), "serve");
  EXPECT_EQ(index->total_bytes, 200'013u);
  auto again = encode_index(*index);
  ASSERT_TRUE(again.ok()) << again.error().to_string();
  EXPECT_EQ(*again, index_bytes());
}

TEST(BundleIndexFormat, RefusesEveryBrokenRule) {
  struct Case {
    const char* name;
    std::function<void(Json&)> change;
    const char* reason;
  };
  const Case cases[] = {
      {"unknown member", [](Json& d) { d["extra"] = 1; }, "IndexInvalid"},
      {"unknown nested member", [](Json& d) { d["target"]["x"] = 1; }, "IndexInvalid"},
      {"other type", [](Json& d) { d["type"] = "assignment"; }, "IndexInvalid"},
      {"missing hash", [](Json& d) { d["files"][0].erase("sha256"); }, "IndexInvalid"},
      {"empty hash", [](Json& d) { d["files"][0]["sha256"] = ""; }, "IndexInvalid"},
      {"upper-case hash", [](Json& d) { d["files"][0]["sha256"] = std::string(64, 'A'); },
       "IndexInvalid"},
      {"setuid", [](Json& d) { d["files"][0]["mode"] = 04755; }, "IndexInvalid"},
      {"negative size", [](Json& d) { d["files"][1]["size"] = -1; }, "IndexInvalid"},
      {"fraction", [](Json& d) { d["files"][1]["size"] = 1.5; }, "IndexInvalid"},
      {"wrong sum", [](Json& d) { d["chunks"]["bytes"] = 5; }, "IndexInvalid"},
      {"wrong arch", [](Json& d) { d["target"]["arch"] = "x86"; }, "IndexInvalid"},
      {"no files", [](Json& d) { d["files"] = Json::array(); }, "IndexInvalid"},
      {"not sorted", [](Json& d) { std::swap(d["files"][0], d["files"][1]); }, "IndexInvalid"},
      {"entry not a file", [](Json& d) { d["entry"]["argv"][0] = "bin/other"; }, "IndexInvalid"},
      {"entry not executable", [](Json& d) { d["entry"]["argv"][0] = "model/model.onnx"; },
       "IndexInvalid"},
      {"parent", [](Json& d) { d["files"].insert(d["files"].begin(), file_entry("../x")); },
       "PathUnsafe"},
      {"inner parent",
       [](Json& d) { d["files"].insert(d["files"].begin(), file_entry("a/../../x")); },
       "PathUnsafe"},
      {"absolute", [](Json& d) { d["files"].insert(d["files"].begin(), file_entry("/etc/x")); },
       "PathUnsafe"},
      {"dot", [](Json& d) { d["files"].insert(d["files"].begin(), file_entry("./x")); },
       "PathUnsafe"},
      {"twice", [](Json& d) { d["files"].push_back(d["files"].back()); }, "IndexInvalid"},
      {"case collision",
       [](Json& d) { d["files"].insert(d["files"].begin(), file_entry("Model/Empty.txt")); },
       "PathUnsafe"},
      {"file and folder", [](Json& d) { d["files"].insert(d["files"].begin(), file_entry("bin")); },
       "PathUnsafe"},
      {"link out", [](Json& d) { d["links"][0]["target"] = "../../etc/passwd"; }, "PathUnsafe"},
      {"absolute link", [](Json& d) { d["links"][0]["target"] = "/etc/passwd"; }, "PathUnsafe"},
      {"dangling link", [](Json& d) { d["links"][0]["target"] = "none"; }, "PathUnsafe"},
      {"link to itself", [](Json& d) { d["links"][0]["target"] = "latest.onnx"; }, "PathUnsafe"},
      {"device outside /dev", [](Json& d) { d["sandbox"]["devices"].push_back("/etc/shadow"); },
       "IndexInvalid"},
  };
  for (const Case& c : cases) EXPECT_EQ(reason_of(changed(c.change)), c.reason) << c.name;
}

TEST(BundleIndexFormat, RefusesBytesThatAreNotCanonical) {
  EXPECT_EQ(reason_of(index_bytes() + "\n"), "IndexInvalid");
  EXPECT_EQ(reason_of(dump_json(*parse_json(index_bytes()), 1)), "IndexInvalid");
  EXPECT_EQ(reason_of(""), "IndexInvalid");
}

TEST(BundleIndexFormat, TheSizeCapComesBeforeParsing) {
  EXPECT_EQ(reason_of(std::string((1u << 20) + 1, '{')), "DocumentTooLarge");
}

TEST(BundlePaths, RefuseWhatCouldCollideOrEscape) {
  EXPECT_TRUE(check_paths({"a/b", "a/c", "b"}).ok());
  EXPECT_FALSE(check_paths({"a", "a"}).ok());
  EXPECT_FALSE(check_paths({"a/b", "A/c"}).ok());
  EXPECT_FALSE(check_paths({"a", "a/b"}).ok());
  EXPECT_FALSE(check_paths({"a\\b"}).ok());
  EXPECT_FALSE(check_paths({std::string("a\0b", 3)}).ok());
  EXPECT_FALSE(check_paths({"\xff"}).ok());
  EXPECT_FALSE(check_paths({std::string(300, 'x')}).ok());
  std::string deep = "x";
  for (int i = 0; i < 16; ++i) deep += "/x";
  EXPECT_FALSE(check_paths({deep}).ok());
}

TEST(DeviceConfigFormat, RoundTripsAndRefusesLoaderVariables) {
  DeviceConfig config;
  config.port = 8080;
  config.health_gate = Json{{"latencyUs", 20000}};
  config.health_gate->erase("goldenSamples");
  std::string bytes = *encode_config(config);
  EXPECT_EQ(bytes, load_vectors("trust.json")["config"].get<std::string>());
  EXPECT_EQ(parse_config(bytes)->port, 8080);
  EXPECT_EQ(*encode_config(DeviceConfig{}), "{}");
  config.env["LD_PRELOAD"] = "x.so";
  EXPECT_EQ(encode_config(config).error().reason, "ConfigInvalid");
  EXPECT_FALSE(parse_config("{\"unknown\":1}").ok());
}

class BundleBuild : public ::testing::Test {
 protected:
  void SetUp() override {
    put("bin/tango-infer", "#!/bin/false\n", 0755);
    put("model/model.onnx", testing::vector_stream("m", 500'000), 0640);
    put("model/empty", "", 0600);
    fs::create_symlink("model.onnx", dir_ / "model/latest");
    spec_.id = "default/fashion";
    spec_.entry = {{"bin/tango-infer", "serve"}, "http", "/readyz"};
  }
  void put(const std::string& path, std::string_view data, unsigned mode) {
    ASSERT_TRUE(make_dirs((dir_ / path).parent_path()).ok());
    ASSERT_TRUE(write_file_atomic(dir_ / path, data, mode).ok());
  }
  TempDir dir_;
  BundleSpec spec_;
};

TEST_F(BundleBuild, TheSameTreeGivesTheSameBytes) {
  auto a = build_bundle(dir_.path(), spec_);
  ASSERT_TRUE(a.ok()) << a.error().to_string();
  TempDir copy;
  ASSERT_TRUE(unpack_bundle(*a, copy / "tree").ok());
  auto b = build_bundle(copy / "tree", spec_);
  ASSERT_TRUE(b.ok()) << b.error().to_string();
  EXPECT_EQ(a->index_bytes, b->index_bytes);
  EXPECT_EQ(a->chunk_list_bytes, b->chunk_list_bytes);
  EXPECT_EQ(a->index.links.at(0).target, "model.onnx");
  std::string all;
  for (std::size_t i = 0; i < a->chunks.chunks.size(); ++i) all += *a->read_chunk(i);
  EXPECT_EQ(all, "#!/bin/false\n" + testing::vector_stream("m", 500'000));
}

TEST_F(BundleBuild, AFileThatChangesAfterwardsIsNoticed) {
  auto bundle = build_bundle(dir_.path(), spec_);
  ASSERT_TRUE(bundle.ok());
  put("bin/tango-infer", "#!/bin/trUe!\n", 0755);
  EXPECT_EQ(bundle->read_chunk(0).error().reason, "HashMismatch");
  TempDir out;
  EXPECT_EQ(unpack_bundle(*bundle, out / "x").error().reason, "HashMismatch");
}

TEST_F(BundleBuild, RefusesLinksOutAndSpecialFiles) {
  fs::create_symlink("/etc/passwd", dir_ / "model/out");
  EXPECT_EQ(build_bundle(dir_.path(), spec_).error().reason, "PathUnsafe");
  fs::remove(dir_ / "model/out");
  ASSERT_EQ(::mkfifo((dir_ / "model/pipe").c_str(), 0600), 0);
  EXPECT_EQ(build_bundle(dir_.path(), spec_).error().reason, "PathUnsafe");
}

}  // namespace
}  // namespace tango::artifacts

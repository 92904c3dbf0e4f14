#include "lib/run/stage.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "lib/base/file.h"
#include "lib/run/events.h"

namespace tango::run {
namespace {

fs::path source_dir() {
  const char* dir = std::getenv("TANGO_SOURCE_DIR");
  return dir ? dir : ".";
}

TEST(Stage, VectorsHold) {
  auto text = read_file(source_dir() / "docs/formats/vectors/stage.json");
  ASSERT_TRUE(text.ok());
  auto vectors = parse_json(*text);
  ASSERT_TRUE(vectors.ok());
  for (const Json& v : (*vectors)["stages"]) {
    auto spec = parse_stage(v["stage"]);
    ASSERT_TRUE(spec.ok()) << spec.error().message;
    EXPECT_EQ(encode(*spec), v["stage"]);
    EXPECT_EQ(*input_hash(spec->type, spec->type_version, spec->config, spec->inputs),
              v["inputHash"].get<std::string>());
  }
  for (const Json& v : (*vectors)["refused"]) {
    auto spec = parse_stage(v["stage"]);
    ASSERT_FALSE(spec.ok()) << v["stage"];
    EXPECT_EQ(spec.error().reason, v["reason"].get<std::string>()) << spec.error().message;
  }
}

TEST(Stage, HashIgnoresWhatDoesNotChangeTheResult) {
  std::map<std::string, std::string> inputs = {{"dataset", sha256("x").to_string()}};
  auto a = input_hash("Train", 1, Json{{"lr", 0.1}, {"epochs", 4}}, inputs);
  auto b = input_hash("Train", 1, Json{{"epochs", 4}, {"lr", 0.1}}, inputs);
  EXPECT_EQ(*a, *b);
  EXPECT_NE(*a, *input_hash("Train", 2, Json{{"epochs", 4}, {"lr", 0.1}}, inputs));
}

TEST(Stage, ErrorsMapToExitCodes) {
  EXPECT_EQ(exit_code_for(make_error(Code::kInvalid, "X", "")), 10);
  EXPECT_EQ(exit_code_for(make_error(Code::kExhausted, "OutOfMemory", "")), 11);
  EXPECT_EQ(exit_code_for(make_error(Code::kCancelled, "Interrupted", "")), 12);
  EXPECT_EQ(exit_code_for(make_error(Code::kUnavailable, "RegistryUnavailable", "")), 13);
  EXPECT_EQ(exit_code_for(make_error(Code::kIo, "IoError", "")), 1);
}

TEST(Stage, LoadNamesTheFile) {
  TempDir dir;
  RunPaths paths;
  paths.run_dir = dir.path();
  EXPECT_EQ(load_stage(paths).error().reason, "NotFound");
  ASSERT_TRUE(write_file_atomic(dir / "stage.json", "{\"stage\":").ok());
  auto bad = load_stage(paths);
  EXPECT_NE(bad.error().to_string().find("stage.json"), std::string::npos);
}

TEST(Events, GoOnAfterACrashInTheMiddleOfALine) {
  TempDir dir;
  FakeClock clock;
  auto file = dir / "events.jsonl";
  {
    EventWriter w(file, "run-1", 1, clock, -1);
    w.emit("phase", {{"phase", "train"}});
    w.emit("epoch", {{"epoch", 1}, {"loss", 0.5}});
  }
  ASSERT_TRUE(append_file(file, "{\"v\":1,\"seq\":2,\"ti").ok());
  EventWriter w(file, "run-1", 2, clock, -1);
  EXPECT_EQ(w.next_seq(), 2);
  w.emit("done");
  std::string text = *read_file(file);
  int n = 0;
  for (std::size_t at = 0; at < text.size(); ++n) {
    auto end = text.find('\n', at);
    auto e = parse_event(text.substr(at, end - at));
    ASSERT_TRUE(e.ok());
    EXPECT_EQ(e->seq, n);
    at = end + 1;
  }
  EXPECT_EQ(n, 3);
}

TEST(Events, AFullDiskDoesNotStopTheRun) {
  FakeClock clock;
  EventWriter w("/dev/full", "run-1", 1, clock, -1);
  w.emit("phase", {{"phase", "train"}});
  EXPECT_EQ(w.next_seq(), 1);
}

Event epoch(std::int64_t seq, int attempt, int n) {
  return {seq, "t", "r", attempt, "epoch", {{"epoch", n}}};
}

TEST(Events, RewoundEpochsAreDropped) {
  auto kept = drop_rewound({epoch(0, 1, 1), epoch(1, 1, 2), epoch(2, 1, 3), epoch(3, 2, 3),
                            epoch(4, 2, 4), epoch(4, 2, 4)});
  ASSERT_EQ(kept.size(), 4u);
  EXPECT_EQ(kept[2].attempt, 2);
  EXPECT_EQ(kept[2].fields["epoch"], 3);
}

TEST(Events, BadLinesAreRefused) {
  for (const char* bad :
       {"", "{}", "[]", "{\"v\":2,\"seq\":1,\"run\":\"r\",\"attempt\":1,\"type\":\"x\"}",
        "{\"v\":1,\"seq\":1,\"run\":\"r\",\"attempt\":0,\"type\":\"x\"}"}) {
    EXPECT_EQ(parse_event(bad).error().reason, "InvalidEvent") << bad;
  }
}

}  // namespace
}  // namespace tango::run

// The loop on tiny sets: it learns, resumes bit for bit, distils, stops early and fails clearly.
#include <gtest/gtest.h>

#include "autonn/trainer.h"
#include "lib/graph/zoo.h"
#include "tests/autonn/tiny.h"

namespace tango::autonn {
namespace {

class Training : public ::testing::Test {
 protected:
  void SetUp() override {
    test::write_tiny_set(dir_ / "data", 160, 40);
    auto set = data::Dataset::open(dir_ / "data");
    ASSERT_TRUE(set.ok()) << set.error().to_string();
    set_ = *set;
    config_.augmentation = {.crop = 1, .flip = 0, .cutout = 0};
    config_.ema = 0.9;
  }
  TrainJob job(const std::string& state = "") {
    TrainJob j;
    j.network.name = "resnet20";
    j.network.classes = set_->classes();
    j.network.input.height = j.network.input.width = test::kTinySide;
    j.network.input.color = vision::ColorOrder::kGray;
    j.network.input.mean = {0.2};
    j.network.input.std = {0.3};
    j.graph = graph::build_zoo_network("resnet20", {.classes = 4, .channels = 1}).value();
    j.config = config_;
    j.resolved = {.epochs = epochs_, .batch_size = 32, .threads = 1, .learning_rate = rate_};
    j.dataset = set_;
    j.method = make_supervised(config_);
    if (!state.empty()) j.state_file = dir_ / state;
    return j;
  }
  Result<TrainOutcome> run(TrainJob j, bool stop = false) {
    run::EventWriter events(dir_ / "events.jsonl", "run", 1, system_clock(), -1);
    const std::atomic<bool> flag{stop};
    return train(std::move(j), events, system_clock(), flag);
  }
  std::string events() { return read_file(dir_ / "events.jsonl").value_or(""); }

  TempDir dir_;
  std::shared_ptr<const data::Dataset> set_;
  TrainingConfig config_;
  std::int64_t epochs_ = 3;
  double rate_ = 0.05;
};

TEST_F(Training, LearnsATinySetByHeart) {
  epochs_ = 12;
  const auto out = run(job());
  ASSERT_TRUE(out.ok()) << out.error().to_string();
  EXPECT_GE(get_double(out->metrics, "top1"), 0.99) << dump_json(out->metrics);
  EXPECT_GT(get_double(out->timing, "imagesPerSecond"), 0);
  // What the outcome says is what its weights do.
  auto network = TorchNetwork::create(job().graph, out->weights).value();
  const SampleSource test(set_, data::Split::kTest, job().network.input);
  const auto report = evaluate(*network, test, set_->classes(), {});
  ASSERT_TRUE(report.ok());
  EXPECT_GE(get_double(*report, "top1"), 0.95);
  EXPECT_EQ(get(*report, "confusion").size(), 4U);
}

TEST_F(Training, TwoRunsAreEqualBitForBit) {
  epochs_ = 2;
  const auto a = run(job());
  const auto b = run(job());
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->weights, b->weights);
  EXPECT_EQ(a->metrics, b->metrics);
}

TEST_F(Training, ResumesBitForBitAfterAStopAtEveryStep) {
  for (const Optimizer optimizer : {Optimizer::kSgd, Optimizer::kAdamW}) {
    config_.optimizer = optimizer;
    rate_ = optimizer == Optimizer::kSgd ? 0.05 : 0.002;
    epochs_ = 2;
    const auto whole = run(job());
    ASSERT_TRUE(whole.ok()) << whole.error().to_string();
    const std::string state = "state-" + std::string(to_string(optimizer));
    int attempts = 0;
    for (;; ++attempts) {
      const auto part = run(job(state), /*stop=*/true);
      if (part.ok()) {
        EXPECT_EQ(part->weights, whole->weights);
        EXPECT_EQ(part->metrics, whole->metrics);
        break;
      }
      ASSERT_EQ(part.error().reason, "Interrupted") << part.error().to_string();
      ASSERT_LT(attempts, 50);
    }
    EXPECT_GE(attempts, 8);
  }
}

TEST_F(Training, AStateOfAnotherRunIsIgnoredWithAWarning) {
  epochs_ = 1;
  ASSERT_TRUE(run(job("state")).ok());
  config_.seed = 9;
  const auto fresh = run(job());
  const auto other = run(job("state"));
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->weights, fresh->weights);
  EXPECT_NE(events().find("StateIgnored"), std::string::npos);
  test::write(dir_ / "state", "garbage");
  EXPECT_TRUE(run(job("state")).ok());
}

TEST_F(Training, AnotherBatchSizeContinuesAndSaysSo) {
  epochs_ = 2;
  ASSERT_EQ(run(job("state"), true).error().reason, "Interrupted");
  TrainJob changed = job("state");
  changed.resolved.batch_size = 16;
  ASSERT_TRUE(run(std::move(changed)).ok());
  EXPECT_NE(events().find(R"("changed":["batchSize"])"), std::string::npos) << events();
}

TEST_F(Training, ANonFiniteLossIsAFailureWithAReason) {
  config_.momentum = 0.999;
  config_.weight_decay = 1;
  rate_ = 100;
  epochs_ = 40;
  config_.schedule = Schedule::kConstant;
  const auto out = run(job());
  ASSERT_FALSE(out.ok());
  EXPECT_EQ(out.error().reason, "LossNotFinite");
  EXPECT_NE(out.error().message.find("learningRate"), std::string::npos);
}

TEST_F(Training, StopsEarlyAndKeepsTheBest) {
  rate_ = 1e-9;  // nothing improves
  config_.ema = 0;
  config_.early_stopping = 2;
  config_.schedule = Schedule::kConstant;
  epochs_ = 30;
  const auto out = run(job());
  ASSERT_TRUE(out.ok()) << out.error().to_string();
  EXPECT_LT(get_int(out->metrics, "epochs"), 30);
  EXPECT_EQ(get_int(out->metrics, "epochs") - get_int(out->metrics, "bestEpoch"), 2);
}

TEST_F(Training, DistillsFromAFrozenTeacherWithoutLabels) {
  epochs_ = 12;
  const auto teacher = run(job());
  ASSERT_TRUE(teacher.ok()) << teacher.error().to_string();
  // The teacher alone teaches: the labels' weight is zero.
  config_.distill_weight = 1;
  config_.seed = 5;
  TrainJob j = job();
  j.method = make_distillation(config_, true);
  const graph::Graph g = j.graph;
  j.frozen.emplace("teacher", graph::Network{g, teacher->weights});
  const auto student = run(std::move(j));
  ASSERT_TRUE(student.ok()) << student.error().to_string();
  EXPECT_GE(get_double(student->metrics, "top1"), 0.9);
  TrainJob lost = job();
  lost.method = make_distillation(config_, true);
  EXPECT_EQ(run(std::move(lost)).error().reason, "MissingInput");
}

TEST_F(Training, TheMovingAverageCanTeach) {
  epochs_ = 12;
  config_.distill_weight = 0.3;
  TrainJob j = job();
  j.method = make_distillation(config_, false);
  const auto out = run(std::move(j));
  ASSERT_TRUE(out.ok()) << out.error().to_string();
  EXPECT_GE(get_double(out->metrics, "top1"), 0.9);
}

}  // namespace
}  // namespace tango::autonn

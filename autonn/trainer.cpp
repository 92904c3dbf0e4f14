#include "autonn/trainer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <new>

#include "autonn/optimizer.h"
#include "autonn/schedule.h"
#include "autonn/step_tensors.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/graph/safetensors.h"

namespace tango::autonn {
namespace {

constexpr std::string_view kStateSchema = "tango.trainer-state/1";
constexpr Nanos kStepEventInterval = Seconds{1};
constexpr int kMaxLoaderThreads = 4;

// Everything that moves while training, besides tensors.
struct Progress {
  std::int64_t epoch = 0;         // the one that is running
  std::int64_t samples_done = 0;  // of it
  std::int64_t step = 0;          // optimizer steps so far
  double loss_sum = 0;            // over the samples of this epoch
  std::int64_t correct = 0;
  std::int64_t best_epoch = -1;
  double best_score = 0;  // higher is better
  Json best_metrics = Json::object();
};

Json encode(const Progress& p) {
  return {{"epoch", p.epoch},          {"samplesDone", p.samples_done}, {"step", p.step},
          {"lossSum", p.loss_sum},     {"correct", p.correct},          {"bestEpoch", p.best_epoch},
          {"bestScore", p.best_score}, {"bestMetrics", p.best_metrics}};
}
Progress decode(const Json& j) {
  Progress p;
  p.epoch = get_int(j, "epoch");
  p.samples_done = get_int(j, "samplesDone");
  p.step = get_int(j, "step");
  p.loss_sum = get_double(j, "lossSum");
  p.correct = get_int(j, "correct");
  p.best_epoch = get_int(j, "bestEpoch", -1);
  p.best_score = get_double(j, "bestScore");
  p.best_metrics = get(j, "bestMetrics");
  return p;
}

double seconds(Nanos d) { return std::chrono::duration<double>(d).count(); }
double rounded(double x) { return std::round(x * 10) / 10; }

class Loop {
 public:
  Loop(TrainJob job, run::EventWriter& events, Clock& clock, const std::atomic<bool>& stop)
      : job_(std::move(job)),
        events_(events),
        clock_(clock),
        stop_(stop),
        train_(job_.dataset, data::Split::kTrain, job_.network.input, job_.config.limit_train),
        val_(job_.dataset, data::Split::kVal, job_.network.input, job_.config.limit_val) {}

  Result<TrainOutcome> run() {
    TRY(prepare());
    started_ = clock_.monotonic();
    while (progress_.epoch < job_.resolved.epochs && !stopped_early()) {
      TRY_ASSIGN(const bool more, one_epoch());
      if (!more) break;
    }
    if (stopped_early()) {
      events_.emit("phase", {{"phase", "earlyStop"},
                             {"epoch", progress_.epoch},
                             {"bestEpoch", progress_.best_epoch + 1}});
    }
    TrainOutcome out;
    out.weights = progress_.best_epoch >= 0 ? best_ : result().weights();
    out.metrics = progress_.best_metrics;
    out.metrics["epochs"] = progress_.epoch;
    if (progress_.best_epoch >= 0) out.metrics["bestEpoch"] = progress_.best_epoch + 1;
    const double spent = seconds(clock_.monotonic() - started_);
    out.timing = {{"seconds", rounded(spent)},
                  {"steps", progress_.step},
                  {"imagesPerSecond", rounded(train_seconds_ > 0 ? images_ / train_seconds_ : 0)}};
    return out;
  }

 private:
  TorchNetwork& trained() { return *networks_.find("model")->second; }
  TorchNetwork& result() { return *networks_.find(job_.method->result())->second; }

  Status prepare() {
    if (train_.size() < 2) {
      return make_error(Code::kInvalid, "InvalidDataset",
                        "the train split has " + std::to_string(train_.size()) +
                            " usable images; training needs at least 2");
    }
    if (val_.size() == 0) {
      events_.emit("warning", {{"reason", "NoValidationSplit"},
                               {"message", "the val split is empty: the last epoch is kept"}});
    }
    set_compute_threads(static_cast<int>(job_.resolved.threads));
    TRY_ASSIGN(graph::TensorStore initial, initial_weights(job_.graph, job_.config.seed));
    if (job_.initial) initial = *job_.initial;
    for (const NetworkSlot& slot : job_.method->networks()) {
      const graph::Graph* graph = &job_.graph;
      const graph::TensorStore* weights = &initial;
      if (slot.role == Role::kFrozen) {
        auto it = job_.frozen.find(slot.name);
        if (it == job_.frozen.end()) {
          return make_error(Code::kInvalid, "MissingInput",
                            "method " + std::string(job_.method->name()) + " needs network \"" +
                                slot.name + "\"");
        }
        graph = &it->second.graph;
        weights = &it->second.weights;
      }
      TRY_ASSIGN(auto network, TorchNetwork::create(*graph, *weights));
      if (slot.role == Role::kTrained) network->make_trainable();
      networks_.emplace(slot.name, std::move(network));
    }
    optimizer_ = std::make_unique<FlatOptimizer>(job_.config, trained());
    return load_state();
  }

  // What must be equal for a state to be continued.
  Json identity() const {
    return {{"graph", sha256(dump_json(graph::encode(job_.graph))).to_string()},
            {"dataset", job_.dataset->digest().to_string()},
            {"method", job_.method->name()},
            {"optimizer", to_string(job_.config.optimizer)},
            {"seed", job_.config.seed},
            {"epochs", job_.resolved.epochs},
            {"trainImages", train_.size()}};
  }
  // What may differ: the run goes on, but no longer bit for bit.
  Json circumstances() const {
    return {{"batchSize", job_.resolved.batch_size}, {"threads", job_.resolved.threads}};
  }

  Status save_state() {
    graph::TensorStore out;
    for (const NetworkSlot& slot : job_.method->networks()) {
      if (slot.role == Role::kFrozen) continue;
      const graph::TensorStore weights = networks_.find(slot.name)->second->weights();
      for (const auto& [key, t] : weights.tensors()) out.put(slot.name + "/" + key, t);
    }
    for (const auto& [key, t] : best_.tensors()) out.put("best/" + key, t);
    optimizer_->save(out);
    out.metadata() = {{"schema", std::string(kStateSchema)},
                      {"identity", dump_json(identity())},
                      {"circumstances", dump_json(circumstances())},
                      {"progress", dump_json(encode(progress_))}};
    TRY(graph::write_safetensors(job_.state_file, out));
    events_.emit("checkpoint", {{"epoch", progress_.epoch}, {"step", progress_.step}});
    if (job_.state_saved) job_.state_saved();
    return ok_status();
  }

  Status load_state() {
    if (job_.state_file.empty() || !fs::exists(job_.state_file)) return ok_status();
    const auto ignore = [&](const std::string& why) {
      events_.emit("warning", {{"reason", "StateIgnored"},
                               {"message", "training starts anew: the saved state " + why}});
      return ok_status();
    };
    auto state = graph::read_safetensors(job_.state_file);
    if (!state.ok()) return ignore("cannot be read: " + state.error().to_string());
    const auto& meta = state->metadata();
    const auto text = [&](const char* key) {
      auto it = meta.find(key);
      return it == meta.end() ? std::string() : it->second;
    };
    if (text("schema") != kStateSchema) return ignore("has another schema");
    if (text("identity") != dump_json(identity())) {
      return ignore("belongs to another network, dataset or configuration");
    }
    auto progress = parse_json(text("progress"));
    if (!progress.ok()) return ignore("has no readable progress");
    const auto part = [&](const std::string& prefix) {
      graph::TensorStore out;
      for (const auto& [key, t] : state->tensors()) {
        if (key.starts_with(prefix + "/")) out.put(key.substr(prefix.size() + 1), t);
      }
      return out;
    };
    for (const NetworkSlot& slot : job_.method->networks()) {
      if (slot.role != Role::kFrozen) TRY(networks_.find(slot.name)->second->load(part(slot.name)));
    }
    TRY(optimizer_->load(*state));
    best_ = part("best");
    progress_ = decode(*progress);
    Json changed = Json::array();
    const Json before = parse_json(text("circumstances")).value_or(Json::object());
    const Json now = circumstances();
    for (const auto& [key, value] : now.items()) {
      if (get(before, key) != value) changed.push_back(key);
    }
    events_.emit("resumed", {{"epoch", progress_.epoch},
                             {"step", progress_.step},
                             {"samplesDone", progress_.samples_done},
                             {"changed", changed}});
    return ok_status();
  }

  // False when the benchmark's step limit ended the run.
  Result<bool> one_epoch() {
    const auto total = static_cast<std::int64_t>(train_.size());
    const double all = static_cast<double>(total * job_.resolved.epochs);
    LoaderOptions load;
    load.batch_size = job_.resolved.batch_size;
    load.threads =
        static_cast<int>(std::min<std::int64_t>(kMaxLoaderThreads, job_.resolved.threads));
    load.training = true;
    load.augmentation = job_.config.augmentation;
    load.seed = job_.config.seed;
    load.epoch = progress_.epoch;
    load.first_sample = static_cast<std::size_t>(progress_.samples_done);
    Loader loader(train_, load);
    const Nanos begin = clock_.monotonic();
    Nanos last_event = begin;
    std::int64_t seen = 0;
    double rate = 0;
    for (;;) {
      TRY_ASSIGN(std::optional<Batch> batch, loader.next());
      if (!batch) break;
      const double done =
          static_cast<double>(progress_.epoch * total + progress_.samples_done) / all;
      rate =
          learning_rate_at(job_.config.schedule, job_.resolved.learning_rate, done,
                           job_.config.warmup_epochs / static_cast<double>(job_.resolved.epochs));
      TRY(one_step(*batch, rate));
      seen += batch->size;
      progress_.samples_done += batch->size;
      loader.recycle(std::move(*batch));
      const Nanos now = clock_.monotonic();
      if (now - last_event >= kStepEventInterval) {
        last_event = now;
        emit_step(rate, static_cast<double>(seen) / seconds(now - begin));
      }
      if (stop_.load()) {
        TRY(save_state());
        return make_error(Code::kCancelled, "Interrupted",
                          "training was stopped after step " + std::to_string(progress_.step) +
                              "; its state is saved and the next attempt goes on from there");
      }
      if (job_.max_steps > 0 && progress_.step >= job_.max_steps) {
        add_time(seen, begin);
        return false;
      }
      if (job_.config.checkpoint_steps > 0 && progress_.step % job_.config.checkpoint_steps == 0 &&
          progress_.samples_done < total) {
        TRY(save_state());
      }
    }
    add_time(seen, begin);
    TRY(finish_epoch(
        rate, static_cast<double>(seen) / std::max(1e-9, seconds(clock_.monotonic() - begin)),
        seconds(clock_.monotonic() - begin)));
    return true;
  }

  void add_time(std::int64_t seen, Nanos begin) {
    images_ += static_cast<double>(seen);
    train_seconds_ += seconds(clock_.monotonic() - begin);
  }

  Status one_step(const Batch& batch, double rate) {
    const vision::InputSpec& in = job_.network.input;
    if (!images_buffer_.defined() || images_buffer_.size(0) != batch.size) {
      images_buffer_ = at::empty(
          {batch.size, in.channels(), in.height, in.width},
          at::TensorOptions().dtype(at::kFloat).memory_format(at::MemoryFormat::ChannelsLast));
    }
    images_buffer_.copy_(
        at::from_blob(const_cast<float*>(batch.images.data()), images_buffer_.sizes(), at::kFloat));
    StepTensors step;
    step.images = images_buffer_;
    step.labels =
        at::from_blob(const_cast<std::int64_t*>(batch.labels.data()), {batch.size}, at::kLong);
    job_.method->loss(networks_, step);
    const double loss = step.loss.item<double>();
    if (!std::isfinite(loss)) {
      return make_error(Code::kInvalid, "LossNotFinite",
                        "the loss is not finite at step " + std::to_string(progress_.step + 1) +
                            " of epoch " + std::to_string(progress_.epoch + 1) +
                            " (learning rate " + dump_json(Json(rate)) +
                            "): use a lower learningRate");
    }
    optimizer_->zero_gradients();
    step.loss.backward();
    ++progress_.step;
    optimizer_->step(rate, progress_.step);
    job_.method->after_step(networks_, progress_.step);
    at::NoGradGuard no_grad;
    progress_.loss_sum += loss * static_cast<double>(batch.size);
    progress_.correct += step.logits.argmax(1).eq(step.labels).sum().item<std::int64_t>();
    return ok_status();
  }

  void emit_step(double rate, double images_per_second) {
    const auto total = static_cast<std::int64_t>(train_.size());
    const std::int64_t left =
        total * (job_.resolved.epochs - progress_.epoch) - progress_.samples_done;
    const double n = static_cast<double>(std::max<std::int64_t>(1, progress_.samples_done));
    events_.emit(
        "step",
        {{"step", progress_.step},
         {"steps", batch_count(train_.size(), job_.resolved.batch_size) * job_.resolved.epochs},
         {"epoch", progress_.epoch + 1},
         {"epochs", job_.resolved.epochs},
         {"loss", progress_.loss_sum / n},
         {"learningRate", rate},
         {"imagesPerSecond", rounded(images_per_second)},
         {"percent", rounded(100 * (1 - static_cast<double>(left) /
                                            static_cast<double>(total * job_.resolved.epochs)))},
         {"etaSeconds", std::ceil(static_cast<double>(left) / std::max(1e-9, images_per_second))}});
  }

  Status finish_epoch(double rate, double images_per_second, double spent) {
    const double n = static_cast<double>(progress_.samples_done);
    Json fields{{"epoch", progress_.epoch + 1},
                {"epochs", job_.resolved.epochs},
                {"step", progress_.step},
                {"loss", progress_.loss_sum / n},
                {"trainTop1", static_cast<double>(progress_.correct) / n},
                {"learningRate", rate},
                {"imagesPerSecond", rounded(images_per_second)},
                {"seconds", rounded(spent)}};
    double score = static_cast<double>(progress_.epoch);  // without validation the last one wins
    Json metrics{{"trainLoss", progress_.loss_sum / n}};
    if (val_.size() > 0) {
      EvaluationOptions options;
      options.loader_threads =
          static_cast<int>(std::min<std::int64_t>(kMaxLoaderThreads, job_.resolved.threads));
      TRY_ASSIGN(const Json report, evaluate(result(), val_, job_.network.classes, options));
      for (const char* key : {"top1", "top5", "loss"}) {
        if (!report.contains(key)) continue;
        metrics[key] = report[key];
        fields[std::string(key) == "loss" ? "valLoss" : key] = report[key];
      }
      score = job_.config.metric == "loss" ? -get_double(report, "loss", INFINITY)
                                           : get_double(report, "top1");
    }
    const bool better = progress_.best_epoch < 0 || score > progress_.best_score;
    if (better) {
      progress_.best_epoch = progress_.epoch;
      progress_.best_score = score;
      progress_.best_metrics = metrics;
      best_ = result().weights();
    }
    fields["best"] = better;
    events_.emit("epoch", fields);
    ++progress_.epoch;
    progress_.samples_done = 0;
    progress_.loss_sum = 0;
    progress_.correct = 0;
    return job_.state_file.empty() ? ok_status() : save_state();
  }

  // Asked between epochs, so that a run that was killed right after its last epoch stops too.
  bool stopped_early() const {
    return job_.config.early_stopping > 0 && progress_.best_epoch >= 0 &&
           progress_.epoch - 1 - progress_.best_epoch >= job_.config.early_stopping;
  }

  TrainJob job_;
  run::EventWriter& events_;
  Clock& clock_;
  const std::atomic<bool>& stop_;
  SampleSource train_;
  SampleSource val_;
  Networks networks_;
  std::unique_ptr<FlatOptimizer> optimizer_;
  at::Tensor images_buffer_;
  Progress progress_;
  graph::TensorStore best_;
  Nanos started_{};
  double images_ = 0;
  double train_seconds_ = 0;
};

}  // namespace

Result<TrainOutcome> train(TrainJob job, run::EventWriter& events, Clock& clock,
                           const std::atomic<bool>& stop) {
  // torch reports by exceptions; they end here.
  const auto out_of_memory = [] {
    return make_error(
        Code::kExhausted, "OutOfMemory",
        "training ran out of memory: use a smaller batchSize or imageSize, or give the "
        "pod more memory");
  };
  try {
    return Loop(std::move(job), events, clock, stop).run();
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  } catch (const c10::Error& e) {
    const std::string what = e.what_without_backtrace();
    if (what.find("allocate memory") != std::string::npos ||
        what.find("not enough memory") != std::string::npos) {
      return out_of_memory();
    }
    return make_error(Code::kInternal, "TorchFailed", "libtorch: " + what);
  }
}

}  // namespace tango::autonn

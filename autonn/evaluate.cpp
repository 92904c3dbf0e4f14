#include <ATen/ATen.h>

#include <cmath>

#include "autonn/trainer.h"
#include "lib/vision/classify.h"

namespace tango::autonn {
namespace {

constexpr int kMaxConfusionClasses = 100;
constexpr std::int64_t kReferenceBatch = 64;

// Channels-last, whatever the number of channels.
at::Tensor to_input(const float* data, std::int64_t n, const vision::InputSpec& input) {
  at::Tensor out = at::empty(
      {n, input.channels(), input.height, input.width},
      at::TensorOptions().dtype(at::kFloat).memory_format(at::MemoryFormat::ChannelsLast));
  out.copy_(at::from_blob(const_cast<float*>(data), out.sizes(), at::kFloat));
  return out;
}

}  // namespace

Result<Json> evaluate(TorchNetwork& network, const SampleSource& source,
                      const std::vector<std::string>& classes, const EvaluationOptions& options) {
  if (source.size() == 0) {
    return make_error(Code::kInvalid, "EmptySplit",
                      "the " + std::string(data::to_string(source.split())) +
                          " split of the dataset has no images to evaluate");
  }
  at::NoGradGuard no_grad;
  const int n = static_cast<int>(classes.size());
  vision::ClassificationMeter meter(n);
  double loss = 0;
  LoaderOptions load;
  load.batch_size = options.batch_size;
  load.threads = options.loader_threads;
  Loader loader(source, load);
  for (;;) {
    TRY_ASSIGN(std::optional<Batch> batch, loader.next());
    if (!batch) break;
    const at::Tensor logits =
        network.forward(to_input(batch->images.data(), batch->size, source.input()), false)
            .contiguous();
    const at::Tensor labels = at::from_blob(batch->labels.data(), {batch->size}, at::kLong);
    loss += at::cross_entropy_loss(logits, labels, {}, at::Reduction::Sum).item<double>();
    const float* row = logits.data_ptr<float>();
    for (std::size_t i = 0; i < batch->labels.size(); ++i, row += n) {
      meter.add({row, static_cast<std::size_t>(n)}, static_cast<int>(batch->labels[i]));
    }
    loader.recycle(std::move(*batch));
  }
  Json out = meter.report(classes);
  const double mean = loss / static_cast<double>(meter.samples());
  if (std::isfinite(mean)) out["loss"] = mean;
  if (n <= kMaxConfusionClasses) {
    Json matrix = Json::array();
    for (int t = 0; t < n; ++t) {
      Json row = Json::array();
      for (int p = 0; p < n; ++p) row.push_back(meter.confusion(t, p));
      matrix.push_back(std::move(row));
    }
    out["confusion"] = std::move(matrix);
  }
  return out;
}

Result<std::vector<std::vector<float>>> reference_outputs(TorchNetwork& network,
                                                          const std::vector<float>& inputs,
                                                          const vision::InputSpec& input) {
  at::NoGradGuard no_grad;
  const std::int64_t pixels = std::int64_t{1} * input.channels() * input.height * input.width;
  const std::int64_t total = static_cast<std::int64_t>(inputs.size()) / pixels;
  std::vector<std::vector<float>> out;
  for (std::int64_t i = 0; i < total; i += kReferenceBatch) {
    const std::int64_t n = std::min(kReferenceBatch, total - i);
    const at::Tensor y =
        network.forward(to_input(inputs.data() + i * pixels, n, input), false).contiguous();
    const float* row = y.data_ptr<float>();
    for (std::int64_t k = 0; k < n; ++k, row += y.size(1)) out.emplace_back(row, row + y.size(1));
  }
  return out;
}

}  // namespace tango::autonn

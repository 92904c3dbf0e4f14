#include "autonn/loader.h"

#include <algorithm>
#include <cmath>

#include "autonn/augment.h"
#include "lib/vision/preprocess.h"

namespace tango::autonn {
namespace {

// Indices 0, k, 2k, ... that spread at most `limit` samples over the whole set.
std::size_t stride_for(std::size_t samples, std::size_t limit) {
  return std::max<std::size_t>(1, (samples + limit - 1) / std::max<std::size_t>(1, limit));
}

int mean_gray(const vision::InputSpec& input) {
  double sum = 0;
  for (const double m : input.mean) sum += m;
  return static_cast<int>(
      std::lround(255 * sum / static_cast<double>(std::max<std::size_t>(1, input.mean.size()))));
}

}  // namespace

SampleSource::SampleSource(std::shared_ptr<const data::Dataset> dataset, data::Split split,
                           vision::InputSpec input, std::int64_t limit)
    : dataset_(std::move(dataset)), split_(split), input_(std::move(input)) {
  size_ = dataset_->size(split_);
  if (limit > 0) size_ = std::min(size_, static_cast<std::size_t>(limit));
}

std::size_t SampleSource::pixels() const {
  return static_cast<std::size_t>(input_.channels()) * static_cast<std::size_t>(input_.height) *
         static_cast<std::size_t>(input_.width);
}

Result<data::Sample> SampleSource::fitted(std::size_t index) const {
  TRY_ASSIGN(data::Sample sample, dataset_->load(split_, index));
  TRY_ASSIGN(sample.image, vision::fit_to_input(sample.image, input_));
  return sample;
}

std::int64_t batch_count(std::size_t samples, std::int64_t batch_size) {
  const auto n = static_cast<std::int64_t>(samples);
  const std::int64_t full = n / batch_size;
  const std::int64_t rest = n % batch_size;
  return full + ((rest > 1 || (rest == 1 && full == 0)) ? 1 : 0);
}

std::pair<std::size_t, std::size_t> batch_range(std::size_t samples, std::int64_t batch_size,
                                                std::int64_t batch) {
  const auto begin = static_cast<std::size_t>(batch * batch_size);
  const bool last = batch + 1 == batch_count(samples, batch_size);
  return {begin, last ? samples : begin + static_cast<std::size_t>(batch_size)};
}

Loader::Loader(const SampleSource& source, const LoaderOptions& options)
    : source_(source), options_(options) {
  if (options_.training) order_ = epoch_order(options_.seed, options_.epoch, source_.size());
  total_ = batch_count(source_.size() - std::min(options_.first_sample, source_.size()),
                       options_.batch_size);
  for (int i = 0; i < std::max(1, options_.threads); ++i) threads_.emplace_back([this] { work(); });
}

Loader::~Loader() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void Loader::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock,
                  [&] { return stop_ || claim_ >= total_ || claim_ < deliver_ + options_.ahead; });
    if (stop_ || claim_ >= total_) return;
    const std::int64_t index = claim_++;
    Batch reuse;
    if (!spare_.empty()) {
      reuse = std::move(spare_.back());
      spare_.pop_back();
    }
    lock.unlock();
    Result<Batch> batch = make(index, std::move(reuse));
    lock.lock();
    ready_.emplace(index, std::move(batch));
    changed_.notify_all();
  }
}

Result<Batch> Loader::make(std::int64_t index, Batch reuse) const {
  auto [begin, end] =
      batch_range(source_.size() - options_.first_sample, options_.batch_size, index);
  begin += options_.first_sample;
  end += options_.first_sample;
  const std::size_t pixels = source_.pixels();
  const int fill = mean_gray(source_.input());
  Batch batch = std::move(reuse);
  batch.size = static_cast<std::int64_t>(end - begin);
  batch.images.resize((end - begin) * pixels);
  batch.labels.resize(end - begin);
  for (std::size_t i = begin; i < end; ++i) {
    const std::size_t sample_index = order_.empty() ? i : order_[i];
    TRY_ASSIGN(data::Sample sample, source_.fitted(sample_index));
    if (options_.training) {
      CounterRandom random = random_for(options_.seed, options_.epoch,
                                        static_cast<std::int64_t>(sample_index), Purpose::kAugment);
      augment(sample.image, options_.augmentation, fill, random);
    }
    TRY(vision::normalize(sample.image, source_.input(),
                          {batch.images.data() + (i - begin) * pixels, pixels}));
    batch.labels[i - begin] = sample.label;
  }
  return batch;
}

Result<std::optional<Batch>> Loader::next() {
  std::unique_lock lock(mutex_);
  if (deliver_ >= total_) return std::optional<Batch>();
  changed_.wait(lock, [&] { return ready_.contains(deliver_); });
  auto node = ready_.extract(deliver_);
  ++deliver_;
  lock.unlock();
  changed_.notify_all();
  TRY_ASSIGN(Batch batch, std::move(node.mapped()));
  return std::optional<Batch>(std::move(batch));
}

void Loader::recycle(Batch batch) {
  std::lock_guard lock(mutex_);
  if (spare_.size() < static_cast<std::size_t>(options_.ahead)) spare_.push_back(std::move(batch));
}

Result<PixelStatistics> pixel_statistics(const SampleSource& source, std::size_t max_samples) {
  const std::size_t channels = static_cast<std::size_t>(source.input().channels());
  std::vector<double> sum(channels, 0);
  std::vector<double> squares(channels, 0);
  double count = 0;
  for (std::size_t i = 0; i < source.size(); i += stride_for(source.size(), max_samples)) {
    TRY_ASSIGN(const data::Sample sample, source.fitted(i));
    const auto& p = sample.image.pixels;
    for (std::size_t k = 0; k < p.size(); ++k) {
      const double v = p[k] / 255.0;
      sum[k % channels] += v;
      squares[k % channels] += v * v;
    }
    count += static_cast<double>(p.size() / channels);
  }
  PixelStatistics out;
  // Four digits are enough, and make network.json readable.
  const auto round4 = [](double x) { return std::round(x * 1e4) / 1e4; };
  constexpr double kMinStd = 0.01;  // a blank set must not divide by zero
  for (std::size_t c = 0; c < channels; ++c) {
    const double mean = sum[c] / count;
    const double variance = std::max(0.0, squares[c] / count - mean * mean);
    out.mean.push_back(round4(mean));
    out.std.push_back(std::max(kMinStd, round4(std::sqrt(variance))));
  }
  return out;
}

Result<ImageShape> image_shape(const data::Dataset& dataset, data::Split split,
                               std::size_t max_samples) {
  ImageShape out;
  std::vector<int> heights;
  std::vector<int> widths;
  const std::size_t n = dataset.size(split);
  for (std::size_t i = 0; i < n; i += stride_for(n, max_samples)) {
    TRY_ASSIGN(const data::Sample sample, dataset.load(split, i));
    out.gray = out.gray && sample.image.channels == 1;
    heights.push_back(sample.image.height);
    widths.push_back(sample.image.width);
  }
  if (heights.empty()) {
    return make_error(Code::kInvalid, "InvalidDataset",
                      "the " + std::string(to_string(split)) + " split has no images");
  }
  std::sort(heights.begin(), heights.end());
  std::sort(widths.begin(), widths.end());
  out.uniform = heights.front() == heights.back() && widths.front() == widths.back();
  out.height = heights[heights.size() / 2];
  out.width = widths[widths.size() / 2];
  return out;
}

}  // namespace tango::autonn

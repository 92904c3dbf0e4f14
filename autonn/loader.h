// Loader threads: read, augment and normalise samples into float batches, in order and ahead of the
// training step by a bounded number of batches. What a batch holds does not depend on the number of
// threads. No torch.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "autonn/config.h"
#include "lib/base/result.h"
#include "lib/data/dataset.h"
#include "lib/vision/network.h"

namespace tango::autonn {

struct Batch {
  std::int64_t size = 0;
  std::vector<float> images;         // [size, C, H, W]
  std::vector<std::int64_t> labels;  // [size]
};

// Samples of one split: images of the set with their labels, cut to `limit` (0: all).
class SampleSource {
 public:
  SampleSource(std::shared_ptr<const data::Dataset> dataset, data::Split split,
               vision::InputSpec input, std::int64_t limit = 0);
  std::size_t size() const { return size_; }
  const vision::InputSpec& input() const { return input_; }
  const data::Dataset& dataset() const { return *dataset_; }
  data::Split split() const { return split_; }
  std::size_t pixels() const;  // floats of one sample
  // Decodes and fits to the input's size and colour; 8-bit, before augmentation.
  Result<data::Sample> fitted(std::size_t index) const;

 private:
  std::shared_ptr<const data::Dataset> dataset_;
  data::Split split_;
  vision::InputSpec input_;
  std::size_t size_ = 0;
};

struct LoaderOptions {
  std::int64_t batch_size = 128;
  int threads = 1;
  int ahead = 4;          // batches in flight
  bool training = false;  // shuffled and augmented
  AugmentConfig augmentation;
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;
  std::size_t first_sample = 0;  // of the epoch's order: resume inside an epoch
};

// Number of batches of one pass. A last batch of a single sample joins the one before it, because
// batch statistics need two.
std::int64_t batch_count(std::size_t samples, std::int64_t batch_size);
std::pair<std::size_t, std::size_t> batch_range(std::size_t samples, std::int64_t batch_size,
                                                std::int64_t batch);  // [begin, end)

class Loader {
 public:
  // `source` outlives the loader.
  Loader(const SampleSource& source, const LoaderOptions& options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  // The next batch in order; nothing at the end. Errors: those of loading a sample.
  Result<std::optional<Batch>> next();
  // Gives a used batch's memory back for reuse.
  void recycle(Batch batch);

 private:
  void work();
  Result<Batch> make(std::int64_t index, Batch reuse) const;

  const SampleSource& source_;
  LoaderOptions options_;
  std::vector<std::uint32_t> order_;
  std::int64_t total_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::int64_t, Result<Batch>> ready_;
  std::vector<Batch> spare_;
  std::int64_t claim_ = 0;    // next batch a thread takes
  std::int64_t deliver_ = 0;  // next batch next() gives
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

// Mean and standard deviation per channel in 0..1 units over at most `max_samples` samples spread
// evenly; also whether all are grey and the sizes. Deterministic.
struct PixelStatistics {
  std::vector<double> mean;
  std::vector<double> std;
};
Result<PixelStatistics> pixel_statistics(const SampleSource& source, std::size_t max_samples);

struct ImageShape {
  bool gray = true;
  int height = 0;  // medians
  int width = 0;
  bool uniform = true;
};
Result<ImageShape> image_shape(const data::Dataset& dataset, data::Split split,
                               std::size_t max_samples);

}  // namespace tango::autonn

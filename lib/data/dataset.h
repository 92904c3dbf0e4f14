// Labelled image sets on disk: format detection, full validation with a health report,
// content-hashed splits, the Merkle digest, and random access to samples for loader threads. Used
// by the trainer, tango-infer eval and tangoctl; it only ever reads the user's files.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/digest.h"
#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/vision/codec.h"
#include "lib/vision/image.h"

namespace tango::data {

enum class Format { kAuto, kImageFolder, kIdx };
std::string_view to_string(Format format);
// "Auto", "ImageFolder", "Idx". Errors: Unsupported (YOLO, COCO, ...: named), InvalidFormat.
Result<Format> parse_format(std::string_view text);

enum class Split { kTrain = 0, kVal = 1, kTest = 2 };
inline constexpr std::array<Split, 3> kSplits{Split::kTrain, Split::kVal, Split::kTest};
std::string_view to_string(Split split);  // "train", "val", "test"
Result<Split> parse_split(std::string_view text);

// How images are dealt to splits. The data's own folders or files count; a missing val is the share
// `val` of train by content hash, a missing test stays empty (a warning). Data without any
// division, or `by_fraction`, is pooled and dealt by `val` and `test`; train is the rest.
struct SplitRule {
  bool by_fraction = false;  // true: pool everything and deal by the three fractions
  double train = 0.8;
  double val = 0.1;
  double test = 0.1;
  std::uint64_t seed = 0;
};

// The one place for limits of this room.
struct Limits {
  std::uint64_t max_files = 2'000'000;
  std::uint64_t max_idx_bytes = 4ull << 30;  // uncompressed, per file
  std::uint64_t max_idx_items = 10'000'000;
  int max_classes = 100'000;
  int max_depth = 16;          // of folders
  std::size_t max_named = 20;  // bad files named per list of the report
  vision::DecodeLimits image;
};

struct OpenOptions {
  Format format = Format::kAuto;
  SplitRule splits;
  std::vector<std::string>
      classes;                // Idx: names by label; ImageFolder: order. Empty: from the data
  int threads = 1;            // for hashing and decoding while opening
  bool require_train = true;  // false: an evaluation set, test images alone are enough
  Limits limits;
};
// From a stage's or Dataset's configuration {format, splits, classes}: splits is absent, "Auto",
// "ByFolder" or {train, val, test, seed} (all three fractions: pooled; `val` and/or `seed` alone
// keep the data's own test set). Numbers may be decimal text. Errors: UnknownField, WrongType,
// InvalidSplits, Unsupported (groupBy, lists).
Result<OpenOptions> parse_options(const Json& config);

struct Sample {
  vision::Image image;  // 8-bit, 1 or 3 channels as stored
  int label = 0;
};

// What is wrong with a set. Lists are cut at Limits::max_named, counts are complete.
struct Findings {
  std::uint64_t count = 0;
  std::vector<std::string> names;
};
struct SplitHealth {
  std::uint64_t images = 0;  // usable, labelled
  std::uint64_t labels = 0;
  Findings missing;     // label without image, or link that leads nowhere or outside
  Findings empty;       // zero bytes
  Findings corrupt;     // does not decode
  Findings unlabelled;  // image outside any class
};

// An opened set is a validated one: every image was read, hashed and decoded once, bad ones are
// left out of the samples and named in the report. Thread-safe after opening. Memory: folder sets
// keep ~100 bytes per image, Idx sets keep the uncompressed items.
class Dataset {
 public:
  virtual ~Dataset() = default;

  // Errors: NotFound, InvalidDataset (no usable image, no class, inconsistent headers),
  // Unsupported, DatasetTooLarge, IoError. Bad single images are findings, not errors.
  static Result<std::shared_ptr<const Dataset>> open(const std::filesystem::path& root,
                                                     const OpenOptions& options = {});

  virtual Format format() const = 0;
  const std::vector<std::string>& classes() const { return contents_.classes; }
  // Merkle root over files and labels (docs/formats/dataset.md). Independent of splits and options.
  const Digest& digest() const { return contents_.digest; }

  std::size_t size(Split split) const { return items(split).size(); }
  int label(Split split, std::size_t index) const;
  // SHA-256 of the image's bytes: equal for duplicates, key of the split.
  const Digest& content(Split split, std::size_t index) const;
  // Stable name for messages: "train/cat/1.jpg" or "train[17]".
  virtual std::string name(Split split, std::size_t index) const = 0;
  // Decodes one sample. Errors: IndexOutOfRange, CorruptImage or IoError when a file changed since.
  virtual Result<Sample> load(Split split, std::size_t index) const = 0;

  // {format, classes, classCount, digest, channels, splits: {train: {images, labels, missing,
  // empty,
  //  corrupt, unlabelled}}, perClass, imbalance, duplicates, size: {width, height quantiles},
  //  warnings}
  const Json& report() const { return contents_.report; }

 protected:
  struct Item {
    std::uint64_t ref = 0;  // index into the format's own table
    int label = 0;
    Digest content;
  };
  struct Contents {
    std::vector<std::string> classes;
    Digest digest;
    std::array<std::vector<Item>, 3> items;
    Json report = Json::object();
  };
  explicit Dataset(Contents contents) : contents_(std::move(contents)) {}
  const std::vector<Item>& items(Split split) const {
    return contents_.items[static_cast<std::size_t>(split)];
  }

 private:
  friend struct DatasetAccess;  // builds Contents in the .cpp files
  Contents contents_;
};

// Opens and answers the report of `tangoctl dataset stats` and of the Dataset stage: report() with
// `reportDigest` (of the full per-class table) and per-class rows cut at 100.
Result<Json> dataset_report(const std::filesystem::path& root, const OpenOptions& options = {});

// The split rule itself, a pure function of (seed, content): adding data never moves an image.
// u = first 53 bits of SHA-256("tango.split.v1" 0 seed_le64 content); test below `test`, then val,
// else train.
Split hashed_split(std::uint64_t seed, const Digest& content, double val, double test);

}  // namespace tango::data

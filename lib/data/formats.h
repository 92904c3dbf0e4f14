// Inner header of lib/data: what a format's reader hands over, and the common end of opening a set
// (splits, findings, report). Not for other rooms.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/data/dataset.h"

namespace tango::data {

enum class Finding { kMissing, kEmpty, kCorrupt, kUnlabelled };

// One usable image.
struct Record {
  std::uint64_t ref = 0;
  int label = 0;
  Digest content;
  std::optional<Split> home;  // the split its folder or file says
  int width = 0;
  int height = 0;
  int channels = 0;
};

struct BadFile {
  Finding finding = Finding::kCorrupt;
  std::optional<Split> home;
  std::string name;
};

// Everything a reader found; records in the reader's stable order.
struct Scan {
  Format format = Format::kAuto;
  std::vector<std::string> classes;
  std::vector<Record> records;
  std::vector<BadFile> bad;
  std::uint64_t ignored = 0;  // files that are no images
  bool has_val = false;
  bool has_test = false;
  bool divided = false;  // the data itself says which images are for training
  std::function<std::string(std::uint64_t ref)> name;
};

struct DatasetAccess {
  using Item = Dataset::Item;
  using Contents = Dataset::Contents;
  // Deals records to splits and writes the report. Errors: InvalidDataset.
  static Result<Contents> assemble(const Scan& scan, const Digest& digest,
                                   const OpenOptions& options);
};

Result<std::shared_ptr<const Dataset>> open_folder(const std::filesystem::path& root,
                                                   const OpenOptions& options);
Result<std::shared_ptr<const Dataset>> open_idx(const std::filesystem::path& root,
                                                const OpenOptions& options);
bool looks_like_idx(const std::filesystem::path& root);

inline Error invalid_dataset(std::string message) {
  return make_error(Code::kInvalid, "InvalidDataset", std::move(message));
}

// Runs body(i) for i in [0, n) on `threads` threads; body must be thread-safe.
void parallel_for(std::size_t n, int threads, const std::function<void(std::size_t)>& body);

}  // namespace tango::data

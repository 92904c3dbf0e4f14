#include "lib/data/dataset.h"

#include <atomic>
#include <charconv>
#include <cmath>
#include <exception>
#include <mutex>
#include <set>
#include <thread>

#include "lib/data/formats.h"

namespace tango::data {
namespace {

constexpr std::size_t kReportedClasses = 100;
constexpr std::string_view kKnownElsewhere[] = {"YOLO",        "COCO", "PascalVOC",
                                                "LabelStudio", "CVAT", "MaskPNG"};

Error bad_splits(std::string message) {
  return make_error(Code::kInvalid, "InvalidSplits", std::move(message));
}

// Decimals travel as text in Kubernetes objects, so both forms are numbers here.
Result<double> fraction(const Json& value, const std::string& path) {
  double number = -1;
  if (value.is_number()) {
    number = value.get<double>();
  } else if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (ec != std::errc{} || end != text.data() + text.size()) number = -1;
  } else {
    return make_error(Code::kInvalid, "WrongType", path + " must be a number");
  }
  if (!(number >= 0 && number <= 1)) return bad_splits(path + " must be a number from 0 to 1");
  return number;
}

Result<SplitRule> parse_splits(const Json& value) {
  SplitRule rule;
  if (value.is_null()) return rule;
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (text == "Auto" || text == "ByFolder") return rule;
    return bad_splits("splits is \"" + text + "\"; it must be Auto, ByFolder or an object");
  }
  if (value.is_array()) {
    return make_error(Code::kUnsupported, "Unsupported", "splits by list is not supported yet");
  }
  if (!value.is_object()) {
    return make_error(Code::kInvalid, "WrongType", "splits must be a word or an object");
  }
  int fractions = 0;
  for (const auto& [key, entry] : value.items()) {
    const std::string path = "splits." + key;
    if (key == "seed") {
      if (!entry.is_number_integer() || entry.get<std::int64_t>() < 0) {
        return make_error(Code::kInvalid, "WrongType", "splits.seed must be an integer >= 0");
      }
      rule.seed = entry.get<std::uint64_t>();
    } else if (key == "train" || key == "val" || key == "test") {
      TRY_ASSIGN(const double number, fraction(entry, path));
      (key == "train" ? rule.train : key == "val" ? rule.val : rule.test) = number;
      if (key != "val") ++fractions;
    } else if (key == "groupBy") {
      return make_error(Code::kUnsupported, "Unsupported", "splits.groupBy is not supported yet");
    } else {
      return make_error(Code::kInvalid, "UnknownField", "unknown key " + path);
    }
  }
  if (fractions == 0) return rule;
  if (fractions != 2 || !value.contains("val")) {
    return bad_splits("splits needs all of train, val and test, or val alone");
  }
  if (std::abs(rule.train + rule.val + rule.test - 1.0) > 1e-6) {
    return bad_splits("splits.train, .val and .test must add up to 1");
  }
  rule.by_fraction = true;
  return rule;
}

}  // namespace

std::string_view to_string(Format format) {
  switch (format) {
    case Format::kImageFolder:
      return "ImageFolder";
    case Format::kIdx:
      return "Idx";
    case Format::kAuto:
      break;
  }
  return "Auto";
}

Result<Format> parse_format(std::string_view text) {
  for (const Format format : {Format::kAuto, Format::kImageFolder, Format::kIdx}) {
    if (text == to_string(format)) return format;
  }
  for (const auto known : kKnownElsewhere) {
    if (text == known) {
      return make_error(
          Code::kUnsupported, "Unsupported",
          "dataset format " + std::string(text) + " is not supported yet; use ImageFolder or Idx");
    }
  }
  return make_error(
      Code::kInvalid, "InvalidFormat",
      "unknown dataset format \"" + std::string(text) + "\"; use Auto, ImageFolder or Idx");
}

std::string_view to_string(Split split) {
  switch (split) {
    case Split::kVal:
      return "val";
    case Split::kTest:
      return "test";
    case Split::kTrain:
      break;
  }
  return "train";
}

Result<Split> parse_split(std::string_view text) {
  for (const Split split : kSplits) {
    if (text == to_string(split)) return split;
  }
  return make_error(Code::kInvalid, "InvalidSplit",
                    "unknown split \"" + std::string(text) + "\"; use train, val or test");
}

Result<OpenOptions> parse_options(const Json& config) {
  if (!config.is_object()) {
    return make_error(Code::kInvalid, "WrongType", "dataset configuration must be an object");
  }
  OpenOptions options;
  for (const auto& [key, value] : config.items()) {
    if (key == "format") {
      if (!value.is_string()) {
        return make_error(Code::kInvalid, "WrongType", "format must be a string");
      }
      TRY_ASSIGN(options.format, parse_format(value.get_ref<const std::string&>()));
    } else if (key == "splits") {
      TRY_ASSIGN(options.splits, parse_splits(value));
    } else if (key == "classes") {
      if (!value.is_array()) {
        return make_error(Code::kInvalid, "WrongType", "classes must be a list of names");
      }
      std::set<std::string> seen;
      for (const Json& name : value) {
        if (!name.is_string() || name.get_ref<const std::string&>().empty()) {
          return make_error(Code::kInvalid, "WrongType", "classes must be a list of names");
        }
        options.classes.push_back(name.get<std::string>());
        if (!seen.insert(options.classes.back()).second) {
          return make_error(Code::kInvalid, "InvalidDataset",
                            "class \"" + options.classes.back() + "\" is listed twice");
        }
      }
    } else {
      return make_error(Code::kInvalid, "UnknownField",
                        "unknown key " + key + " in the dataset configuration");
    }
  }
  return options;
}

Split hashed_split(std::uint64_t seed, const Digest& content, double val, double test) {
  std::array<std::uint8_t, 8> seed_bytes;
  for (std::size_t i = 0; i < 8; ++i) seed_bytes[i] = static_cast<std::uint8_t>(seed >> (8 * i));
  Sha256 hash;
  hash.update(std::string_view("tango.split.v1\0", 15));
  hash.update(std::span<const std::uint8_t>(seed_bytes));
  hash.update(std::span<const std::uint8_t>(content.bytes()));
  const Digest key = hash.finish();
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < 8; ++i) word = (word << 8) | key.bytes()[i];
  const double u = static_cast<double>(word >> 11) * 0x1.0p-53;
  if (u < test) return Split::kTest;
  if (u < test + val) return Split::kVal;
  return Split::kTrain;
}

void parallel_for(std::size_t n, int threads, const std::function<void(std::size_t)>& body) {
  const auto count = std::min(n, static_cast<std::size_t>(std::max(1, threads)));
  if (count <= 1) {
    for (std::size_t i = 0; i < n; ++i) body(i);
    return;
  }
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr first;
  {
    std::vector<std::jthread> workers;
    for (std::size_t t = 0; t < count; ++t) {
      workers.emplace_back([&] {
        try {
          for (std::size_t i = next++; i < n; i = next++) body(i);
        } catch (...) {  // out of memory: end all, tell the caller
          next = n;
          const std::lock_guard lock(mutex);
          if (!first) first = std::current_exception();
        }
      });
    }
  }
  if (first) std::rethrow_exception(first);
}

int Dataset::label(Split split, std::size_t index) const { return items(split).at(index).label; }

const Digest& Dataset::content(Split split, std::size_t index) const {
  return items(split).at(index).content;
}

Result<std::shared_ptr<const Dataset>> Dataset::open(const std::filesystem::path& root,
                                                     const OpenOptions& options) {
  std::error_code ec;
  if (!std::filesystem::is_directory(root, ec)) {
    return make_error(Code::kNotFound, "NotFound",
                      "dataset folder " + root.string() + " does not exist or is not a folder");
  }
  Format format = options.format;
  if (format == Format::kAuto) {
    format = looks_like_idx(root) ? Format::kIdx : Format::kImageFolder;
  }
  try {
    return format == Format::kIdx ? open_idx(root, options) : open_folder(root, options);
  } catch (const std::bad_alloc&) {
    return make_error(Code::kExhausted, "OutOfMemory",
                      "not enough memory to open the dataset in " + root.string());
  } catch (const std::exception& e) {
    return make_error(Code::kIo, "IoError",
                      "cannot read the dataset in " + root.string() + ": " + e.what());
  }
}

Result<Json> dataset_report(const std::filesystem::path& root, const OpenOptions& options) {
  TRY_ASSIGN(const auto dataset, Dataset::open(root, options));
  Json report = dataset->report();
  TRY_ASSIGN(const std::string canonical, canonical_json(report));
  report["reportDigest"] = sha256(canonical).to_string();
  Json& rows = report["perClass"];
  if (rows.size() > kReportedClasses) {
    rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(kReportedClasses), rows.end());
  }
  Json& classes = report["classes"];
  if (classes.size() > kReportedClasses) {
    classes.erase(classes.begin() + static_cast<std::ptrdiff_t>(kReportedClasses), classes.end());
  }
  return report;
}

}  // namespace tango::data

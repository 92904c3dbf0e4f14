// ImageFolder: <root>/<class>/**/image or <root>/{train,val,test}/<class>/**/image.
#include <algorithm>
#include <map>
#include <set>

#include "lib/base/file.h"
#include "lib/data/formats.h"
#include "lib/data/merkle.h"

namespace tango::data {
namespace {

constexpr std::string_view kDecodable[] = {".jpg", ".jpeg", ".jpe", ".jfif", ".png"};
constexpr std::string_view kOtherImages[] = {".bmp", ".gif",  ".webp", ".tif", ".tiff",
                                             ".ppm", ".heic", ".avif", ".jp2"};

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

template <std::size_t N>
bool one_of(const std::string& text, const std::string_view (&list)[N]) {
  return std::find(std::begin(list), std::end(list), text) != std::end(list);
}

std::optional<Split> split_folder(const std::string& name) {
  const std::string word = lower(name);
  if (word == "train" || word == "training") return Split::kTrain;
  if (word == "val" || word == "valid" || word == "validation") return Split::kVal;
  if (word == "test" || word == "testing") return Split::kTest;
  return std::nullopt;
}

struct Candidate {
  std::string path;  // relative, '/' separated
  bool dangling = false;
};

struct Listing {
  std::vector<Candidate> files;
  std::uint64_t ignored = 0;
};

// True when `path` leads, through whatever links, to something inside `root`.
bool stays_inside(const fs::path& canonical_root, const fs::path& path) {
  std::error_code ec;
  const fs::path real = fs::canonical(path, ec);
  if (ec) return false;
  const auto [a, b] =
      std::mismatch(canonical_root.begin(), canonical_root.end(), real.begin(), real.end());
  return a == canonical_root.end();
}

// Sorted walk. Links to files inside the root are followed, links to folders never (cycles).
Status walk(const fs::path& root, const fs::path& canonical_root, const std::string& prefix,
            int depth, const Limits& limits, Listing& out) {
  if (depth > limits.max_depth) {
    return make_error(
        Code::kExhausted, "DatasetTooLarge",
        "folders below " + prefix + " are nested deeper than " + std::to_string(limits.max_depth));
  }
  std::error_code ec;
  fs::directory_iterator it(root / prefix, ec);
  if (ec) return errno_error(ec.value(), "cannot list " + (root / prefix).string());
  std::vector<fs::directory_entry> entries;
  for (; it != fs::directory_iterator(); it.increment(ec)) {
    if (ec) return errno_error(ec.value(), "cannot list " + (root / prefix).string());
    entries.push_back(*it);
    if (entries.size() + out.files.size() > limits.max_files) {
      return make_error(Code::kExhausted, "DatasetTooLarge",
                        "the dataset has more than " + std::to_string(limits.max_files) + " files");
    }
  }
  std::sort(entries.begin(), entries.end());
  for (const auto& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.')) continue;
    const std::string relative = prefix.empty() ? name : prefix + "/" + name;
    const bool link = entry.is_symlink(ec);
    if (!link && entry.is_directory(ec)) {
      TRY(walk(root, canonical_root, relative, depth + 1, limits, out));
      continue;
    }
    const std::string extension = lower(entry.path().extension().string());
    if (!one_of(extension, kDecodable) && !one_of(extension, kOtherImages)) {
      ++out.ignored;
      continue;
    }
    const bool usable = link ? stays_inside(canonical_root, entry.path()) &&
                                   fs::is_regular_file(fs::status(entry.path(), ec))
                             : entry.is_regular_file(ec);
    out.files.push_back({relative, !usable});
  }
  return ok_status();
}

// What one file turned out to be.
struct Checked {
  std::optional<Finding> bad;
  std::optional<Digest> leaf;
  std::optional<Digest> content;
  int width = 0;
  int height = 0;
  int channels = 0;
  std::optional<Error> failure;  // an I/O error of the machine, not of the file
};

Checked check_file(const fs::path& root, const Candidate& file, const Limits& limits) {
  Checked out;
  if (file.dangling) {
    out.bad = Finding::kMissing;
    return out;
  }
  Result<std::string> bytes = read_file(root / file.path, limits.image.max_encoded_bytes);
  if (!bytes.ok()) {
    const Code code = bytes.error().code;
    if (code == Code::kNotFound) {
      out.bad = Finding::kMissing;
    } else if (code == Code::kExhausted) {
      out.bad = Finding::kCorrupt;  // larger than any image we accept
    } else {
      out.failure = std::move(bytes).error();
    }
    return out;
  }
  out.leaf = file_leaf(file.path, *bytes);
  out.content = sha256(std::string_view(*bytes));
  if (bytes->empty()) {
    out.bad = Finding::kEmpty;
    return out;
  }
  const Result<vision::Image> image = vision::decode_image(*bytes, 0, limits.image);
  if (!image.ok()) {
    out.bad = Finding::kCorrupt;
    return out;
  }
  out.width = image->width;
  out.height = image->height;
  out.channels = image->channels;
  return out;
}

class FolderDataset : public Dataset {
 public:
  FolderDataset(fs::path root, std::vector<std::string> paths, vision::DecodeLimits limits,
                Contents contents)
      : Dataset(std::move(contents)),
        root_(std::move(root)),
        paths_(std::move(paths)),
        limits_(limits) {}

  Format format() const override { return Format::kImageFolder; }
  std::string name(Split split, std::size_t index) const override {
    return paths_[items(split).at(index).ref];
  }
  Result<Sample> load(Split split, std::size_t index) const override {
    if (index >= items(split).size()) {
      return make_error(Code::kInvalid, "IndexOutOfRange",
                        "sample " + std::to_string(index) + " of split " +
                            std::string(to_string(split)) + " does not exist");
    }
    const auto& item = items(split)[index];
    const std::string& path = paths_[item.ref];
    TRY_ASSIGN(const std::string bytes, read_file(root_ / path, limits_.max_encoded_bytes));
    if (sha256(std::string_view(bytes)) != item.content) {
      return make_error(Code::kConflict, "DatasetChanged",
                        path + " was changed while the dataset was in use");
    }
    TRY_ASSIGN(vision::Image image, vision::decode_image(bytes, 0, limits_));
    return Sample{std::move(image), item.label};
  }

 private:
  fs::path root_;
  std::vector<std::string> paths_;
  vision::DecodeLimits limits_;
};

// Where a file belongs by its path alone.
struct Place {
  std::optional<Split> home;
  std::string klass;  // empty: unlabelled
};

Place place_of(const std::string& path, bool divided) {
  Place place;
  std::string_view rest = path;
  if (divided) {
    const auto slash = rest.find('/');
    if (slash == std::string_view::npos) return place;
    place.home = split_folder(std::string(rest.substr(0, slash)));
    if (!place.home) return place;  // beside the split folders: no label
    rest.remove_prefix(slash + 1);
  }
  const auto slash = rest.find('/');
  if (slash != std::string_view::npos) place.klass = std::string(rest.substr(0, slash));
  return place;
}

Result<std::vector<std::string>> class_order(const std::set<std::string>& found,
                                             const std::vector<std::string>& wanted) {
  if (wanted.empty()) return std::vector<std::string>(found.begin(), found.end());
  for (const std::string& name : found) {
    if (std::find(wanted.begin(), wanted.end(), name) == wanted.end()) {
      return invalid_dataset("folder \"" + name + "\" is not in the list of classes");
    }
  }
  return wanted;
}

}  // namespace

Result<std::shared_ptr<const Dataset>> open_folder(const fs::path& root,
                                                   const OpenOptions& options) {
  std::error_code ec;
  const fs::path canonical_root = fs::canonical(root, ec);
  if (ec) return errno_error(ec.value(), "cannot open " + root.string());
  Scan scan;
  scan.format = Format::kImageFolder;
  for (const auto& entry : fs::directory_iterator(root)) {
    if (!entry.is_directory()) continue;
    const auto split = split_folder(entry.path().filename().string());
    // A test folder alone divides an evaluation set; otherwise it may well be a class.
    scan.divided =
        scan.divided || split == Split::kTrain || (split == Split::kTest && !options.require_train);
    scan.has_val = scan.has_val || split == Split::kVal;
    scan.has_test = scan.has_test || split == Split::kTest;
  }
  Listing listing;
  TRY(walk(root, canonical_root, "", 0, options.limits, listing));
  scan.ignored = listing.ignored;
  // Byte order of the paths is the order of leaves and samples, whatever the file system says.
  std::sort(listing.files.begin(), listing.files.end(),
            [](const Candidate& a, const Candidate& b) { return a.path < b.path; });

  std::vector<Checked> checked(listing.files.size());
  parallel_for(checked.size(), options.threads, [&](std::size_t i) {
    checked[i] = check_file(root, listing.files[i], options.limits);
  });

  std::set<std::string> found;
  for (const Candidate& file : listing.files) {
    const Place place = place_of(file.path, scan.divided);
    if (!place.klass.empty()) found.insert(place.klass);
  }
  if (found.size() > static_cast<std::size_t>(options.limits.max_classes)) {
    return make_error(Code::kExhausted, "DatasetTooLarge", "the dataset has too many classes");
  }
  TRY_ASSIGN(scan.classes, class_order(found, options.classes));
  std::map<std::string, int, std::less<>> labels;
  for (const std::string& name : scan.classes) {
    labels.emplace(name, static_cast<int>(labels.size()));
  }

  MerklePart part{"files", 0, 0, 0, {}};
  std::vector<std::string> paths;
  paths.reserve(listing.files.size());
  for (std::size_t i = 0; i < checked.size(); ++i) {
    const Checked& c = checked[i];
    const std::string& path = listing.files[i].path;
    if (c.failure) return Error(*c.failure).with_context("while reading " + path);
    paths.push_back(path);
    if (c.leaf) part.leaves.push_back(*c.leaf);
    const Place place = place_of(path, scan.divided);
    if (c.bad) {
      scan.bad.push_back({*c.bad, place.home, path});
    } else if (place.klass.empty()) {
      scan.bad.push_back({Finding::kUnlabelled, place.home, path});
    } else {
      scan.records.push_back({i, labels.find(place.klass)->second, *c.content, place.home, c.width,
                              c.height, c.channels});
    }
  }
  scan.name = [&](std::uint64_t ref) { return paths[ref]; };
  const Digest digest =
      dataset_digest(to_string(scan.format), std::span<const MerklePart>(&part, 1));
  TRY_ASSIGN(auto contents, DatasetAccess::assemble(scan, digest, options));
  return std::shared_ptr<const Dataset>(std::make_shared<FolderDataset>(
      root, std::move(paths), options.limits.image, std::move(contents)));
}

}  // namespace tango::data

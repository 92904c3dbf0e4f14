// Idx (the MNIST family's files): {train,t10k}-{images-idx3,labels-idx1}-ubyte, raw or gzip.
#include <zlib.h>

#include <algorithm>

#include "lib/base/file.h"
#include "lib/data/formats.h"
#include "lib/data/merkle.h"

namespace tango::data {
namespace {

constexpr std::uint8_t kUnsignedByte = 0x08;

constexpr std::string_view kTrainPart = "train";
constexpr std::string_view kTestPart = "t10k";

// The file of this stem as it is called in the wild, raw before gzip.
std::optional<fs::path> find_file(const fs::path& root, std::string_view part,
                                  std::string_view kind, std::string_view rank) {
  const std::string a = std::string(part) + "-" + std::string(kind);
  std::error_code ec;
  for (const char* separator : {"-", "."}) {
    for (const char* suffix : {"", ".gz"}) {
      const fs::path path = root / (a + separator + "idx" + std::string(rank) + "-ubyte" + suffix);
      if (fs::is_regular_file(path, ec)) return path;
    }
  }
  return std::nullopt;
}

std::optional<fs::path> find_images(const fs::path& root, std::string_view part) {
  auto path = find_file(root, part, "images", "3");
  return path ? path : find_file(root, part, "images", "4");
}

Error damaged(const fs::path& path, std::string_view why) {
  return invalid_dataset(path.filename().string() +
                         " is not a sound Idx file: " + std::string(why));
}

// Inflates all members of a gzip file, giving up at `max_bytes`.
Result<std::vector<std::uint8_t>> inflate_gzip(const fs::path& path, std::string_view packed,
                                               std::uint64_t max_bytes) {
  z_stream stream{};
  if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) {
    return make_error(Code::kExhausted, "OutOfMemory", "no memory for a gzip reader");
  }
  struct End {
    z_stream* s;
    ~End() { inflateEnd(s); }
  } end{&stream};
  std::vector<std::uint8_t> out;
  std::vector<std::uint8_t> block(1u << 18);
  const auto* input = reinterpret_cast<const Bytef*>(packed.data());
  std::size_t left = packed.size();
  int rc = Z_OK;
  while (true) {
    if (stream.avail_in == 0 && left > 0) {
      const std::size_t n = std::min<std::size_t>(left, 1u << 20);
      stream.next_in = const_cast<Bytef*>(input);
      stream.avail_in = static_cast<uInt>(n);
      input += n;
      left -= n;
    }
    stream.next_out = block.data();
    stream.avail_out = static_cast<uInt>(block.size());
    rc = inflate(&stream, Z_NO_FLUSH);
    if (rc != Z_OK && rc != Z_STREAM_END) {
      return damaged(path, rc == Z_BUF_ERROR ? "the gzip stream ends too early"
                                             : "the gzip stream is damaged");
    }
    const std::size_t got = block.size() - stream.avail_out;
    if (out.size() + got > max_bytes) {
      return make_error(Code::kExhausted, "DatasetTooLarge",
                        path.filename().string() + " unpacks to more than " +
                            std::to_string(max_bytes) + " bytes");
    }
    out.insert(out.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(got));
    if (rc == Z_STREAM_END) {
      if (stream.avail_in == 0 && left == 0) return out;
      inflateReset(&stream);
    }
  }
}

struct IdxFile {
  std::vector<std::uint32_t> shape;
  std::vector<std::uint8_t> data;  // header included
  std::size_t offset = 0;
};

Result<IdxFile> read_idx(const fs::path& path, std::size_t min_rank, std::size_t max_rank,
                         const Limits& limits) {
  const Result<std::string> raw = read_file(path, limits.max_idx_bytes);
  if (!raw.ok()) return raw.error();
  IdxFile file;
  if (raw->starts_with("\x1f\x8b")) {
    TRY_ASSIGN(file.data, inflate_gzip(path, *raw, limits.max_idx_bytes));
  } else {
    file.data.assign(raw->begin(), raw->end());
  }
  const auto& bytes = file.data;
  if (bytes.size() < 4 || bytes[0] != 0 || bytes[1] != 0)
    return damaged(path, "wrong magic number");
  if (bytes[2] != kUnsignedByte) return damaged(path, "only unsigned bytes are supported");
  const std::size_t rank = bytes[3];
  if (rank < min_rank || rank > max_rank) {
    return damaged(path, "it has " + std::to_string(rank) + " dimensions");
  }
  file.offset = 4 + 4 * rank;
  if (bytes.size() < file.offset) return damaged(path, "the header ends too early");
  std::uint64_t expected = 1;
  for (std::size_t d = 0; d < rank; ++d) {
    std::uint32_t n = 0;
    for (std::size_t i = 0; i < 4; ++i) n = (n << 8) | bytes[4 + 4 * d + i];
    file.shape.push_back(n);
    // The product is compared with real bytes, so an overflow must not wrap to a small number.
    if (n != 0 && expected > limits.max_idx_bytes / n) {
      return damaged(path, "its header promises more bytes than the limit");
    }
    expected *= n;
  }
  const std::uint64_t present = bytes.size() - file.offset;
  if (present != expected) {
    return damaged(path, "the header promises " + std::to_string(expected) +
                             " bytes of data, the file holds " + std::to_string(present));
  }
  return file;
}

struct Part {
  std::string name;
  Split home = Split::kTrain;
  IdxFile images;
  IdxFile labels;
  std::uint32_t count = 0;
  int height = 0;
  int width = 0;
  int channels = 1;
  std::size_t item_bytes() const {
    return static_cast<std::size_t>(height) * static_cast<std::size_t>(width) *
           static_cast<std::size_t>(channels);
  }
  std::span<const std::uint8_t> image(std::uint64_t i) const {
    return {images.data.data() + images.offset + i * item_bytes(), item_bytes()};
  }
  std::uint8_t label(std::uint64_t i) const { return labels.data[labels.offset + i]; }
};

Result<std::optional<Part>> read_part(const fs::path& root, std::string_view name, Split home,
                                      const Limits& limits) {
  const auto images = find_images(root, name);
  const auto labels = find_file(root, name, "labels", "1");
  if (!images && !labels) return std::optional<Part>();
  if (!images || !labels) {
    return invalid_dataset("the " + std::string(images ? "labels" : "images") + " file of \"" +
                           std::string(name) + "\" is missing in " + root.string());
  }
  Part part;
  part.name = std::string(name);
  part.home = home;
  TRY_ASSIGN(part.images, read_idx(*images, 3, 4, limits));
  TRY_ASSIGN(part.labels, read_idx(*labels, 1, 1, limits));
  const auto& shape = part.images.shape;
  part.count = shape[0];
  if (part.count != part.labels.shape[0]) {
    return invalid_dataset("\"" + part.name + "\" has " + std::to_string(part.count) +
                           " images but " + std::to_string(part.labels.shape[0]) + " labels");
  }
  if (part.count > limits.max_idx_items) {
    return make_error(
        Code::kExhausted, "DatasetTooLarge",
        "\"" + part.name + "\" has more than " + std::to_string(limits.max_idx_items) + " items");
  }
  const auto side = static_cast<std::uint32_t>(limits.image.max_side);
  if (shape[1] == 0 || shape[2] == 0 || shape[1] > side || shape[2] > side) {
    return damaged(*images, "images of " + std::to_string(shape[2]) + " x " +
                                std::to_string(shape[1]) + " pixels");
  }
  part.height = static_cast<int>(shape[1]);
  part.width = static_cast<int>(shape[2]);
  if (shape.size() == 4) {
    if (shape[3] != 1 && shape[3] != 3) return damaged(*images, "images need 1 or 3 channels");
    part.channels = static_cast<int>(shape[3]);
  }
  return std::optional<Part>(std::move(part));
}

// ref = part number in the upper half, item in the lower one.
std::uint64_t make_ref(std::size_t part, std::uint64_t item) {
  return (static_cast<std::uint64_t>(part) << 32) | item;
}

class IdxDataset : public Dataset {
 public:
  IdxDataset(std::vector<Part> parts, Contents contents)
      : Dataset(std::move(contents)), parts_(std::move(parts)) {}

  Format format() const override { return Format::kIdx; }
  std::string name(Split split, std::size_t index) const override {
    const std::uint64_t ref = items(split).at(index).ref;
    return parts_[ref >> 32].name + "[" + std::to_string(ref & 0xffffffffu) + "]";
  }
  Result<Sample> load(Split split, std::size_t index) const override {
    if (index >= items(split).size()) {
      return make_error(Code::kInvalid, "IndexOutOfRange",
                        "sample " + std::to_string(index) + " of split " +
                            std::string(to_string(split)) + " does not exist");
    }
    const auto& item = items(split)[index];
    const Part& part = parts_[item.ref >> 32];
    Sample sample;
    sample.image.width = part.width;
    sample.image.height = part.height;
    sample.image.channels = part.channels;
    const auto bytes = part.image(item.ref & 0xffffffffu);
    sample.image.pixels.assign(bytes.begin(), bytes.end());
    sample.label = item.label;
    return sample;
  }

 private:
  std::vector<Part> parts_;
};

}  // namespace

bool looks_like_idx(const fs::path& root) {
  return find_images(root, kTrainPart).has_value() || find_images(root, kTestPart).has_value();
}

Result<std::shared_ptr<const Dataset>> open_idx(const fs::path& root, const OpenOptions& options) {
  std::vector<Part> parts;
  Scan scan;
  scan.format = Format::kIdx;
  for (const auto& [name, home] :
       {std::pair{kTrainPart, Split::kTrain}, std::pair{kTestPart, Split::kTest}}) {
    TRY_ASSIGN(std::optional<Part> part, read_part(root, name, home, options.limits));
    if (!part) continue;
    scan.has_test = scan.has_test || home == Split::kTest;
    parts.push_back(std::move(*part));
  }
  if (parts.empty() || (options.require_train && parts.front().home != Split::kTrain)) {
    return invalid_dataset("no train-images-idx3-ubyte and train-labels-idx1-ubyte (or .gz) in " +
                           root.string());
  }
  scan.divided = scan.has_test;  // a lone train pair is pooled and dealt by hash

  int highest = 0;
  for (const Part& part : parts) {
    for (std::uint32_t i = 0; i < part.count; ++i) {
      highest = std::max(highest, static_cast<int>(part.label(i)));
    }
  }
  scan.classes = options.classes;
  if (scan.classes.empty()) {
    for (int c = 0; c <= highest; ++c) scan.classes.push_back(std::to_string(c));
  }

  std::vector<MerklePart> merkle;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const Part& part = parts[p];
    MerklePart tree{part.name, static_cast<std::uint32_t>(part.height),
                    static_cast<std::uint32_t>(part.width),
                    static_cast<std::uint32_t>(part.channels),
                    std::vector<Digest>(part.count, Digest(Digest::Bytes{}))};
    std::vector<Digest> contents(part.count, Digest(Digest::Bytes{}));
    parallel_for(part.count, options.threads, [&](std::size_t i) {
      tree.leaves[i] = idx_leaf(i, part.image(i), part.label(i));
      contents[i] = sha256(part.image(i));
    });
    for (std::uint32_t i = 0; i < part.count; ++i) {
      const int label = part.label(i);
      if (static_cast<std::size_t>(label) >= scan.classes.size()) {
        scan.bad.push_back(
            {Finding::kUnlabelled, part.home, part.name + "[" + std::to_string(i) + "]"});
        continue;
      }
      scan.records.push_back(
          {make_ref(p, i), label, contents[i], part.home, part.width, part.height, part.channels});
    }
    merkle.push_back(std::move(tree));
  }
  scan.name = [&](std::uint64_t ref) {
    return parts[ref >> 32].name + "[" + std::to_string(ref & 0xffffffffu) + "]";
  };
  const Digest digest = dataset_digest(to_string(scan.format), merkle);
  TRY_ASSIGN(auto contents, DatasetAccess::assemble(scan, digest, options));
  return std::shared_ptr<const Dataset>(
      std::make_shared<IdxDataset>(std::move(parts), std::move(contents)));
}

}  // namespace tango::data

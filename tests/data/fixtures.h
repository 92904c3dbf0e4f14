// Small datasets on disk for the tests of lib/data, inference and the builder.
#pragma once

#include <zlib.h>

#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/vision/codec.h"

namespace tango::test {

inline vision::Image noise(int width, int height, int channels, std::uint64_t seed) {
  vision::Image image(width, height, channels);
  CounterRandom random(seed, 3);
  for (auto& p : image.pixels) p = static_cast<std::uint8_t>(random.next());
  return image;
}

inline void write(const fs::path& path, std::string_view bytes) {
  if (!make_dirs(path.parent_path()).ok() || !write_file_atomic(path, bytes).ok()) {
    throw std::runtime_error("cannot write " + path.string());
  }
}

inline void write_png(const fs::path& path, std::uint64_t seed, int side = 8) {
  write(path, *vision::encode_png(noise(side, side, 3, seed)));
}

inline std::string be32(std::size_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8),
          static_cast<char>(v)};
}

inline std::string idx_images(const std::vector<vision::Image>& images) {
  std::string out("\0\0\x08\x03", 4);
  out += be32(images.size());
  out += be32(static_cast<std::size_t>(images.front().height));
  out += be32(static_cast<std::size_t>(images.front().width));
  for (const auto& image : images) out.append(image.pixels.begin(), image.pixels.end());
  return out;
}

inline std::string idx_labels(const std::vector<int>& labels) {
  std::string out("\0\0\x08\x01", 4);
  out += be32(labels.size());
  for (const int label : labels) out += static_cast<char>(label);
  return out;
}

inline std::string gzip(std::string_view data) {
  std::string out(compressBound(data.size()) + 64, '\0');
  z_stream s{};
  deflateInit2(&s, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  s.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  s.avail_in = static_cast<uInt>(data.size());
  s.next_out = reinterpret_cast<Bytef*>(out.data());
  s.avail_out = static_cast<uInt>(out.size());
  deflate(&s, Z_FINISH);
  out.resize(s.total_out);
  deflateEnd(&s);
  return out;
}

// An Idx pair of `count` random 4x4 images, labels cycling over `classes`.
inline void write_idx(const fs::path& root, const std::string& part, std::size_t count, int classes,
                      std::uint64_t seed, bool packed = false, int side = 4) {
  std::vector<vision::Image> images;
  std::vector<int> labels;
  for (std::size_t i = 0; i < count; ++i) {
    images.push_back(noise(side, side, 1, seed * 1'000'003 + i));
    labels.push_back(static_cast<int>(i) % classes);
  }
  const std::string suffix = packed ? ".gz" : "";
  auto pack = [&](const std::string& bytes) { return packed ? gzip(bytes) : bytes; };
  write(root / (part + "-images-idx3-ubyte" + suffix), pack(idx_images(images)));
  write(root / (part + "-labels-idx1-ubyte" + suffix), pack(idx_labels(labels)));
}

}  // namespace tango::test

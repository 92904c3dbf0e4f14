// Encoded images: format sniffing, JPEG and PNG decoding under limits, PNG encoding. The only image
// decoder of the house (datasets, runtime, tests); it reads memory, never files, and never trusts a
// header: dimensions and total pixels are checked before the first pixel is allocated.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/vision/image.h"

namespace tango::vision {

enum class ImageFormat { kUnknown, kJpeg, kPng };
std::string_view to_string(ImageFormat format);  // "JPEG", "PNG", "unknown"
// By magic bytes; the file name is never asked.
ImageFormat sniff_format(std::string_view bytes);

struct DecodeLimits {
  std::uint64_t max_encoded_bytes = 64u << 20;
  int max_side = 16384;                    // pixels
  std::uint64_t max_pixels = 64ull << 20;  // width x height; bounds memory to 3 x this
};

struct ImageInfo {
  ImageFormat format = ImageFormat::kUnknown;
  int width = 0;
  int height = 0;
  int channels = 0;  // 1 or 3: what decode() with channels = 0 gives
};

// Header only. Errors as decode().
Result<ImageInfo> probe_image(std::string_view bytes, const DecodeLimits& limits = {});

// Decodes to 8-bit grey (1) or RGB (3); `channels` 0 keeps what the file has. 16-bit PNG is reduced
// to 8, palettes are expanded, alpha is dropped, CMYK JPEG is refused.
// Errors: UnknownImageFormat, CorruptImage, ImageTooLarge, Unsupported.
Result<Image> decode_image(std::string_view bytes, int channels = 0,
                           const DecodeLimits& limits = {});

// Deterministic for one libpng/zlib build: fixed filter and level, no time chunk.
Result<std::string> encode_png(const Image& image);
// Baseline JPEG 4:4:4 (grey stays grey). quality 1..100.
Result<std::string> encode_jpeg(const Image& image, int quality = 90);

}  // namespace tango::vision

#include "lib/vision/codec.h"

#include <png.h>
#include <turbojpeg.h>

#include <csetjmp>
#include <cstring>
#include <memory>
#include <new>

namespace tango::vision {
namespace {

constexpr std::string_view kPngMagic{"\x89PNG\r\n\x1a\n", 8};
constexpr std::string_view kJpegMagic{"\xff\xd8\xff", 3};
constexpr png_alloc_size_t kMaxPngChunk = 8u << 20;  // ancillary chunks (profiles, text)
constexpr int kPngLevel = 6;

Error corrupt(std::string_view format, std::string_view why) {
  return make_error(Code::kInvalid, "CorruptImage",
                    std::string(format) + " image is damaged: " + std::string(why));
}

Status check_size(std::uint64_t width, std::uint64_t height, const DecodeLimits& limits) {
  if (width == 0 || height == 0) return corrupt("the", "it has no pixels");
  const auto side = static_cast<std::uint64_t>(limits.max_side);
  if (width > side || height > side || width * height > limits.max_pixels) {
    return make_error(Code::kExhausted, "ImageTooLarge",
                      "image of " + std::to_string(width) + " x " + std::to_string(height) +
                          " pixels is larger than the limit of " + std::to_string(limits.max_side) +
                          " per side and " + std::to_string(limits.max_pixels) + " in all");
  }
  return ok_status();
}

// ---- PNG. libpng reports errors by longjmp, so the functions that call setjmp hold plain data
// only; everything with a destructor lives in their callers.

struct PngSource {
  const unsigned char* data;
  std::size_t size;
  std::size_t position;
};

struct PngMessage {
  char text[160];
};

void png_on_error(png_structp png, png_const_charp message) {
  auto* out = static_cast<PngMessage*>(png_get_error_ptr(png));
  std::strncpy(out->text, message, sizeof out->text - 1);
  png_longjmp(png, 1);
}
void png_on_warning(png_structp, png_const_charp) {}

void png_read_bytes(png_structp png, png_bytep out, png_size_t n) {
  auto* source = static_cast<PngSource*>(png_get_io_ptr(png));
  if (n > source->size - source->position) png_error(png, "it ends too early");
  std::memcpy(out, source->data + source->position, n);
  source->position += n;
}

struct PngHandle {
  png_structp png = nullptr;
  png_infop info = nullptr;
  ~PngHandle() { png_destroy_read_struct(&png, &info, nullptr); }
};

// Reads the header and sets the transformations; the size check comes before any row is allocated.
bool png_start(png_structp png, png_infop info, ImageInfo* out) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  // libpng must not refuse on its own: our check names the limit.
  png_set_user_limits(png, 0x7fffffffu, 0x7fffffffu);
  png_set_chunk_malloc_max(png, kMaxPngChunk);
  png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_WARN_DISCARD);
  png_read_info(png, info);
  const png_uint_32 width = png_get_image_width(png, info);
  const png_uint_32 height = png_get_image_height(png, info);
  const int color = png_get_color_type(png, info);
  out->format = ImageFormat::kPng;
  out->width = width > 0x7fffffffu ? 0 : static_cast<int>(width);
  out->height = height > 0x7fffffffu ? 0 : static_cast<int>(height);
  out->channels = (color & PNG_COLOR_MASK_COLOR) != 0 ? 3 : 1;
  return true;
}

bool png_rows(png_structp png, png_infop info, png_bytepp rows, std::size_t row_bytes) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_scale_16(png);
  png_set_expand(png);  // palette -> RGB, 1/2/4-bit grey -> 8, tRNS -> alpha
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  if (png_get_rowbytes(png, info) != row_bytes) png_error(png, "unexpected row size");
  png_read_image(png, rows);
  png_read_end(png, nullptr);
  return true;
}

Result<Image> read_png(std::string_view bytes, const DecodeLimits& limits, bool header_only,
                       ImageInfo* header) {
  PngSource source{reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), 0};
  PngMessage message{};
  PngHandle handle;
  handle.png =
      png_create_read_struct(PNG_LIBPNG_VER_STRING, &message, png_on_error, png_on_warning);
  if (handle.png != nullptr) handle.info = png_create_info_struct(handle.png);
  if (handle.info == nullptr) {
    return make_error(Code::kExhausted, "OutOfMemory", "no memory for a PNG decoder");
  }
  png_set_read_fn(handle.png, &source, png_read_bytes);
  if (!png_start(handle.png, handle.info, header)) return corrupt("PNG", message.text);
  TRY(check_size(static_cast<std::uint64_t>(header->width),
                 static_cast<std::uint64_t>(header->height), limits));
  if (header_only) return Image{};

  Image image(header->width, header->height, header->channels);
  const std::size_t row_bytes =
      static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.channels);
  std::vector<png_bytep> rows(static_cast<std::size_t>(image.height));
  for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = image.pixels.data() + y * row_bytes;
  if (!png_rows(handle.png, handle.info, rows.data(), row_bytes)) {
    return corrupt("PNG", message.text);
  }
  return image;
}

void png_append(png_structp png, png_bytep data, png_size_t n) {
  static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<char*>(data), n);
}
void png_no_flush(png_structp) {}

bool png_write(png_structp png, png_infop info, const Image* image, png_bytepp rows) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_compression_level(png, kPngLevel);
  png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB);
  png_set_IHDR(png, info, static_cast<png_uint_32>(image->width),
               static_cast<png_uint_32>(image->height), 8,
               image->channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  png_write_image(png, rows);
  png_write_end(png, nullptr);
  return true;
}

// ---- JPEG.

struct TjDelete {
  void operator()(void* handle) const { tjDestroy(handle); }
};
using TjHandle = std::unique_ptr<void, TjDelete>;

// libjpeg goes on after many kinds of damage; only bytes that it skipped harmlessly between
// markers are accepted, a truncated or undecodable scan is not.
bool harmless(const char* warning) { return std::strstr(warning, "extraneous bytes") != nullptr; }

Result<Image> read_jpeg(std::string_view bytes, const DecodeLimits& limits, bool header_only,
                        ImageInfo* header) {
  TjHandle handle(tjInitDecompress());
  if (!handle) return make_error(Code::kExhausted, "OutOfMemory", "no memory for a JPEG decoder");
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  const auto size = static_cast<unsigned long>(bytes.size());
  int subsampling = 0;
  int colorspace = 0;
  if (tjDecompressHeader3(handle.get(), data, size, &header->width, &header->height, &subsampling,
                          &colorspace) != 0 &&
      tjGetErrorCode(handle.get()) != TJERR_WARNING) {
    return corrupt("JPEG", tjGetErrorStr2(handle.get()));
  }
  header->format = ImageFormat::kJpeg;
  header->channels = colorspace == TJCS_GRAY ? 1 : 3;
  if (header->width < 0 || header->height < 0) return corrupt("JPEG", "negative size");
  TRY(check_size(static_cast<std::uint64_t>(header->width),
                 static_cast<std::uint64_t>(header->height), limits));
  if (colorspace == TJCS_CMYK || colorspace == TJCS_YCCK) {
    return make_error(Code::kUnsupported, "Unsupported",
                      "CMYK JPEG images are not supported; convert the image to RGB");
  }
  if (header_only) return Image{};
  Image image(header->width, header->height, header->channels);
  // LIMITSCANS stops progressive files with thousands of tiny scans.
  const int rc = tjDecompress2(handle.get(), data, size, image.pixels.data(), image.width, 0,
                               image.height, header->channels == 1 ? TJPF_GRAY : TJPF_RGB,
                               TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS);
  if (rc != 0) {
    const char* why = tjGetErrorStr2(handle.get());
    if (tjGetErrorCode(handle.get()) != TJERR_WARNING || !harmless(why)) {
      return corrupt("JPEG", why);
    }
  }
  return image;
}

Result<Image> read_any(std::string_view bytes, const DecodeLimits& limits, bool header_only,
                       ImageInfo* header) {
  if (bytes.size() > limits.max_encoded_bytes) {
    return make_error(Code::kExhausted, "ImageTooLarge",
                      "encoded image of " + std::to_string(bytes.size()) +
                          " bytes is larger than the limit of " +
                          std::to_string(limits.max_encoded_bytes));
  }
  try {
    switch (sniff_format(bytes)) {
      case ImageFormat::kPng:
        return read_png(bytes, limits, header_only, header);
      case ImageFormat::kJpeg:
        return read_jpeg(bytes, limits, header_only, header);
      case ImageFormat::kUnknown:
        break;
    }
  } catch (const std::bad_alloc&) {  // within the limits, but more than this machine has
    return make_error(Code::kExhausted, "OutOfMemory",
                      "not enough memory for an image of " + std::to_string(header->width) + " x " +
                          std::to_string(header->height) + " pixels");
  }
  return make_error(Code::kInvalid, "UnknownImageFormat",
                    "the bytes are neither a JPEG nor a PNG image");
}

Status check_encodable(const Image& image) {
  if ((image.channels != 1 && image.channels != 3) || image.width <= 0 || image.height <= 0) {
    return make_error(Code::kInvalid, "InvalidSize",
                      "only images with 1 or 3 channels and at least one pixel can be encoded");
  }
  return ok_status();
}

}  // namespace

std::string_view to_string(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "JPEG";
    case ImageFormat::kPng:
      return "PNG";
    case ImageFormat::kUnknown:
      break;
  }
  return "unknown";
}

ImageFormat sniff_format(std::string_view bytes) {
  if (bytes.starts_with(kPngMagic)) return ImageFormat::kPng;
  if (bytes.starts_with(kJpegMagic)) return ImageFormat::kJpeg;
  return ImageFormat::kUnknown;
}

Result<ImageInfo> probe_image(std::string_view bytes, const DecodeLimits& limits) {
  ImageInfo info;
  TRY(read_any(bytes, limits, true, &info));
  return info;
}

Result<Image> decode_image(std::string_view bytes, int channels, const DecodeLimits& limits) {
  if (channels != 0 && channels != 1 && channels != 3) {
    return make_error(Code::kInvalid, "InvalidSize", "an image has 1 or 3 channels");
  }
  ImageInfo info;
  TRY_ASSIGN(Image image, read_any(bytes, limits, false, &info));
  if (channels == 0 || channels == image.channels) return image;
  return convert_channels(image, channels);
}

Result<std::string> encode_png(const Image& image) {
  TRY(check_encodable(image));
  PngMessage message{};
  png_structp png =
      png_create_write_struct(PNG_LIBPNG_VER_STRING, &message, png_on_error, png_on_warning);
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
  if (info == nullptr) {
    png_destroy_write_struct(&png, nullptr);
    return make_error(Code::kExhausted, "OutOfMemory", "no memory for a PNG encoder");
  }
  std::string out;
  png_set_write_fn(png, &out, png_append, png_no_flush);
  const std::size_t row_bytes =
      static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.channels);
  std::vector<png_bytep> rows(static_cast<std::size_t>(image.height));
  for (std::size_t y = 0; y < rows.size(); ++y) {
    // libpng's writer takes rows without const and leaves them alone.
    rows[y] = const_cast<png_bytep>(image.pixels.data() + y * row_bytes);
  }
  const bool ok = png_write(png, info, &image, rows.data());
  png_destroy_write_struct(&png, &info);
  if (!ok) {
    return make_error(Code::kInternal, "EncodeFailed",
                      std::string("PNG encoder failed: ") + message.text);
  }
  return out;
}

Result<std::string> encode_jpeg(const Image& image, int quality) {
  TRY(check_encodable(image));
  TjHandle handle(tjInitCompress());
  if (!handle) return make_error(Code::kExhausted, "OutOfMemory", "no memory for a JPEG encoder");
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  const bool gray = image.channels == 1;
  const int rc = tjCompress2(handle.get(), image.pixels.data(), image.width, 0, image.height,
                             gray ? TJPF_GRAY : TJPF_RGB, &bytes, &size,
                             gray ? TJSAMP_GRAY : TJSAMP_444, quality, TJFLAG_ACCURATEDCT);
  std::unique_ptr<unsigned char, void (*)(unsigned char*)> owned(bytes, tjFree);
  if (rc != 0) {
    return make_error(Code::kInternal, "EncodeFailed",
                      std::string("JPEG encoder failed: ") + tjGetErrorStr2(handle.get()));
  }
  return std::string(reinterpret_cast<char*>(bytes), size);
}

}  // namespace tango::vision

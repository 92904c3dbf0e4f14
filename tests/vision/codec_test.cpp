#include "lib/vision/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>

#include "lib/base/random.h"
#include "lib/vision/draw.h"
#include "lib/vision/preprocess.h"

namespace tango::vision {
namespace {

Image noise(int width, int height, int channels, std::uint64_t seed = 1) {
  Image image(width, height, channels);
  CounterRandom random(seed, 0);
  for (auto& p : image.pixels) p = static_cast<std::uint8_t>(random.next());
  return image;
}

// Smooth content: JPEG keeps it nearly unchanged.
Image gradient(int width, int height, int channels) {
  Image image(width, height, channels);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) {
        image.at(x, y, c) = static_cast<std::uint8_t>((x * 3 + y * 2 + c * 40) % 200 + 20);
      }
    }
  }
  return image;
}

std::string be32(std::uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8),
          static_cast<char>(v)};
}

std::string png_chunk(std::string type, const std::string& data) {
  const std::string body = type + data;
  const auto crc =
      crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return be32(static_cast<std::uint32_t>(data.size())) + body +
         be32(static_cast<std::uint32_t>(crc));
}

// A PNG whose header promises any size, with next to no data behind it.
std::string bomb(std::uint32_t width, std::uint32_t height) {
  return std::string("\x89PNG\r\n\x1a\n", 8) +
         png_chunk("IHDR", be32(width) + be32(height) + std::string("\x08\x02\0\0\0", 5)) +
         png_chunk("IDAT", "x") + png_chunk("IEND", "");
}

TEST(Codec, PngRoundTripIsExact) {
  for (const int channels : {1, 3}) {
    const Image image = noise(37, 23, channels);
    const auto bytes = encode_png(image);
    ASSERT_TRUE(bytes.ok()) << bytes.error().to_string();
    EXPECT_EQ(sniff_format(*bytes), ImageFormat::kPng);
    const auto back = decode_image(*bytes);
    ASSERT_TRUE(back.ok()) << back.error().to_string();
    EXPECT_EQ(*back, image);
    EXPECT_EQ(*encode_png(image), *bytes);  // deterministic
  }
}

TEST(Codec, JpegRoundTripIsClose) {
  for (const int channels : {1, 3}) {
    const Image image = gradient(64, 48, channels);
    const auto bytes = encode_jpeg(image, 95);
    ASSERT_TRUE(bytes.ok());
    const auto info = probe_image(*bytes);
    ASSERT_TRUE(info.ok());
    EXPECT_EQ(info->channels, channels);
    EXPECT_EQ(info->width, 64);
    const auto back = decode_image(*bytes);
    ASSERT_TRUE(back.ok());
    double sum = 0;
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      sum += std::abs(static_cast<int>(image.pixels[i]) - static_cast<int>(back->pixels[i]));
    }
    EXPECT_LT(sum / static_cast<double>(image.pixels.size()), 3.0);
  }
}

TEST(Codec, ConvertsBetweenGreyAndColour) {
  Image white(2, 2, 3);
  for (auto& p : white.pixels) p = 255;
  EXPECT_EQ(convert_channels(white, 1).pixels, (std::vector<std::uint8_t>(4, 255)));
  const Image grey = noise(5, 4, 1);
  EXPECT_EQ(convert_channels(convert_channels(grey, 3), 1), grey);
  const auto png = encode_png(grey);
  const auto colour = decode_image(*png, 3);
  ASSERT_TRUE(colour.ok());
  EXPECT_EQ(colour->channels, 3);
}

TEST(Codec, EveryTruncationIsAnErrorNeverACrash) {
  for (const bool jpeg : {false, true}) {
    const Image image = gradient(40, 30, 3);
    const std::string bytes = jpeg ? *encode_jpeg(image) : *encode_png(image);
    for (std::size_t n = 0; n + 12 < bytes.size(); n += 7) {
      const auto result = decode_image(std::string_view(bytes).substr(0, n));
      EXPECT_FALSE(result.ok()) << "cut at " << n;
    }
  }
}

TEST(Codec, FlippedBytesNeverCrash) {
  for (const bool jpeg : {false, true}) {
    const std::string good = jpeg ? *encode_jpeg(noise(31, 17, 3)) : *encode_png(noise(31, 17, 3));
    CounterRandom random(7, 7);
    for (int round = 0; round < 400; ++round) {
      std::string bytes = good;
      for (int i = 0; i < 3; ++i) {
        bytes[random.below(bytes.size())] = static_cast<char>(random.next());
      }
      const auto result = decode_image(bytes);
      if (result.ok()) {
        EXPECT_EQ(result->pixels.size(), static_cast<std::size_t>(result->width) *
                                             static_cast<std::size_t>(result->height) *
                                             static_cast<std::size_t>(result->channels));
      }
    }
  }
}

TEST(Codec, HugeDimensionsAreRefusedBeforeAllocation) {
  for (const auto& [w, h] :
       {std::pair{100000u, 100000u}, {0x7fffffffu, 1u}, {1u, 0x7fffffffu}, {16000u, 16000u}}) {
    const auto result = decode_image(bomb(w, h));
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().reason, "ImageTooLarge") << w << "x" << h;
  }
  EXPECT_FALSE(decode_image(bomb(0, 5)).ok());
  EXPECT_FALSE(decode_image(bomb(0xffffffffu, 5)).ok());
}

TEST(Codec, LimitsAreAskedForByName) {
  DecodeLimits limits;
  limits.max_side = 16;
  const auto png = encode_png(noise(17, 4, 1));
  EXPECT_EQ(decode_image(*png, 0, limits).error().reason, "ImageTooLarge");
  limits = {};
  limits.max_encoded_bytes = 10;
  EXPECT_EQ(decode_image(*png, 0, limits).error().reason, "ImageTooLarge");
}

TEST(Codec, OtherBytesAreNotImages) {
  EXPECT_EQ(decode_image("GIF89a......").error().reason, "UnknownImageFormat");
  EXPECT_EQ(decode_image("").error().reason, "UnknownImageFormat");
}

TEST(Draw, CaptionIsAddedBelow) {
  const Image image = noise(28, 28, 1);
  const Image out = draw_caption(image, "Sneaker 0.99\n\xff");
  EXPECT_EQ(out.channels, 3);
  EXPECT_GE(out.width, 160);
  EXPECT_GT(out.height, out.width);
  bool lit = false;
  for (int y = out.width; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) lit = lit || out.at(x, y, 0) > 128;
  }
  EXPECT_TRUE(lit) << "the caption bar is dark";
}

InputSpec input(int width, int height, ColorOrder color) {
  InputSpec spec;
  spec.width = width;
  spec.height = height;
  spec.color = color;
  return spec;
}

TEST(Preprocess, EqualSizeIsNotResampled) {
  const Image image = noise(28, 28, 1);
  for (const ResizeMode mode :
       {ResizeMode::kStretch, ResizeMode::kLetterbox, ResizeMode::kCenterCrop}) {
    InputSpec spec = input(28, 28, ColorOrder::kGray);
    spec.resize = mode;
    const auto fitted = fit_to_input(image, spec);
    ASSERT_TRUE(fitted.ok());
    EXPECT_EQ(*fitted, image);
  }
}

TEST(Preprocess, NormalisesPerChannelIntoPlanes) {
  Image image(2, 1, 3);
  image.pixels = {0, 51, 102, 255, 204, 153};
  InputSpec spec = input(2, 1, ColorOrder::kRgb);
  spec.mean = {0.5, 0.0, 0.2};
  spec.std = {0.5, 1.0, 0.1};
  const auto out = preprocess(image, spec);
  ASSERT_TRUE(out.ok());
  EXPECT_THAT(out->values,
              testing::Pointwise(testing::FloatNear(1e-6F), {-1.0F, 1.0F, 0.2F, 0.8F, 2.0F, 4.0F}));
  spec.color = ColorOrder::kBgr;
  const auto bgr = preprocess(image, spec);
  ASSERT_TRUE(bgr.ok());
  EXPECT_NEAR(bgr->at(0, 0, 0), (102 / 255.0 - 0.5) / 0.5, 1e-6);
}

TEST(Preprocess, LetterboxCentresAndPads) {
  Image image(40, 20, 1);
  for (auto& p : image.pixels) p = 200;
  Letterbox placed;
  const auto out = letterbox(image, 32, 32, Interpolation::kBilinear, 114, &placed);
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(placed.top, 8);
  EXPECT_EQ(placed.left, 0);
  EXPECT_EQ(out->at(5, 3), 114);
  EXPECT_EQ(out->at(5, 16), 200);
  EXPECT_EQ(out->at(5, 30), 114);
}

TEST(Preprocess, CenterCropKeepsTheMiddle) {
  Image image(30, 10, 1);
  for (int y = 0; y < 10; ++y) {
    for (int x = 0; x < 30; ++x)
      image.at(x, y) = static_cast<std::uint8_t>(x < 10 ? 0 : x < 20 ? 100 : 255);
  }
  const auto out = center_crop(image, 10, 10, Interpolation::kNearest);
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(out->pixels, (std::vector<std::uint8_t>(100, 100)));
  Image strip(16000, 1, 1);
  EXPECT_FALSE(center_crop(strip, 1024, 1024, Interpolation::kNearest).ok());
}

TEST(Preprocess, BilinearUsesHalfPixelCentres) {
  Image image(2, 1, 1);
  image.pixels = {0, 100};
  const auto out = resize(image, 4, 1, Interpolation::kBilinear);
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(out->pixels, (std::vector<std::uint8_t>{0, 25, 75, 100}));
}

TEST(Preprocess, WrongSizesAreErrors) {
  std::vector<float> out(3);
  EXPECT_EQ(normalize(Image(2, 2, 1), input(2, 2, ColorOrder::kGray), out).error().reason,
            "InvalidSize");
  EXPECT_FALSE(resize(Image(), 4, 4, Interpolation::kArea).ok());
  EXPECT_FALSE(resize(Image(4, 4, 1), 0, 4, Interpolation::kArea).ok());
}

}  // namespace
}  // namespace tango::vision

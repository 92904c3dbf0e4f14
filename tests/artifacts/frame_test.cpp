#include "lib/artifacts/frame.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/artifacts/vectors.h"

namespace tango::artifacts {
namespace {

using testing::load_vectors;
using testing::unhex;

std::vector<Frame> decode_all(FrameDecoder& decoder) {
  std::vector<Frame> out;
  for (;;) {
    auto f = decoder.next();
    EXPECT_TRUE(f.ok()) << f.error().to_string();
    if (!f.ok() || !*f) return out;
    out.push_back(std::move(**f));
  }
}

TEST(Frame, EncodesAndDecodesTheVectors) {
  Json vectors = load_vectors("frames.json");
  std::string wire;
  std::vector<Frame> expected;
  for (const Json& v : vectors["frames"]) {
    FrameDecoder decoder;
    std::string bytes = unhex(v["bytes"]);
    decoder.feed(bytes);
    auto frame = decoder.next();
    ASSERT_TRUE(frame.ok() && *frame) << v["name"];
    EXPECT_EQ(to_string((**frame).type), v["type"].get<std::string>());
    EXPECT_EQ((**frame).id, v["id"].get<std::uint32_t>());
    EXPECT_EQ((**frame).payload, unhex(v["payload"]));
    EXPECT_EQ(encode_frame(**frame), bytes) << v["name"];
    EXPECT_EQ(decoder.pending(), 0u);
    wire += bytes;
    expected.push_back(**frame);
  }
  FrameDecoder together;
  together.feed(wire);
  EXPECT_EQ(decode_all(together), expected);
}

TEST(Frame, RefusesInvalidFramesAndStaysBroken) {
  const Json all_invalid = load_vectors("frames.json")["invalid"];
  for (const Json& v : all_invalid) {
    FrameDecoder decoder;
    decoder.feed(unhex(v["bytes"]));
    auto frame = decoder.next();
    ASSERT_FALSE(frame.ok()) << v["name"];
    EXPECT_EQ(frame.error().reason, v["reason"].get<std::string>()) << v["name"];
    decoder.feed(encode_frame(FrameType::kPing, 1, ""));
    EXPECT_FALSE(decoder.next().ok()) << v["name"];
  }
}

TEST(Frame, AnOversizeFrameIsRefusedFromItsHeaderAlone) {
  FrameDecoder decoder;
  std::string bytes = encode_frame(FrameType::kReply, 1, std::string(kMaxFramePayload, 'x'));
  decoder.feed(bytes);
  ASSERT_TRUE(decoder.next().ok());
  bytes[2] = 0x10;
  bytes[0] = 1;  // 1 MiB + 1
  decoder.feed(std::string_view(bytes).substr(0, kFrameHeaderBytes));
  EXPECT_EQ(decoder.next().error().reason, "FrameTooLarge");
}

TEST(Frame, ACutFrameIsPendingAndNeverDelivered) {
  std::string bytes = encode_frame(FrameType::kRequest, 1, "{\"op\":\"hello\"}");
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    FrameDecoder decoder;
    decoder.feed(std::string_view(bytes).substr(0, cut));
    auto frame = decoder.next();
    ASSERT_TRUE(frame.ok());
    EXPECT_FALSE(frame->has_value());
    EXPECT_EQ(decoder.pending(), cut);
  }
}

RC_GTEST_PROP(Frame, AnyCutOfTheStreamGivesTheSameFrames, ()) {
  std::vector<Frame> frames;
  std::string wire;
  auto count = *rc::gen::inRange(1, 6);
  for (int i = 0; i < count; ++i) {
    Frame f{*rc::gen::element(FrameType::kRequest, FrameType::kReply, FrameType::kEvent),
            *rc::gen::inRange<std::uint32_t>(1, 1u << 31), *rc::gen::arbitrary<std::string>()};
    wire += encode_frame(f);
    frames.push_back(std::move(f));
  }
  FrameDecoder decoder;
  std::vector<Frame> got;
  for (std::size_t at = 0; at < wire.size();) {
    auto n = *rc::gen::inRange<std::size_t>(1, 20);
    decoder.feed(std::string_view(wire).substr(at, n));
    at += n;
    for (auto& f : decode_all(decoder)) got.push_back(std::move(f));
  }
  RC_ASSERT(got == frames);
}

TEST(Data, DecodesTheVectors) {
  const Json all_data = load_vectors("frames.json")["data"];
  for (const Json& v : all_data) {
    std::string payload = unhex(v["payload"]);
    auto data = parse_data(payload);
    ASSERT_TRUE(data.ok());
    EXPECT_EQ(data->index, v["index"].get<std::uint32_t>());
    std::string decoded = unhex(v["decoded"]);
    auto out = decode_data(*data, decoded.size());
    ASSERT_TRUE(out.ok()) << out.error().to_string();
    EXPECT_EQ(*out, decoded);
    EXPECT_EQ(decode_data(*data, decoded.size() + 1).error().reason, "HashMismatch");
  }
}

TEST(Data, CompressesOnlyWhatShrinks) {
  std::string text(100'000, 'a');
  std::string packed = encode_data_best(5, text);
  EXPECT_LT(packed.size(), 1000u);
  EXPECT_EQ(*decode_data(*parse_data(packed)), text);
  std::string noise = testing::vector_stream("n", 100'000);
  std::string raw = encode_data_best(6, noise);
  EXPECT_EQ(raw.size(), noise.size() + kDataHeaderBytes);
  EXPECT_EQ(*decode_data(*parse_data(raw)), noise);
}

TEST(Data, ADecompressionBombIsRefusedBeforeItIsUnpacked) {
  // 300 KiB of zeros: more than a Data frame may hold.
  std::string packed = encode_data_best(0, std::string(300u << 10, '\0'));
  auto out = decode_data(*parse_data(packed));
  ASSERT_FALSE(out.ok());
  EXPECT_EQ(out.error().reason, "InvalidFrame");
}

TEST(CreditFrame, FollowsTheVectorsAndItsInvariant) {
  const Json all_credit = load_vectors("frames.json")["credit"];
  for (const Json& v : all_credit) {
    Credit credit{v["received"].get<std::uint64_t>(), v["durable"].get<std::uint64_t>()};
    EXPECT_EQ(encode_credit(credit), unhex(v["payload"]));
    EXPECT_EQ(*parse_credit(unhex(v["payload"])), credit);
  }
  EXPECT_FALSE(parse_credit(encode_credit({1, 2})).ok());
}

}  // namespace
}  // namespace tango::artifacts

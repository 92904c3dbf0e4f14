#include <gtest/gtest.h>

#include "lib/artifacts/trust_store.h"
#include "tests/artifacts/vectors.h"

namespace tango::artifacts {
namespace {

using testing::load_vectors;
using testing::unhex;

SignedDocument signed_of(const Json& v) {
  return {v["document"].get<std::string>(), v["envelope"].get<std::string>()};
}

class Trust : public ::testing::Test {
 protected:
  void SetUp() override {
    plan_ = {signed_of(v_["index"]), signed_of(v_["assignment"]), unhex(v_["chunkList"]),
             v_["config"].get<std::string>()};
    facts_.device_id = v_["deviceId"].get<std::string>();
    facts_.arch = "amd64";
    facts_.fleet_epoch = 3;
    facts_.highest_seen = *parse_time("2026-11-20T00:00:00Z");
    facts_.slot = "main";
    facts_.slot_facts.highest_sequence = 6;
    store_ = *TrustStore::from_signed(signed_of(v_["root1"]));
  }
  SigningKey key(const std::string& name) {
    std::string raw = unhex(v_["keys"][name]["seed"]);
    std::array<std::uint8_t, 32> seed;
    std::copy(raw.begin(), raw.end(), seed.begin());
    return SigningKey::from_seed(seed);
  }
  SignedDocument sign(const std::string& document, std::string_view type, const std::string& by) {
    return {document, encode_envelope(sign_document(document, type, key(by)))};
  }
  // The vector's assignment with changes, signed by the right role.
  void reassign(const std::function<void(Assignment&)>& change) {
    Assignment a = *parse_assignment(plan_.assignment.document);
    change(a);
    plan_.assignment = sign(*encode_assignment(a), kAssignmentType, "assignment");
  }
  void reindex(const std::function<void(BundleIndex&)>& change) {
    BundleIndex index = *parse_index(plan_.index.document);
    change(index);
    plan_.index = sign(*encode_index(index), kIndexType, "release");
    reassign([&](Assignment& a) { a.bundle = sha256(plan_.index.document); });
  }
  std::string outcome() {
    auto r = store_->verify_plan(plan_, facts_);
    return r.ok() ? "accepted" : r.error().reason;
  }
  Json v_ = load_vectors("trust.json");
  PlanDocuments plan_;
  DeviceFacts facts_;
  std::optional<TrustStore> store_;
};

TEST_F(Trust, KeysSignaturesAndIdentityFollowTheVectors) {
  for (const auto& [name, k] : v_["keys"].items()) {
    SigningKey mine = key(name);
    EXPECT_EQ(mine.id(), k["keyid"].get<std::string>());
    EXPECT_EQ(to_hex(mine.public_key()), k["public"].get<std::string>());
  }
  EXPECT_EQ(sign(plan_.index.document, kIndexType, "release").envelope, plan_.index.envelope);
  SigningKey device = key("device");
  EXPECT_EQ(device_id_of(device.public_key()), facts_.device_id);
  EXPECT_EQ(to_hex(device.sign(hello_proof_message(unhex(v_["nonce"]), facts_.device_id))),
            v_["proof"].get<std::string>());
}

TEST_F(Trust, AcceptsTheVectorPlan) {
  auto plan = store_->verify_plan(plan_, facts_);
  ASSERT_TRUE(plan.ok()) << plan.error().to_string();
  EXPECT_EQ(plan->assignment->sequence, 7u);
  EXPECT_EQ(plan->gate.latency_us, 20'000u);
  EXPECT_TRUE(plan->gate.golden_samples);
  EXPECT_EQ(plan->places.size(), plan->chunks->chunks.size());
  EXPECT_TRUE(store_->verify_epoch(signed_of(v_["epoch"])).ok());
  EXPECT_TRUE(store_->verify_agent(signed_of(v_["agent"]), "amd64").ok());
  EXPECT_EQ(store_->verify_agent(signed_of(v_["agent"]), "arm64").error().reason,
            "WrongArchitecture");
}

TEST_F(Trust, AFlippedBitAnywhereInTheIndexIsRefused) {
  std::string good = plan_.index.document;
  for (std::size_t i = 0; i < good.size(); i += 7) {
    plan_.index.document = good;
    plan_.index.document[i] = static_cast<char>(plan_.index.document[i] ^ 4);
    EXPECT_EQ(outcome(), "SignatureInvalid") << i;
  }
}

TEST_F(Trust, AFlippedBitInASignatureIsRefused) {
  Envelope e = *parse_envelope(plan_.index.envelope);
  e.signatures[0].sig[10] ^= 1;
  plan_.index.envelope = encode_envelope(e);
  EXPECT_EQ(outcome(), "SignatureInvalid");
}

TEST_F(Trust, AKeyOfAnotherRoleDoesNotCount) {
  plan_.index = sign(plan_.index.document, kIndexType, "assignment");
  EXPECT_EQ(outcome(), "ThresholdUnmet");
}

TEST_F(Trust, AnUnknownKeyDoesNotCount) {
  plan_.index = sign(plan_.index.document, kIndexType, "device");
  EXPECT_EQ(outcome(), "ThresholdUnmet");
}

TEST_F(Trust, OneKeyCountsOnce) {
  Root root = *parse_root(v_["root1"]["document"].get<std::string>());
  root.roles[Role::kRelease].keyids.push_back(key("agent").id());
  std::sort(root.roles[Role::kRelease].keyids.begin(), root.roles[Role::kRelease].keyids.end());
  root.roles[Role::kRelease].threshold = 2;
  store_ = *TrustStore::from_trusted(*encode_root(root));
  Envelope e = *parse_envelope(plan_.index.envelope);
  e.signatures.push_back(e.signatures[0]);
  plan_.index.envelope = encode_envelope(e);
  EXPECT_EQ(outcome(), "ThresholdUnmet");
  ASSERT_TRUE(add_signature(e, plan_.index.document, key("agent")).ok());
  plan_.index.envelope = encode_envelope(e);
  EXPECT_EQ(outcome(), "accepted");
}

TEST_F(Trust, ATypeCannotBePassedOffAsAnother) {
  plan_.assignment = sign(plan_.assignment.document, kFleetEpochType, "assignment");
  EXPECT_EQ(outcome(), "SignatureInvalid");
  plan_.assignment =
      sign(v_["epoch"]["document"].get<std::string>(), kAssignmentType, "assignment");
  EXPECT_EQ(outcome(), "AssignmentInvalid");
}

TEST_F(Trust, SignaturesAreCheckedBeforeAnythingIsParsed) {
  plan_.index.document = "not json at all";
  EXPECT_EQ(outcome(), "SignatureInvalid");
}

TEST_F(Trust, SizeCapsComeFirst) {
  PlanDocuments good = plan_;
  plan_.index.document = std::string((1u << 20) + 1, ' ');
  EXPECT_EQ(outcome(), "DocumentTooLarge");
  plan_ = good;
  plan_.chunk_list = std::string(kMaxChunkListBytes + 1, ' ');
  EXPECT_EQ(outcome(), "DocumentTooLarge");
  plan_ = good;
  plan_.config = std::string((64u << 10) + 1, ' ');
  EXPECT_EQ(outcome(), "DocumentTooLarge");
  plan_ = good;
  plan_.assignment.envelope = std::string((64u << 10) + 1, ' ');
  EXPECT_EQ(outcome(), "DocumentTooLarge");
}

TEST_F(Trust, AnotherDeviceSlotOrArchitectureIsRefused) {
  DeviceFacts good = facts_;
  facts_.device_id = std::string(64, '0');
  EXPECT_EQ(outcome(), "AssignmentMismatch");
  facts_ = good;
  facts_.slot = "second";
  EXPECT_EQ(outcome(), "AssignmentMismatch");
  facts_ = good;
  facts_.arch = "arm64";
  EXPECT_EQ(outcome(), "WrongArchitecture");
  facts_ = good;
  reindex([](BundleIndex& i) { i.target.arch = "arm64"; });
  EXPECT_EQ(outcome(), "WrongArchitecture");
}

TEST_F(Trust, AStaleSequenceIsRefusedAndTheSamePlanResumes) {
  facts_.slot_facts.highest_sequence = 8;
  EXPECT_EQ(outcome(), "SequenceStale");
  facts_.slot_facts.highest_sequence = 7;
  EXPECT_EQ(outcome(), "SequenceStale");
  facts_.slot_facts.bundle_at_highest = sha256(plan_.index.document);
  facts_.slot_facts.config_at_highest = sha256(plan_.config);
  EXPECT_EQ(outcome(), "accepted");
  facts_.slot_facts.config_at_highest = sha256("{}");
  EXPECT_EQ(outcome(), "SequenceStale");
}

TEST_F(Trust, AnOldFleetEpochIsRefused) {
  facts_.fleet_epoch = 4;
  EXPECT_EQ(outcome(), "EpochBehind");
}

TEST_F(Trust, ExpiryIsMeasuredByTheHighestTimeSeen) {
  facts_.highest_seen = *parse_time("2026-11-28T12:00:00Z");
  EXPECT_EQ(outcome(), "AssignmentExpired");
  facts_.highest_seen = TimePoint{};  // a device without a clock
  EXPECT_EQ(outcome(), "accepted");
}

TEST_F(Trust, ATimeThatCannotBeCountedIsRefused) {
  std::string bytes = plan_.assignment.document;
  bytes.replace(bytes.find("2026-11-28"), 4, "6026");
  EXPECT_EQ(parse_assignment(bytes).error().reason, "AssignmentInvalid");
}

TEST_F(Trust, TheAssignmentNamesIndexAndConfiguration) {
  reassign([](Assignment& a) { a.bundle = sha256("other"); });
  EXPECT_EQ(outcome(), "AssignmentMismatch");
  reassign([&](Assignment& a) { a.bundle = sha256(plan_.index.document); });
  EXPECT_EQ(outcome(), "accepted");
  plan_.config = "{}";
  EXPECT_EQ(outcome(), "AssignmentMismatch");
}

TEST_F(Trust, ALowerSecurityVersionIsRefused) {
  facts_.security_version = 2;
  EXPECT_EQ(outcome(), "DowngradeRefused");
}

TEST_F(Trust, AnotherChunkListIsRefused) {
  plan_.chunk_list.back() = static_cast<char>(plan_.chunk_list.back() ^ 1);
  EXPECT_EQ(outcome(), "HashMismatch");
}

TEST_F(Trust, ASignedIndexWithAnUnsafePathIsStillRefused) {
  // Signed by the right key, as if the signer had been careless: the device checks by itself.
  std::string bytes = plan_.index.document;
  std::string from = "model/empty.txt";
  bytes.replace(bytes.find(from), from.size(), "../../../../.rc");
  plan_.index = sign(bytes, kIndexType, "release");
  reassign([&](Assignment& a) { a.bundle = sha256(bytes); });
  auto why = outcome();
  EXPECT_TRUE(why == "PathUnsafe" || why == "IndexInvalid") << why;
  BundleIndex index =
      *parse_index(load_vectors("trust.json")["index"]["document"].get<std::string>());
  index.files.insert(index.files.begin(), BundleFile{"../x", kPlainMode, 0, sha256("")});
  EXPECT_EQ(encode_index(index).error().reason, "PathUnsafe");
}

TEST_F(Trust, RootRotationNeedsBothSetsAndTheNextVersion) {
  EXPECT_FALSE(*store_->update_root(signed_of(v_["root1"])));
  SignedDocument next = signed_of(v_["root2"]);
  SignedDocument by_old = sign(next.document, kRootType, "root");
  SignedDocument by_new = sign(next.document, kRootType, "root2");
  EXPECT_EQ(store_->update_root(by_old).error().reason, "ThresholdUnmet");
  EXPECT_EQ(store_->update_root(by_new).error().reason, "ThresholdUnmet");
  EXPECT_EQ(store_->root().version, 1u);
  EXPECT_TRUE(*store_->update_root(next));
  EXPECT_EQ(store_->root().version, 2u);
  EXPECT_EQ(store_->update_root(signed_of(v_["root1"])).error().reason, "RootStale");
  Root gap = store_->root();
  gap.version = 4;
  EXPECT_EQ(store_->update_root(sign(*encode_root(gap), kRootType, "root2")).error().reason,
            "RootGap");
  gap.version = 2;
  gap.roles[Role::kAgent] = gap.roles[Role::kRelease];
  gap.keys.erase(key("agent").id());
  EXPECT_EQ(store_->update_root(sign(*encode_root(gap), kRootType, "root2")).error().reason,
            "RootConflict");
}

TEST_F(Trust, AChainIsTakenWholeOrNotAtAll) {
  TrustStore fresh = *TrustStore::from_signed(signed_of(v_["root1"]));
  EXPECT_TRUE(fresh.update_root_chain({signed_of(v_["root1"]), signed_of(v_["root2"])}).ok());
  EXPECT_EQ(fresh.root().version, 2u);
  TrustStore other = *TrustStore::from_signed(signed_of(v_["root1"]));
  Root bad = fresh.root();
  bad.version = 3;
  EXPECT_FALSE(
      other.update_root_chain({signed_of(v_["root2"]), sign(*encode_root(bad), kRootType, "agent")})
          .ok());
  EXPECT_EQ(other.root().version, 1u);
}

TEST_F(Trust, AFirstRootMustSignItself) {
  SignedDocument root = sign(v_["root1"]["document"].get<std::string>(), kRootType, "agent");
  EXPECT_EQ(TrustStore::from_signed(root).error().reason, "ThresholdUnmet");
}

TEST_F(Trust, StoredBytesAreReloadedByTheirHashAlone) {
  Digest d = sha256(plan_.index.document);
  EXPECT_TRUE(TrustStore::reload_index(plan_.index.document, d).ok());
  EXPECT_EQ(TrustStore::reload_index(plan_.index.document + " ", d).error().reason, "HashMismatch");
  EXPECT_TRUE(TrustStore::reload_config(plan_.config, sha256(plan_.config)).ok());
}

}  // namespace
}  // namespace tango::artifacts

#include "lib/artifacts/keys.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "lib/artifacts/trust_store.h"

namespace tango::artifacts {
namespace {

TEST(Keys, InitMakesFourRolesAndNeverOverwrites) {
  TempDir dir;
  auto set = init_keys(dir / "keys");
  ASSERT_TRUE(set.ok()) << set.error().to_string();
  EXPECT_EQ(set->keys.size(), 4u);
  EXPECT_TRUE(TrustStore::from_signed(set->signed_root).ok());
  struct stat st {};
  ASSERT_EQ(::stat((dir / "keys/root.key").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  EXPECT_EQ(init_keys(dir / "keys").error().reason, "KeysExist");
  auto again = load_or_init_keys(dir / "keys");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->signed_root.document, set->signed_root.document);
  EXPECT_EQ(again->key(Role::kRelease)->id(), set->key(Role::kRelease)->id());
}

TEST(Keys, APrivateKeyThatOthersCanReadIsRefused) {
  TempDir dir;
  ASSERT_TRUE(init_keys(dir.path()).ok());
  ASSERT_EQ(::chmod((dir / "release.key").c_str(), 0644), 0);
  EXPECT_EQ(load_keys(dir.path()).error().reason, "PermissionDenied");
}

TEST(Keys, RotationExtendsTheChainThatDevicesFollow) {
  TempDir dir;
  auto first = init_keys(dir.path());
  ASSERT_TRUE(first.ok());
  for (Role role : {Role::kRelease, Role::kRoot, Role::kAssignment}) {
    auto next = rotate_key(dir.path(), role);
    ASSERT_TRUE(next.ok()) << next.error().to_string();
  }
  auto last = load_keys(dir.path());
  ASSERT_TRUE(last.ok());
  EXPECT_EQ(last->root.version, 4u);
  ASSERT_EQ(last->chain.size(), 4u);
  TrustStore device = *TrustStore::from_signed(first->signed_root);
  EXPECT_EQ(device.update_root(last->signed_root).error().reason, "RootGap");
  EXPECT_TRUE(device.update_root_chain(last->chain).ok());
  std::string epoch = encode_epoch({5, TimePoint{Seconds{1'700'000'000}}});
  auto sign = [&](const SigningKey& k) {
    return SignedDocument{epoch, encode_envelope(sign_document(epoch, kFleetEpochType, k))};
  };
  EXPECT_TRUE(device.verify_epoch(sign(*last->key(Role::kAssignment))).ok());
  EXPECT_EQ(device.verify_epoch(sign(*first->key(Role::kAssignment))).error().reason,
            "ThresholdUnmet");
}

TEST(Keys, ARotationThatWasCutIsFinishedByTheNextLoad) {
  TempDir dir;
  ASSERT_TRUE(init_keys(dir.path()).ok());
  auto old_key = read_file(dir / "release.key");
  auto rotated = rotate_key(dir.path(), Role::kRelease);
  ASSERT_TRUE(rotated.ok());
  // As if killed between publishing the root and replacing the key.
  ASSERT_TRUE(make_dirs(dir / "next", 0700).ok());
  fs::rename(dir / "release.key", dir / "next/release.key");
  ASSERT_TRUE(write_file_atomic(dir / "release.key", *old_key, 0600).ok());
  auto loaded = load_keys(dir.path());
  ASSERT_TRUE(loaded.ok()) << loaded.error().to_string();
  EXPECT_EQ(loaded->key(Role::kRelease)->id(), rotated->key(Role::kRelease)->id());
}

}  // namespace
}  // namespace tango::artifacts

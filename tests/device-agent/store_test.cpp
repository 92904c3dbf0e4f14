#include "device-agent/store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device-agent/rooted.h"
#include "tests/device-agent/agent_fixture.h"

namespace tango::agent {
namespace {

struct Given {
  TempDir dir{"tango-store"};
  artifacts::Bundle bundle;
  std::unique_ptr<Store> store;
  Given() : bundle(test::make_release(dir / "tree", "A")) {
    store = Store::open(dir / "root").value();
  }

  Status build(const artifacts::Bundle& b) {
    store->set_leases("main",
                      {{b.digest(), std::make_shared<const artifacts::BundleIndex>(b.index)}});
    return store->build(b.digest(), b.index, b.chunks, b.places,
                        [&](const Digest& hash) -> Result<std::string> {
                          for (std::size_t i = 0; i < b.chunks.chunks.size(); ++i) {
                            if (b.chunks.chunks[i].hash == hash) return b.read_chunk(i);
                          }
                          return make_error(Code::kNotFound, "NotFound", "no such chunk");
                        });
  }
  fs::path file(const std::string& path) const {
    return store->release_dir(bundle.digest()) / path;
  }
};

void damage(const fs::path& file) {
  ::chmod(file.c_str(), 0644);
  std::FILE* f = std::fopen(file.c_str(), "r+");
  ASSERT_NE(f, nullptr);
  std::fputc('!', f);
  std::fclose(f);
  ::chmod(file.c_str(), 0444);
}

TEST(Store, BuildsAVerifiedTreeOfReadOnlyHardLinks) {
  Given g;
  ASSERT_TRUE(g.build(g.bundle).ok());
  EXPECT_TRUE(g.store->verify(g.bundle.digest(), g.bundle.index).ok());
  struct stat st {};
  ASSERT_EQ(::stat(g.file("bin/tango-infer").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777u, 0555u);
  EXPECT_GE(st.st_nlink, 2u);
  ASSERT_EQ(::stat(g.file("behaviour").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777u, 0444u);
  EXPECT_EQ(g.store->missing_file_bytes(g.bundle.index), 0u);
}

TEST(Store, NothingReachesAFinalPathBeforeItsHashIsRight) {
  Given g;
  artifacts::Bundle bad = g.bundle;
  const auto built = g.store->build(
      bad.digest(), bad.index, bad.chunks, bad.places, [&](const Digest&) -> Result<std::string> {
        return std::string(bad.chunks.chunks[0].length, 'x');  // whatever is asked for
      });
  ASSERT_FALSE(built.ok());
  EXPECT_EQ(built.error().reason, "HashMismatch");
  EXPECT_FALSE(fs::exists(g.store->release_dir(bad.digest())));
  EXPECT_TRUE(fs::is_empty(g.dir / "root/releases"));
  for (const auto& entry : fs::recursive_directory_iterator(g.dir / "root/files")) {
    EXPECT_TRUE(entry.is_directory()) << entry.path();
  }
}

TEST(Store, AFlippedByteAnExtraFileAndAChangedModeAreFound) {
  Given g;
  ASSERT_TRUE(g.build(g.bundle).ok());
  ::chmod(g.store->release_dir(g.bundle.digest()).c_str(), 0755);
  ASSERT_TRUE(write_file_atomic(g.file("planted"), "x").ok());
  EXPECT_EQ(g.store->verify(g.bundle.digest(), g.bundle.index).error().reason, "HashMismatch");
  ASSERT_EQ(::unlink(g.file("planted").c_str()), 0);
  ASSERT_TRUE(g.store->verify(g.bundle.digest(), g.bundle.index).ok());
  ::chmod(g.file("behaviour").c_str(), 0555);
  EXPECT_FALSE(g.store->verify(g.bundle.digest(), g.bundle.index).ok());
  ::chmod(g.file("behaviour").c_str(), 0444);
  damage(g.file("model/weights.bin"));
  EXPECT_EQ(g.store->verify(g.bundle.digest(), g.bundle.index).error().reason, "HashMismatch");
}

TEST(Store, ARottenHeldFileIsDroppedSoThatItIsAskedForAgain) {
  Given g;
  ASSERT_TRUE(g.build(g.bundle).ok());
  damage(g.file("model/weights.bin"));  // the same inode as in files/
  const auto again =
      g.store->build(g.bundle.digest(), g.bundle.index, g.bundle.chunks, g.bundle.places,
                     [](const Digest&) -> Result<std::string> {
                       return make_error(Code::kNotFound, "NotFound", "not in staging");
                     });
  EXPECT_FALSE(again.ok());
  EXPECT_GT(g.store->missing_file_bytes(g.bundle.index), 0u);
  EXPECT_TRUE(g.build(g.bundle).ok());
}

TEST(Store, ALinkPlantedInTheTreeIsNotFollowed) {
  Given g;
  ASSERT_TRUE(g.build(g.bundle).ok());
  const fs::path release = g.store->release_dir(g.bundle.digest());
  ::chmod(release.c_str(), 0755);
  ::chmod((release / "model").c_str(), 0755);
  fs::rename(release / "model", g.dir / "elsewhere");
  fs::create_symlink(g.dir / "elsewhere", release / "model");
  EXPECT_EQ(g.store->verify(g.bundle.digest(), g.bundle.index).error().reason, "UnsafePath");
  const Fd root = open_root(release).value();
  EXPECT_FALSE(open_file_at(root.get(), "../x", O_RDONLY).ok());
  EXPECT_FALSE(open_file_at(root.get(), "/etc/passwd", O_RDONLY).ok());
}

TEST(Store, CollectTakesWhatNobodyLeasesAndNothingElse) {
  Given g;
  const artifacts::Bundle other = test::make_release(g.dir / "tree2", "B");
  ASSERT_TRUE(g.build(g.bundle).ok());
  ASSERT_TRUE(g.build(other).ok());  // the lease is the other one's now
  g.store->set_leases("second", {{g.bundle.digest(),
                                  std::make_shared<const artifacts::BundleIndex>(g.bundle.index)}});
  EXPECT_EQ(g.store->collect().value(), 0u);
  g.store->set_leases("main", {});
  EXPECT_GT(g.store->collect().value(), 0u);
  EXPECT_TRUE(g.store->verify(g.bundle.digest(), g.bundle.index).ok());
  EXPECT_FALSE(fs::exists(g.store->release_dir(other.digest())));
}

TEST(Store, CurrentIsOneLinkReplacedByRename) {
  Given g;
  ASSERT_TRUE(g.store->set_current("main", sha256("a")).ok());
  ASSERT_TRUE(g.store->set_current("main", sha256("b")).ok());
  EXPECT_EQ(fs::read_symlink(g.dir / "root/slots/main/current"),
            "../../releases/" + sha256("b").hex());
  ASSERT_TRUE(g.store->clear_current("main").ok());
  EXPECT_FALSE(fs::is_symlink(g.dir / "root/slots/main/current"));
}

}  // namespace
}  // namespace tango::agent

#include "lib/base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tango {
namespace {

TEST(File, WritesAtomicallyAndReadsBack) {
  TempDir dir;
  auto path = dir / "x.json";
  ASSERT_TRUE(write_file_atomic(path, "one").ok());
  ASSERT_TRUE(write_file_atomic(path, "two", 0600).ok());
  EXPECT_EQ(*read_file(path), "two");
  struct stat st {};
  ::stat(path.c_str(), &st);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  int files = 0;
  for ([[maybe_unused]] auto& e : fs::directory_iterator(dir.path())) ++files;
  EXPECT_EQ(files, 1) << "no temporary file is left";
}

TEST(File, ErrorsCarryReasons) {
  TempDir dir;
  EXPECT_EQ(read_file(dir / "absent").error().reason, "NotFound");
  ASSERT_TRUE(write_file_atomic(dir / "big", std::string(100, 'x')).ok());
  EXPECT_EQ(read_file(dir / "big", 10).error().reason, "FileTooLarge");
  EXPECT_EQ(write_file_atomic(dir / "no/such/folder", "x").error().reason, "NotFound");
}

TEST(File, FullDiskIsSaidAndLeavesTheOldContent) {
  if (::geteuid() != 0 || !fs::exists("/dev/full")) GTEST_SKIP() << "needs root";
  Fd full(::open("/dev/full", O_WRONLY));
  EXPECT_EQ(write_all(full.get(), "x").error().reason, "DiskFull");
}

TEST(File, RejectsUnsafePaths) {
  EXPECT_TRUE(check_relative_path("lib/libx.so.1").ok());
  EXPECT_TRUE(check_relative_path("model/gl\xC3\xA9.bin").ok());
  for (const char* bad : {"", "/etc/passwd", "../x", "a/../b", "a/./b", "a//b", "a/", "a\\b",
                          "a\nb", "\xC0\xAF", "\xED\xA0\x80", ".."}) {
    EXPECT_EQ(check_relative_path(bad).error().reason, "UnsafePath") << bad;
  }
  EXPECT_FALSE(check_relative_path(std::string(600, 'a')).ok());
  EXPECT_FALSE(check_relative_path(std::string_view("a\0b", 3)).ok());
}

TEST(File, TempDirRemovesItself) {
  fs::path path;
  {
    TempDir dir;
    path = dir.path();
    ASSERT_TRUE(make_dirs(dir / "a/b/c").ok());
  }
  EXPECT_FALSE(fs::exists(path));
}

}  // namespace
}  // namespace tango

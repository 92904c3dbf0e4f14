#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "lib/base/subprocess.h"

namespace tango {
namespace {

TEST(Process, CapturesBothStreamsAndTheCode) {
  auto r =
      run_process({.argv = {"/bin/sh", "-c", "cat; echo err >&2; exit 7"}}, Seconds{10}, "input");
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->out, "input");
  EXPECT_EQ(r->err, "err\n");
  EXPECT_EQ(r->status.code, 7);
}

TEST(Process, ArgumentsAreNeverReadByAShell) {
  auto r = run_process({.argv = {"echo", "$(id); `id` ; *"}}, Seconds{10});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->out, "$(id); `id` ; *\n");
}

TEST(Process, MissingProgramAndFolderAreSaid) {
  EXPECT_EQ(spawn({.argv = {"no-such-program-here"}}).error().reason, "NotFound");
  EXPECT_EQ(spawn({.argv = {"/bin/true"}, .cwd = "/no/such/folder"}).error().code, Code::kNotFound);
}

TEST(Process, TimesOutAndKills) {
  auto before = system_clock().monotonic();
  auto r = run_process({.argv = {"sleep", "30"}}, Millis{200});
  EXPECT_EQ(r.error().reason, "Timeout");
  EXPECT_LT(system_clock().monotonic() - before, Seconds{5});
}

TEST(Process, EnvironmentIsExplicit) {
  ::setenv("TANGO_TEST_INHERITED", "1", 1);
  auto r =
      run_process({.argv = {"/usr/bin/env"}, .env = {{"A", "b"}}, .clear_env = true}, Seconds{10});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->out, "A=b\n");
}

TEST(Process, DescriptorsDoNotLeak) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  auto r = run_process({.argv = {"ls", "/proc/self/fd"}}, Seconds{10});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->out, "0\n1\n2\n3\n");  // 3 is ls's own folder handle
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST(Process, LargeInputToAChildThatDoesNotReadIsNoDeadlock) {
  auto r = run_process({.argv = {"/bin/true"}}, Seconds{10}, std::string(4u << 20, 'x'));
  ASSERT_TRUE(r.ok());
  EXPECT_TRUE(r->status.ok());
}

TEST(Process, SignalledChildIsReported) {
  auto child = spawn({.argv = {"sleep", "30"}});
  ASSERT_TRUE(child.ok());
  child->signal(SIGKILL);
  auto status = child->wait();
  EXPECT_TRUE(status.signalled);
  EXPECT_EQ(status.code, 137);
}

}  // namespace
}  // namespace tango

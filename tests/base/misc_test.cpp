#include <gtest/gtest.h>

#include "lib/base/http.h"
#include "lib/base/metrics.h"
#include "lib/base/result.h"
#include "lib/base/secret.h"

namespace tango {
namespace {

Result<int> half(int v) {
  if (v % 2) return make_error(Code::kInvalid, "Odd", "the number is odd");
  return v / 2;
}
Result<int> quarter(int v) {
  TRY_ASSIGN(int h, half(v));
  TRY(half(h));
  return h / 2;
}

TEST(Result, TryPassesErrorsOn) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().reason, "Odd");
  EXPECT_EQ(std::move(quarter(6)).error().with_context("reading x").to_string(),
            "the number is odd (reading x)");
}

TEST(Metrics, WritesTheTextFormat) {
  MetricsRegistry m;
  m.declare_counter("a_total", "Things.");
  m.add("a_total", {{"k", "x\"y"}}, 0);
  m.add("a_total", {{"k", "x\"y"}}, 2);
  m.declare_histogram("h", "Times.", {0.1, 1});
  m.observe("h", {}, 0.1);
  m.observe("h", {}, 0.5);
  m.observe("h", {}, 5);
  EXPECT_EQ(m.text(),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total{k=\"x\\\"y\"} 2\n"
            "# HELP h Times.\n# TYPE h histogram\nh_bucket{le=\"0.1\"} 1\nh_bucket{le=\"1\"} "
            "2\nh_bucket{le=\"+Inf\"} 3\n"
            "h_sum 5.6\nh_count 3\n");
}

TEST(Http, TargetsAreSplitAndDecoded) {
  auto t = split_target("/a%20b/c?x=1%2B2&y=a+b&z#f");
  EXPECT_EQ(t.path, "/a b/c");
  EXPECT_EQ(t.get("x"), "1+2");
  EXPECT_EQ(t.get("y"), "a b");
  EXPECT_EQ(t.get("z", "?"), "");
  EXPECT_EQ(t.get("none", "?"), "?");
  EXPECT_EQ(url_encode("a/b c"), "a%2Fb%20c");
  HttpHeaders h = {{"Content-Type", "x"}};
  EXPECT_EQ(header(h, "content-type"), "x");
}

}  // namespace
}  // namespace tango

#include "controllers/search/search.h"

#include <gtest/gtest.h>

#include "crds/types.h"
#include "lib/base/file.h"
#include "lib/base/yaml.h"

namespace tango::controllers {
namespace {

template <typename T>
T example(const char* file) {
  const char* root = std::getenv("TANGO_SOURCE_DIR");
  auto text = read_file(fs::path(root ? root : ".") / "examples" / file);
  EXPECT_TRUE(text.ok());
  auto document = parse_yaml(*text);
  EXPECT_TRUE(document.ok());
  auto object = kube::Codec<T>::parse(dump_json(document->value));
  EXPECT_TRUE(object.ok());
  return *object;
}

template <typename T, typename F>
void expect_refused(const char* file, F reconcile) {
  T object = example<T>(file);
  const TimePoint now{Seconds{1'700'000'000}};
  kube::MapObserved world;
  auto first = reconcile(object, world, now, Settings{});
  ASSERT_TRUE(first.status.has_value());
  for (const Json& c : (*first.status)["conditions"]) {
    EXPECT_EQ(c["status"], "False") << c;
    EXPECT_EQ(c["reason"], "Unsupported") << c;
    EXPECT_NE(c["message"].template get<std::string>().find("spec"), std::string::npos) << c;
  }
  EXPECT_EQ((*first.status)["conditions"].size(), 2u);
  EXPECT_TRUE(first.create_once.empty() && first.apply.empty() && first.work.empty());
}

TEST(Search, AJobIsToldThatNothingSearches) {
  expect_refused<crds::SearchJob>("searchjob.yaml", reconcile_search_job);
}

TEST(Search, ATrialIsToldTheSame) { expect_refused<crds::Trial>("trial.yaml", reconcile_trial); }

}  // namespace
}  // namespace tango::controllers

// The manifests on a real kube-apiserver: it takes them as structural, fills in the defaults that
// we fill in, and refuses what structural_errors() refuses.
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "crds/crds.h"
#include "crds/validate.h"
#include "lib/base/file.h"
#include "lib/base/yaml.h"
#include "lib/kube-types/core.h"
#include "lib/kube/client.h"
#include "tests/kube/server_environment.h"

namespace tango::crds {
namespace {

class RealServer : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = kube::test::start_server().release();
    if (!server_->missing.empty()) return;
    client_ = kube::KubeClient::connect(server_->config).value().release();
    auto documents = parse_yaml_stream(manifests(Flavour::kPlain));
    ASSERT_TRUE(documents.ok());
    for (const auto& d : *documents) {
      auto made = client_->apply(kube::CustomResourceDefinition::kKind, d.value);
      ASSERT_TRUE(made.ok()) << made.error().to_string();
    }
    for (const auto& k : kinds()) {
      for (int i = 0; i < 100; ++i) {
        kube::ListOptions list;
        if (client_->list(k.info, list).ok()) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
    }
  }
  static void TearDownTestSuite() {
    delete client_;
    delete server_;
  }
  void SetUp() override {
    if (!server_->missing.empty()) GTEST_SKIP() << server_->missing;
  }
  static inline kube::test::ServerEnvironment* server_ = nullptr;
  static inline kube::KubeClient* client_ = nullptr;
};

TEST_F(RealServer, TakesTheDefinitionsAsStructural) {
  auto list = client_->list(kube::CustomResourceDefinition::kKind);
  ASSERT_TRUE(list.ok());
  int ours = 0;
  for (const auto& item : list->items) {
    auto crd = kube::Codec<kube::CustomResourceDefinition>::parse(dump_json(item));
    ASSERT_TRUE(crd.ok()) << crd.error().to_string();
    if (crd->group != "ml-tango.io") continue;
    ++ours;
    EXPECT_TRUE(crd->established()) << crd->metadata.name;
    const auto* flaw = kube::find_condition(crd->conditions, "NonStructuralSchema");
    EXPECT_EQ(flaw, nullptr) << flaw->message;
  }
  EXPECT_EQ(ours, 10);
}

TEST_F(RealServer, FillsInTheSameDefaults) {
  const char* source = std::getenv("TANGO_SOURCE_DIR");
  std::vector<YamlDocument> documents = *parse_yaml_stream(profiles());
  for (const auto& entry :
       fs::directory_iterator(fs::path(source == nullptr ? "." : source) / "examples")) {
    if (entry.path().extension() != ".yaml") continue;
    auto parsed = parse_yaml_stream(*read_file(entry.path()));
    ASSERT_TRUE(parsed.ok()) << parsed.error().to_string();
    for (auto& d : *parsed) documents.push_back(std::move(d));
  }
  for (const auto& d : documents) {
    std::string kind = get_string(d.value, "kind");
    auto stored = client_->apply(find_kind(kind)->info, d.value);
    ASSERT_TRUE(stored.ok()) << kind << ": " << stored.error().to_string();
    EXPECT_EQ((*stored)["spec"], (*apply_defaults(kind, d.value))["spec"]) << kind;
  }
}

TEST_F(RealServer, RefusesWhatWeRefuse) {
  const Json good = Json::parse(
      R"({"apiVersion":"ml-tango.io/v1alpha1","kind":"TangoProject","metadata":{"name":"p","namespace":"default"},
    "spec":{"task":"Classification","datasetRef":{"name":"d"},
            "targets":[{"name":"t","profileRef":{"name":"linux-x86"},"deviceSelector":{"all":true}}]}})");
  struct Change {
    const char* pointer;
    const char* value;
  };
  for (const Change& c : std::initializer_list<Change>{
           {"/spec/task", "\"Dancing\""},
           {"/spec/task", "null"},
           {"/spec/datasetRef", "{}"},
           {"/spec/suspend", "\"no\""},
           {"/spec/version", "0"},
           {"/spec/version", "1.5"},
           {"/spec/train", "{\"epochs\":\"many\"}"},
           {"/spec/train", "{\"epochs\":7}"},
           {"/spec/train", "{\"seed\":-1}"},
           {"/spec/objective", "{\"constraints\":{\"latency\":\"fast\"}}"},
           {"/spec/objective", "{\"constraints\":{\"memory\":\"300 MB\"}}"},
           {"/spec/objective", "{\"constraints\":{\"memory\":300}}"},
           {"/spec/objective", "null"},
           {"/spec/targets/0/name", "\"\""},
           {"/spec/targets/0/deviceSelector/matchLabels", "{\"a\":1}"},
           {"/spec/targets",
            "[{\"name\":\"a\",\"profileRef\":{\"name\":\"x\"}},{\"name\":\"a\",\"profileRef\":{"
            "\"name\":\"x\"}}]"},
           {"/spec/approvals", "[{\"stage\":\"Data\"}]"},
           {"/spec/podTemplate", "{\"affinity\":{\"free\":[1,2]}}"},
           {"/spec/baseModel",
            "{\"name\":"
            "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}"}}) {
    Json object = good;
    object[Json::json_pointer(c.pointer)] = Json::parse(c.value);
    kube::WriteOptions write;
    write.dry_run = true;
    auto answer = client_->create(find_kind("tp")->info, object, write);
    bool ours = structural_errors("TangoProject", *apply_defaults("TangoProject", object)).empty();
    EXPECT_EQ(answer.ok(), ours) << c.pointer << " = " << c.value << ": "
                                 << (answer.ok() ? "accepted" : answer.error().to_string());
  }
}

}  // namespace
}  // namespace tango::crds

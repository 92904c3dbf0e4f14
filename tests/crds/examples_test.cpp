// Every example and every shipped profile is accepted; the manifests are structural; the pages are
// fresh.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "crds/crds.h"
#include "crds/validate.h"
#include "lib/base/file.h"
#include "lib/base/yaml.h"

namespace tango::crds {
namespace {

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

TEST(Examples, AllAreAccepted) {
  std::set<std::string> kinds_seen;
  for (const auto& entry : fs::directory_iterator(fs::path(env("TANGO_SOURCE_DIR")) / "examples")) {
    if (entry.path().extension() != ".yaml") continue;
    auto documents = parse_yaml_stream(*read_file(entry.path()));
    ASSERT_TRUE(documents.ok()) << entry.path() << documents.error().to_string();
    for (const auto& d : *documents) {
      std::string kind = get_string(d.value, "kind");
      kinds_seen.insert(kind);
      auto violations = validate_object(d.value);
      if (kind == "SearchJob" || kind == "Trial") {
        EXPECT_TRUE(only_unsupported(violations)) << entry.path() << ": " << summary(violations);
        EXPECT_FALSE(violations.empty());
      } else {
        EXPECT_TRUE(violations.empty()) << entry.path() << ": " << summary(violations);
      }
    }
  }
  EXPECT_EQ(kinds_seen.size(), kinds().size()) << "every kind has an example";
}

TEST(Examples, AllProfilesAreAccepted) {
  auto documents = parse_yaml_stream(profiles());
  ASSERT_TRUE(documents.ok()) << documents.error().to_string();
  EXPECT_EQ(documents->size(), 16u);  // the target table
  for (const auto& d : *documents) {
    auto violations = validate_object(d.value);
    EXPECT_TRUE(violations.empty()) << summary(violations);
  }
}

// The rules of structural schemas (apiextensions.k8s.io/v1): every node has a type, or is an
// int-or-string, or keeps unknown fields; defaults fit; list-map keys exist and are required.
void check_structural(const Json& s, const std::string& path, bool cel, int& rules) {
  ASSERT_TRUE(s.contains("type") || get_bool(s, "x-kubernetes-int-or-string")) << path;
  ASSERT_FALSE(s.contains("properties") && s.contains("additionalProperties")) << path;
  for (const auto& [key, value] : s.items()) {
    static const std::set<std::string> kAllowed{"type",
                                                "description",
                                                "properties",
                                                "items",
                                                "additionalProperties",
                                                "required",
                                                "enum",
                                                "default",
                                                "format",
                                                "pattern",
                                                "minimum",
                                                "maximum",
                                                "minLength",
                                                "maxLength",
                                                "minItems",
                                                "maxItems",
                                                "maxProperties",
                                                "x-kubernetes-int-or-string",
                                                "x-kubernetes-list-type",
                                                "x-kubernetes-list-map-keys",
                                                "x-kubernetes-preserve-unknown-fields",
                                                "x-kubernetes-validations"};
    ASSERT_TRUE(kAllowed.count(key) != 0) << path << " has " << key;
    if (key == "x-kubernetes-validations") {
      ASSERT_TRUE(cel) << path;
      rules += static_cast<int>(value.size());
    }
  }
  for (const auto& [key, child] : get(s, "properties").items()) {
    if (path.empty() && key == "metadata") continue;
    check_structural(child, path + "." + key, cel, rules);
  }
  if (s.contains("items")) {
    check_structural(s["items"], path + "[]", cel, rules);
    if (s.contains("x-kubernetes-list-map-keys")) {
      for (const auto& key : s["x-kubernetes-list-map-keys"]) {
        EXPECT_TRUE(s["items"]["properties"].contains(key.get<std::string>())) << path;
        const Json& required = s["items"]["required"];
        EXPECT_NE(std::find(required.begin(), required.end(), key), required.end()) << path;
      }
    }
  }
  if (s.contains("additionalProperties")) {
    check_structural(s["additionalProperties"], path + "{}", cel, rules);
  }
}

TEST(Manifests, BothFlavoursAreStructural) {
  for (Flavour flavour : {Flavour::kCel, Flavour::kPlain}) {
    auto documents = parse_yaml_stream(manifests(flavour));
    ASSERT_TRUE(documents.ok()) << documents.error().to_string();
    ASSERT_EQ(documents->size(), kinds().size());
    int rules = 0;
    for (const auto& d : *documents) {
      const Json& spec = d.value["spec"];
      const KindEntry* entry = find_kind(spec["names"]["kind"].get<std::string>());
      ASSERT_NE(entry, nullptr);
      EXPECT_EQ(d.value["metadata"]["name"], std::string(entry->info.plural) + ".ml-tango.io");
      EXPECT_EQ(d.value["metadata"]["annotations"]["ml-tango.io/schema-hash"],
                std::string(entry->schema_hash));
      EXPECT_EQ(spec["names"]["categories"], Json::array({"tango"}));
      const Json& version = spec["versions"][0];
      EXPECT_TRUE(version["subresources"].contains("status"));
      bool has_age = false;
      for (const auto& c : version["additionalPrinterColumns"])
        has_age = has_age || c["name"] == "AGE";
      EXPECT_TRUE(has_age);
      check_structural(version["schema"]["openAPIV3Schema"], "", flavour == Flavour::kCel, rules);
    }
    if (flavour == Flavour::kCel) {
      EXPECT_GT(rules, 10);
    } else {
      EXPECT_EQ(rules, 0);
    }
  }
}

TEST(Reference, PagesAreUpToDate) {
  fs::path generated = fs::path(env("TANGO_GENERATED_DIR")) / "docs";
  fs::path kept = fs::path(env("TANGO_SOURCE_DIR")) / "docs/reference";
  int pages = 0;
  for (const auto& entry : fs::directory_iterator(generated)) {
    auto now = read_file(kept / entry.path().filename());
    ASSERT_TRUE(now.ok()) << entry.path().filename();
    EXPECT_EQ(*now, *read_file(entry.path())) << entry.path().filename() << ": run ninja crds-docs";
    ++pages;
  }
  EXPECT_EQ(pages, 11);
}

}  // namespace
}  // namespace tango::crds

// Which resources the embedded API server serves: the built-in table and what
// CustomResourceDefinitions add. A ResourceTable is immutable; the registry swaps it when a
// definition changes.
#pragma once

#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/result.h"
#include "standalone/json_path.h"
#include "standalone/schema.h"

namespace tango::standalone {

struct PrinterColumn {
  std::string name, type, format, description;
  int priority = 0;
  JsonPath path;
};

struct ResourceInfo {
  std::string group, version, kind, list_kind, plural, singular;
  std::vector<std::string> short_names, categories;
  bool namespaced = true;
  bool custom = false;
  bool status_subresource = false;
  bool review = false;            // create only, never stored (TokenReview, ...)
  bool requires_version = false;  // PUT needs resourceVersion
  std::string definition;         // OpenAPI definition name
  SchemaPtr schema;
  std::vector<PrinterColumn> columns;  // of custom resources
  std::string storage_version;
  std::string deprecation_warning;
  Json openapi_schema;  // of custom resources, as written

  std::string api_version() const { return group.empty() ? version : group + "/" + version; }
  std::string storage_api_version() const {
    return group.empty() ? storage_version : group + "/" + storage_version;
  }
  std::string store_key() const { return group + "/" + plural; }
  std::string group_resource() const { return group.empty() ? plural : plural + "." + group; }
};
using ResourcePtr = std::shared_ptr<const ResourceInfo>;

class ResourceTable {
 public:
  explicit ResourceTable(std::vector<ResourcePtr> all) : all_(std::move(all)) {}
  ResourcePtr find(std::string_view group, std::string_view version, std::string_view plural) const;
  ResourcePtr by_kind(std::string_view group, std::string_view kind) const;
  ResourcePtr by_store_key(std::string_view key) const;  // any version
  const std::vector<ResourcePtr>& all() const { return all_; }
  // Groups in order of first appearance, each with its versions, preferred first.
  std::vector<std::pair<std::string, std::vector<std::string>>> groups() const;

 private:
  std::vector<ResourcePtr> all_;
};

std::vector<ResourcePtr> builtin_resources();
// All served versions of a definition. Errors: the Status causes of a definition that cannot be
// served.
std::vector<ResourcePtr> compile_definition(const Json& crd, std::vector<Cause>& causes);
// Semantic checks beyond the schema: names, one storage version, structural schema present.
std::vector<Cause> check_definition(const Json& crd);

class ResourceRegistry {
 public:
  ResourceRegistry();
  std::shared_ptr<const ResourceTable> table() const;
  std::uint64_t generation() const;      // rises with every change
  void set_definition(const Json& crd);  // established ones only
  void remove_definition(const std::string& name);

 private:
  void rebuild();
  mutable std::shared_mutex mutex_;
  std::map<std::string, std::vector<ResourcePtr>> custom_;
  std::shared_ptr<const ResourceTable> table_;
  std::uint64_t generation_ = 0;
};

}  // namespace tango::standalone

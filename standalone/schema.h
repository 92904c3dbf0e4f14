// One schema model for built-in kinds and custom resources: types, defaults, bounds, list
// semantics. Pruning, defaulting, validation, strategic merge, server-side apply and the OpenAPI
// documents all read it. Pure; never fetches a reference from anywhere.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/result.h"
#include "standalone/api_error.h"

namespace tango::standalone {

struct Schema;
using SchemaPtr = std::shared_ptr<const Schema>;

enum class SchemaType { kAny, kObject, kArray, kString, kInteger, kNumber, kBoolean };
enum class ListType { kAtomic, kSet, kMap };

struct Schema {
  SchemaType type = SchemaType::kAny;
  std::string format;
  std::string description;
  std::string ref;  // name of the OpenAPI definition this is; empty: inline
  bool nullable = false;
  bool int_or_string = false;
  bool preserve_unknown = false;
  bool embedded_resource = false;
  bool built_in_struct =
      false;  // a Go struct on a real server: never absent, so never owned itself

  std::map<std::string, SchemaPtr, std::less<>> properties;
  std::vector<std::string> required;
  SchemaPtr additional;  // values of keys that are not properties
  bool atomic_map = false;
  SchemaPtr items;
  ListType list = ListType::kAtomic;
  std::vector<std::string> list_keys;  // of ListType::kMap
  std::string merge_key;               // strategic merge of a list of objects
  bool merge_list = false;             // strategic merge: patchStrategy=merge
  bool retain_keys = false;

  std::optional<Json> default_value;
  std::vector<Json> enumeration;
  std::string pattern;
  std::shared_ptr<const std::regex> regex;
  std::optional<double> minimum, maximum, multiple_of;
  bool exclusive_minimum = false, exclusive_maximum = false, unique_items = false;
  std::optional<std::int64_t> min_length, max_length, min_items, max_items, min_properties,
      max_properties;
  std::vector<SchemaPtr> all_of, any_of, one_of;
  SchemaPtr not_of;

  Json source;  // openAPIV3Schema as written in a CRD; null for built-ins

  // The schema of a member of an object, or nullptr when unknown.
  const Schema* member(std::string_view key) const;
  bool is_map() const { return type == SchemaType::kObject && properties.empty() && additional; }
};

// openAPIV3Schema of a CRD version. Errors: InvalidSchema (with the path).
Result<SchemaPtr> compile_crd_schema(const Json& source,
                                     const std::string& path = "openAPIV3Schema");

// Removes what the schema does not know; `unknown` gets the paths. `metadata` of the root (and of
// embedded resources) is left alone here: it is pruned by the ObjectMeta schema.
void prune(Json& value, const Schema& schema, const std::string& path,
           std::vector<std::string>& unknown);
void apply_defaults(Json& value, const Schema& schema);
void validate(const Json& value, const Schema& schema, const std::string& path,
              std::vector<Cause>& causes);
// Only whether JSON types fit (what a typed server answers 400 to). Empty: fits.
std::string type_mismatch(const Json& value, const Schema& schema, const std::string& path);

std::string join_path(const std::string& path, std::string_view key);

}  // namespace tango::standalone

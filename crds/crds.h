// The API of ml-tango.io as data: the kinds, their schemas, the CRD manifests and the target
// profiles, and what an API server does with a schema (defaults, unknown fields, structural
// errors). The embedded server, tangoctl and the validators use it; it does no I/O.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/kube-types/meta.h"
#include "lib/kube-types/reader.h"

namespace tango::crds {

struct KindEntry {
  kube::KindInfo info;
  std::string_view singular;
  std::string_view short_name;
  std::string_view cpp_name;      // "TangoDeployment"
  std::string_view schema_hash;   // of the schema without CEL rules
  std::string_view schema_json;   // openAPIV3Schema without CEL rules: properties spec and status
  std::string_view columns_json;  // additionalPrinterColumns
};

std::span<const KindEntry> kinds();
// By kind, plural, singular or short name, without regard to case; also "<plural>.ml-tango.io".
// nullptr when it is none of ours.
const KindEntry* find_kind(std::string_view name);
// The parsed schema of a kind of ours; a static null otherwise.
const Json& schema_of(std::string_view kind);

enum class Flavour {
  kCel,    // with x-kubernetes-validations: Kubernetes 1.25 and newer
  kPlain,  // without: older servers refuse the field
};
// All CRDs, then nothing else, as a YAML stream. Each carries annotation kSchemaHashAnnotation.
std::string_view manifests(Flavour flavour);
// The TargetProfile objects as a YAML stream.
std::string_view profiles();
inline constexpr std::string_view kSchemaHashAnnotation = "ml-tango.io/schema-hash";

// One thing that is wrong with an object: where, what is there, which rule, what to do.
struct Violation {
  std::string path;                // "spec.targets[0].name"
  Json value;                      // what was found; null when something is missing
  std::string rule;                // "is not a known field", "must be one of ..."
  std::string remedy;              // may be empty
  std::string reason = "Invalid";  // Invalid | UnknownField | Missing | Unsupported
  std::string to_string() const;   // "spec.task: \"X\" must be one of ... ; remedy"
  bool operator==(const Violation&) const = default;
};

// Fills in the defaults of the schema, as an API server does. Errors: UnknownKind.
Result<Json> apply_defaults(std::string_view kind, Json object);
// Removes fields that the schema does not know and says which (paths).
std::vector<std::string> prune(std::string_view kind, Json& object);
// Unknown fields, wrong types, missing fields, enums, patterns, bounds; also apiVersion and
// metadata.name. `status` is checked only when `with_status`. Empty: the object fits the schema.
std::vector<Violation> structural_errors(std::string_view kind, const Json& object,
                                         bool with_status = false);

// A typed value from Json: decode<Recipe>(json). Errors: WrongType, UnknownEnumValue (with path).
template <typename T>
Result<T> decode(const Json& value) {
  return kube::read_object<T>(dump_json(value));
}

// "Auto or a number" scalars.
inline bool is_auto(std::string_view text) { return text.empty() || text == "Auto"; }
// The number, or `fallback` for Auto.
std::int64_t auto_number(std::string_view text, std::int64_t fallback);

namespace embedded {
extern const std::array<KindEntry, 10> kKinds;
extern const std::string_view kCrdsCel, kCrdsPlain, kProfiles;
}  // namespace embedded

}  // namespace tango::crds

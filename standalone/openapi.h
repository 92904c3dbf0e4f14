// The OpenAPI documents: v2 as JSON and as gnostic protobuf (kubectl 1.20 explain and validation),
// v3 per group-version (newer kubectl). Derived from the resource table alone.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/json.h"
#include "standalone/resources.h"

namespace tango::standalone {

Json openapi_v2(const ResourceTable& table);
// The index at /openapi/v3; `hash` goes into the URLs so that clients may cache.
Json openapi_v3_index(const ResourceTable& table, const std::string& hash);
// group "" and version "v1" is api/v1. Null: no such group-version.
Json openapi_v3(const ResourceTable& table, std::string_view group, std::string_view version);

// openapi.v2.Document of github.com/google/gnostic as wire bytes: the parts that clients read
// (definitions, paths with their operations, parameters and extensions).
std::string openapi_v2_protobuf(const Json& document);

}  // namespace tango::standalone

// The built-in kinds' types as data: one compact text (builtin_text.cpp) names every field with its
// type, default, list semantics and description. Decoding, defaulting, strategic merge, server-side
// apply, `kubectl explain` and client-side validation all come from it.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "standalone/schema.h"

namespace tango::standalone {

// "io.k8s.api.core.v1.Pod" -> schema. Built once; aborts on a malformed text (a bug, covered by a
// test).
const std::map<std::string, SchemaPtr, std::less<>>& builtin_definitions();
SchemaPtr builtin_type(std::string_view definition);
// io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta: shared by custom resources.
const SchemaPtr& object_meta_schema();

// The text; see builtin_text.cpp for its grammar.
std::string_view builtin_text();

}  // namespace tango::standalone

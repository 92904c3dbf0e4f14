// Codec<T>: how the JSON text of an object of kind T becomes a typed value and back. Specialised by
// core.h and by crdgen's output; used by the caches of lib/kube and by tests. It does no I/O.
#pragma once

#include <string_view>

#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::kube {

// A specialisation has
//   static Result<T> parse(std::string_view json);  // errors: InvalidJson, WrongType,
//   UnknownEnumValue (with path) static Json encode(const T& object);            // with apiVersion
//   and kind
template <typename T>
struct Codec;

}  // namespace tango::kube

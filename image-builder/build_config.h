// The configuration of a Build stage (docs/formats/build.md), read strictly and turned into the
// bundle's specification. Written by the operator, read by tango-builder.
#pragma once

#include "lib/artifacts/bundle.h"
#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::builder {

// Errors: MissingField, WrongType, UnknownField, InvalidConfig, Unsupported (architecture, engine).
Result<artifacts::BundleSpec> parse_build_config(const Json& config);

}  // namespace tango::builder

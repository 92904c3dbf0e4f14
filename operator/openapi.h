// The text of operator/openapi.yaml, built in.
#pragma once

#include <string_view>

namespace tango::op {

extern const std::string_view kOpenApi;

}  // namespace tango::op

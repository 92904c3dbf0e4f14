// Integer expressions of network definitions: numbers, variables, + - * / % and parentheses.
// Used by definition.cpp alone. A division must leave no remainder, so that a wrong width is an
// error instead of a silent rounding.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace tango::graph {

// Errors: InvalidDefinition.
Result<std::int64_t> evaluate_expression(std::string_view text,
                                         const std::map<std::string, std::int64_t>& variables);

}  // namespace tango::graph

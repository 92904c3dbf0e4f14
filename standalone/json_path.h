// The JSONPath subset that printer columns use: members, quoted members, indexes, wildcards and
// filters such as .status.conditions[?(@.type=="Ready")].reason. Compiled once per column.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::standalone {

class JsonPath {
 public:
  // Errors: InvalidJsonPath.
  static Result<JsonPath> compile(std::string_view text);
  std::vector<const Json*> find(const Json& root) const;

 private:
  struct Step {
    enum class Kind { kMember, kIndex, kWildcard, kFilter, kSlice } kind = Kind::kMember;
    std::string name;
    long index = 0;
    // kFilter: @.<path> <op> <value>; op "" asks for existence.
    std::vector<std::string> path;
    std::string op;
    Json value;
  };
  std::vector<Step> steps_;
};

}  // namespace tango::standalone

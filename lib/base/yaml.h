// YAML <-> JSON values. Reads with yaml-cpp, guarding against its known gaps: duplicate keys,
// unterminated strings, alias bombs; quoted scalars stay strings. Positions are kept so that later
// validation errors can name a line.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango {

struct YamlLimits {
  std::size_t max_bytes = 4u << 20;
  std::size_t max_nodes = 200'000;
  int max_depth = 64;
};

struct YamlDocument {
  Json value;
  std::map<std::string, int> lines;          // "spec.targets[0].name" -> 1-based line
  int line_of(std::string_view path) const;  // nearest known ancestor; 0 when unknown
};

// All documents of a stream ("---" separated); empty documents are skipped.
// Errors: InvalidYaml (line, column), DuplicateKey, YamlTooLarge, YamlTooDeep.
Result<std::vector<YamlDocument>> parse_yaml_stream(std::string_view text,
                                                    const YamlLimits& limits = {});
// Exactly one document. Errors: as above, and InvalidYaml when there are none or several.
Result<YamlDocument> parse_yaml(std::string_view text, const YamlLimits& limits = {});

// Block style; strings that YAML 1.1 or 1.2 would read as another type are quoted.
std::string to_yaml(const Json& value);

}  // namespace tango

// Label and field selectors as API clients write them ("a=b,c in (d),!e", "metadata.name=x").
// Pure; used by lists, watches and deletecollection.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::standalone {

enum class SelectorOp { kEquals, kNotEquals, kIn, kNotIn, kExists, kNotExists, kGreater, kLess };

struct SelectorTerm {
  std::string key;
  SelectorOp op = SelectorOp::kEquals;
  std::vector<std::string> values;
};

class Selector {
 public:
  // Errors: InvalidSelector.
  static Result<Selector> parse_labels(std::string_view text);
  static Result<Selector> parse_fields(std::string_view text);      // = == != only
  static Selector from_label_selector(const Json& label_selector);  // metav1.LabelSelector
  static Selector from_match_labels(const Json& labels);

  bool empty() const { return terms_.empty(); }
  const std::vector<SelectorTerm>& terms() const { return terms_; }
  bool matches_labels(const Json& object) const;  // metadata.labels
  bool matches_fields(const Json& object) const;  // keys are dotted paths; absent reads as ""
  // The value a field selector fixes for `key`, or empty.
  std::string equals(std::string_view key) const;

 private:
  std::vector<SelectorTerm> terms_;
};

}  // namespace tango::standalone

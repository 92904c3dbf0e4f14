#include "standalone/selectors.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace tango::standalone {
namespace {

constexpr std::size_t kMaxSelectorBytes = 16 * 1024;

Error selector_error(std::string_view text, std::string_view why) {
  return make_error(Code::kInvalid, "InvalidSelector",
                    "unable to parse selector \"" + std::string(text) + "\": " + std::string(why));
}

bool word_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' ||
         c == '/';
}

class LabelScanner {
 public:
  explicit LabelScanner(std::string_view text) : text_(text) {}
  void blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  bool end() {
    blanks();
    return at_ >= text_.size();
  }
  bool take(std::string_view token) {
    blanks();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  std::string word() {
    blanks();
    std::size_t from = at_;
    while (at_ < text_.size() && word_char(text_[at_])) ++at_;
    return std::string(text_.substr(from, at_ - from));
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

bool number(const std::string& s, std::int64_t& out) {
  auto [p, ec] = std::from_chars(s.data(), s.data() + s.size(), out);
  return ec == std::errc() && p == s.data() + s.size();
}

bool term_holds(const SelectorTerm& t, const std::string* value) {
  const bool listed =
      value != nullptr && std::find(t.values.begin(), t.values.end(), *value) != t.values.end();
  switch (t.op) {
    case SelectorOp::kEquals:
    case SelectorOp::kIn:
      return listed;
    case SelectorOp::kNotEquals:
    case SelectorOp::kNotIn:
      return !listed;
    case SelectorOp::kExists:
      return value != nullptr;
    case SelectorOp::kNotExists:
      return value == nullptr;
    case SelectorOp::kGreater:
    case SelectorOp::kLess: {
      std::int64_t a = 0, b = 0;
      if (value == nullptr || !number(*value, a) || !number(t.values.front(), b)) return false;
      return t.op == SelectorOp::kGreater ? a > b : a < b;
    }
  }
  return false;
}

}  // namespace

Result<Selector> Selector::parse_labels(std::string_view text) {
  if (text.size() > kMaxSelectorBytes) return selector_error(text.substr(0, 64), "is too long");
  Selector out;
  LabelScanner scan(text);
  while (!scan.end()) {
    SelectorTerm t;
    if (scan.take("!")) {
      t.op = SelectorOp::kNotExists;
      t.key = scan.word();
    } else {
      t.key = scan.word();
      if (scan.take("==")) {
        t.values.push_back(scan.word());
      } else if (scan.take("!=")) {
        t.op = SelectorOp::kNotEquals;
        t.values.push_back(scan.word());
      } else if (scan.take("=")) {
        t.values.push_back(scan.word());
      } else if (scan.take(">")) {
        t.op = SelectorOp::kGreater;
        t.values.push_back(scan.word());
      } else if (scan.take("<")) {
        t.op = SelectorOp::kLess;
        t.values.push_back(scan.word());
      } else if (scan.take("notin")) {
        t.op = SelectorOp::kNotIn;
      } else if (scan.take("in")) {
        t.op = SelectorOp::kIn;
      } else {
        t.op = SelectorOp::kExists;
      }
    }
    if (t.key.empty()) return selector_error(text, "a key is missing");
    if (t.op == SelectorOp::kIn || t.op == SelectorOp::kNotIn) {
      if (!scan.take("(")) return selector_error(text, "expected '('");
      do {
        t.values.push_back(scan.word());
      } while (scan.take(","));
      if (!scan.take(")")) return selector_error(text, "expected ')'");
    }
    out.terms_.push_back(std::move(t));
    if (scan.end()) break;
    if (!scan.take(",")) return selector_error(text, "expected ',' or an operator");
    if (scan.end()) return selector_error(text, "ends with ','");
  }
  return out;
}

Result<Selector> Selector::parse_fields(std::string_view text) {
  if (text.size() > kMaxSelectorBytes) return selector_error(text.substr(0, 64), "is too long");
  Selector out;
  while (!text.empty()) {
    auto comma = text.find(',');
    std::string_view term = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
    if (term.empty()) continue;
    SelectorTerm t;
    auto eq = term.find('=');
    if (eq == std::string_view::npos || eq == 0) return selector_error(term, "expected key=value");
    std::string_view key = term.substr(0, eq), value = term.substr(eq + 1);
    if (key.ends_with('!')) {
      t.op = SelectorOp::kNotEquals;
      key.remove_suffix(1);
    } else if (value.starts_with('=')) {
      value.remove_prefix(1);
    }
    if (key.empty()) return selector_error(term, "expected key=value");
    t.key = key;
    t.values.emplace_back(value);
    out.terms_.push_back(std::move(t));
  }
  return out;
}

Selector Selector::from_match_labels(const Json& labels) {
  Selector out;
  if (!labels.is_object()) return out;
  for (const auto& [key, value] : labels.items()) {
    if (value.is_string())
      out.terms_.push_back({key, SelectorOp::kEquals, {value.get<std::string>()}});
  }
  return out;
}

Selector Selector::from_label_selector(const Json& selector) {
  Selector out = from_match_labels(get(selector, "matchLabels"));
  for (const Json& e : get(selector, "matchExpressions")) {
    SelectorTerm t;
    t.key = get_string(e, "key");
    std::string op = get_string(e, "operator");
    t.op = op == "In"       ? SelectorOp::kIn
           : op == "NotIn"  ? SelectorOp::kNotIn
           : op == "Exists" ? SelectorOp::kExists
                            : SelectorOp::kNotExists;
    for (const Json& v : get(e, "values")) {
      if (v.is_string()) t.values.push_back(v);
    }
    out.terms_.push_back(std::move(t));
  }
  return out;
}

bool Selector::matches_labels(const Json& object) const {
  if (terms_.empty()) return true;
  const Json& labels = get(get(object, "metadata"), "labels");
  return std::all_of(terms_.begin(), terms_.end(), [&](const SelectorTerm& t) {
    const Json& v = get(labels, t.key);
    if (!v.is_string()) return term_holds(t, nullptr);
    std::string text = v;
    return term_holds(t, &text);
  });
}

bool Selector::matches_fields(const Json& object) const {
  return std::all_of(terms_.begin(), terms_.end(), [&](const SelectorTerm& t) {
    const Json& v = at_path(object, t.key);
    std::string text = v.is_string() ? v.get<std::string>()
                       : v.is_null() ? std::string()
                                     : v.dump();
    return term_holds(t, &text);
  });
}

std::string Selector::equals(std::string_view key) const {
  for (const SelectorTerm& t : terms_) {
    if (t.key == key && t.op == SelectorOp::kEquals) return t.values.front();
  }
  return {};
}

}  // namespace tango::standalone

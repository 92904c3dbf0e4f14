// Label selectors: matching, JSON, and kubectl's text form.
#include <algorithm>
#include <cctype>

#include "lib/kube-types/meta.h"
#include "lib/kube-types/reader.h"

namespace tango::kube {
namespace {

Error invalid(std::string_view text, std::string_view why) {
  return make_error(Code::kInvalid, "InvalidSelector",
                    "the selector \"" + std::string(text.substr(0, 200)) + "\" " +
                        std::string(why) + "; write it as a=b,c!=d,e in (f,g),h,!i");
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

bool label_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
}
bool valid_key(std::string_view key) {
  return !key.empty() &&
         std::all_of(key.begin(), key.end(), [](char c) { return label_char(c) || c == '/'; });
}
bool valid_value(std::string_view value) {
  return value.size() <= 63 && std::all_of(value.begin(), value.end(), label_char);
}

// Splits at commas outside parentheses.
std::vector<std::string_view> terms_of(std::string_view text) {
  std::vector<std::string_view> out;
  std::size_t start = 0;
  int depth = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (text[i] == ',' && depth == 0)) {
      out.push_back(trim(text.substr(start, i - start)));
      start = i + 1;
    } else if (text[i] == '(') {
      ++depth;
    } else if (text[i] == ')') {
      --depth;
    }
  }
  return out;
}

bool holds(const LabelRequirement& r, const std::map<std::string, std::string>& labels) {
  auto it = labels.find(r.key);
  bool present = it != labels.end();
  bool listed =
      present && std::find(r.values.begin(), r.values.end(), it->second) != r.values.end();
  if (r.op == "In") return listed;
  if (r.op == "NotIn") return !listed;
  if (r.op == "Exists") return present;
  if (r.op == "DoesNotExist") return !present;
  return false;
}

}  // namespace

LabelSelector parse_label_selector(const Json& value) {
  LabelSelector out;
  out.all = get_bool(value, "all");
  const Json& labels = get(value, "matchLabels");
  if (labels.is_object()) {
    for (const auto& [key, v] : labels.items()) {
      if (v.is_string()) out.match_labels.emplace(key, v.get<std::string>());
    }
  }
  const Json& expressions = get(value, "matchExpressions");
  if (expressions.is_array()) {
    for (const auto& e : expressions) {
      LabelRequirement r{get_string(e, "key"), get_string(e, "operator"), {}};
      const Json& values = get(e, "values");
      if (values.is_array()) {
        for (const auto& v : values) {
          if (v.is_string()) r.values.push_back(v.get<std::string>());
        }
      }
      out.match_expressions.push_back(std::move(r));
    }
  }
  return out;
}

bool read(JsonCursor& in, LabelRequirement& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& value) {
        if (key == "key") return read_at(key, value, out.key, ctx);
        if (key == "operator") return read_at(key, value, out.op, ctx);
        if (key == "values") return read_at(key, value, out.values, ctx);
        return true;
      },
      ctx);
}

bool read(JsonCursor& in, LabelSelector& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& value) {
        if (key == "all") return read_at(key, value, out.all, ctx);
        if (key == "matchLabels") return read_at(key, value, out.match_labels, ctx);
        if (key == "matchExpressions") return read_at(key, value, out.match_expressions, ctx);
        return true;
      },
      ctx);
}

Json encode(const LabelSelector& selector) {
  Json out = Json::object();
  if (selector.all) out["all"] = true;
  if (!selector.match_labels.empty()) out["matchLabels"] = selector.match_labels;
  for (const auto& r : selector.match_expressions) {
    Json e{{"key", r.key}, {"operator", r.op}};
    if (!r.values.empty()) e["values"] = r.values;
    out["matchExpressions"].push_back(std::move(e));
  }
  return out;
}

bool matches(const LabelSelector& selector, const std::map<std::string, std::string>& labels) {
  if (selector.match_labels.empty() && selector.match_expressions.empty()) return selector.all;
  for (const auto& [key, value] : selector.match_labels) {
    auto it = labels.find(key);
    if (it == labels.end() || it->second != value) return false;
  }
  return std::all_of(selector.match_expressions.begin(), selector.match_expressions.end(),
                     [&](const LabelRequirement& r) { return holds(r, labels); });
}

Result<LabelSelector> parse_selector_string(std::string_view text) {
  LabelSelector out;
  if (trim(text).empty()) {
    out.all = true;  // kubectl: no selector, no filter
    return out;
  }
  for (std::string_view term : terms_of(text)) {
    if (term.empty()) return invalid(text, "has an empty term");
    LabelRequirement r;
    if (std::size_t open = term.find('('); open != std::string_view::npos) {
      if (term.back() != ')') return invalid(text, "has an unclosed parenthesis");
      std::string_view head = trim(term.substr(0, open));
      std::size_t space = head.rfind(' ');
      if (space == std::string_view::npos) return invalid(text, "lacks in or notin before (");
      std::string_view op = head.substr(space + 1);
      r.key = trim(head.substr(0, space));
      if (op != "in" && op != "notin") return invalid(text, "lacks in or notin before (");
      r.op = op == "in" ? "In" : "NotIn";
      for (std::string_view v : terms_of(term.substr(open + 1, term.size() - open - 2))) {
        if (!valid_value(v)) return invalid(text, "has a value that no label can have");
        r.values.emplace_back(v);
      }
    } else if (std::size_t ne = term.find("!="); ne != std::string_view::npos) {
      r = {
          std::string(trim(term.substr(0, ne))), "NotIn", {std::string(trim(term.substr(ne + 2)))}};
    } else if (std::size_t eq = term.find('='); eq != std::string_view::npos) {
      std::string_view value = term.substr(eq + 1);
      if (!value.empty() && value.front() == '=') value.remove_prefix(1);
      r = {std::string(trim(term.substr(0, eq))), "In", {std::string(trim(value))}};
    } else if (term.front() == '!') {
      r = {std::string(trim(term.substr(1))), "DoesNotExist", {}};
    } else {
      r = {std::string(term), "Exists", {}};
    }
    if (!valid_key(r.key)) return invalid(text, "has a key that no label can have");
    for (const auto& v : r.values) {
      if (!valid_value(v)) return invalid(text, "has a value that no label can have");
    }
    auto known = out.match_labels.find(r.key);
    if (r.op == "In" && r.values.size() == 1 && known == out.match_labels.end()) {
      out.match_labels.emplace(r.key, r.values[0]);
    } else {
      out.match_expressions.push_back(std::move(r));
    }
  }
  return out;
}

}  // namespace tango::kube

#include "standalone/json_path.h"

#include <cctype>
#include <cstdlib>

namespace tango::standalone {
namespace {

constexpr std::size_t kMaxPathBytes = 4096;

Error path_error(std::string_view text, std::string_view why) {
  return make_error(Code::kInvalid, "InvalidJsonPath",
                    "JSONPath " + std::string(text) + ": " + std::string(why));
}

std::vector<std::string> dotted(std::string_view text) {
  std::vector<std::string> out;
  std::string part;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      part += text[++i];
    } else if (text[i] == '.') {
      if (!part.empty()) out.push_back(std::move(part));
      part.clear();
    } else {
      part += text[i];
    }
  }
  if (!part.empty()) out.push_back(std::move(part));
  return out;
}

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

Json literal(std::string_view s) {
  if (s.size() >= 2 && (s.front() == '"' || s.front() == '\'') && s.back() == s.front()) {
    return std::string(s.substr(1, s.size() - 2));
  }
  Json v = Json::parse(s, nullptr, false);
  return v.is_discarded() ? Json(std::string(s)) : v;
}

bool compare(const Json& a, std::string_view op, const Json& b) {
  if (op == "==") return a == b;
  if (op == "!=") return a != b;
  if (a.type() != b.type() && !(a.is_number() && b.is_number())) return false;
  if (op == "<") return a < b;
  if (op == "<=") return a <= b;
  if (op == ">") return a > b;
  return a >= b;
}

}  // namespace

Result<JsonPath> JsonPath::compile(std::string_view whole) {
  std::string_view text = trimmed(whole);
  if (text.size() > kMaxPathBytes) return path_error(text.substr(0, 64), "is too long");
  if (text.starts_with('{') && text.ends_with('}')) text = trimmed(text.substr(1, text.size() - 2));
  if (text.starts_with('$')) text.remove_prefix(1);
  JsonPath out;
  std::size_t i = 0;
  while (i < text.size()) {
    Step step;
    if (text[i] == '.') {
      if (text.substr(i).starts_with(".."))
        return path_error(whole, "recursive descent is not supported");
      ++i;
      if (i < text.size() && text[i] == '*') {
        step.kind = Step::Kind::kWildcard;
        ++i;
        out.steps_.push_back(step);
        continue;
      }
      while (i < text.size() && text[i] != '.' && text[i] != '[') {
        if (text[i] == '\\' && i + 1 < text.size()) ++i;
        step.name += text[i++];
      }
      if (step.name.empty()) {
        if (i < text.size() && text[i] == '[') continue;    // ".[0]"
        if (i == text.size() && out.steps_.empty()) break;  // "." is the root
        return path_error(whole, "a member name is missing");
      }
      out.steps_.push_back(std::move(step));
    } else if (text[i] == '[') {
      // The end of the bracket, not fooled by brackets inside quotes.
      std::size_t end = i + 1;
      char quote = 0;
      while (end < text.size() && (quote != 0 || text[end] != ']')) {
        if (quote != 0 && text[end] == quote) {
          quote = 0;
        } else if (quote == 0 && (text[end] == '"' || text[end] == '\'')) {
          quote = text[end];
        }
        ++end;
      }
      if (end >= text.size()) return path_error(whole, "']' is missing");
      std::string_view inside = trimmed(text.substr(i + 1, end - i - 1));
      i = end + 1;
      if (inside == "*" || inside == ":") {
        step.kind = Step::Kind::kWildcard;
      } else if (inside.starts_with("?(") && inside.ends_with(')')) {
        step.kind = Step::Kind::kFilter;
        std::string_view f = trimmed(inside.substr(2, inside.size() - 3));
        if (!f.starts_with('@')) return path_error(whole, "a filter starts with @");
        std::size_t at = f.find_first_of("=!<>");
        if (at == std::string_view::npos) {
          step.path = dotted(trimmed(f.substr(1)));
        } else {
          std::size_t n = at + 1 < f.size() && f[at + 1] == '=' ? 2 : 1;
          step.op = f.substr(at, n);
          if (step.op == "=" || step.op == "!")
            return path_error(whole, "unknown operator in a filter");
          step.path = dotted(trimmed(f.substr(1, at - 1)));
          step.value = literal(trimmed(f.substr(at + n)));
        }
      } else if (inside.size() >= 2 && (inside.front() == '\'' || inside.front() == '"')) {
        step.name = inside.substr(1, inside.size() - 2);
      } else {
        char* rest = nullptr;
        std::string digits(inside);
        step.index = std::strtol(digits.c_str(), &rest, 10);
        if (digits.empty() || *rest != '\0')
          return path_error(whole, "'" + digits + "' is no index");
        step.kind = Step::Kind::kIndex;
      }
      out.steps_.push_back(std::move(step));
    } else {
      return path_error(whole, "expected '.' or '['");
    }
  }
  return out;
}

std::vector<const Json*> JsonPath::find(const Json& root) const {
  std::vector<const Json*> now = {&root};
  for (const Step& step : steps_) {
    std::vector<const Json*> next;
    for (const Json* v : now) {
      switch (step.kind) {
        case Step::Kind::kMember:
          if (v->is_object() && v->contains(step.name)) next.push_back(&(*v)[step.name]);
          break;
        case Step::Kind::kIndex: {
          if (!v->is_array()) break;
          long n = static_cast<long>(v->size());
          long k = step.index < 0 ? n + step.index : step.index;
          if (k >= 0 && k < n) next.push_back(&(*v)[static_cast<std::size_t>(k)]);
          break;
        }
        case Step::Kind::kSlice:
        case Step::Kind::kWildcard:
          if (v->is_array() || v->is_object()) {
            for (const Json& item : *v) next.push_back(&item);
          }
          break;
        case Step::Kind::kFilter:
          if (!v->is_array()) break;
          for (const Json& item : *v) {
            const Json* x = &item;
            for (const std::string& key : step.path) x = &get(*x, key);
            if (step.op.empty() ? !x->is_null() : compare(*x, step.op, step.value))
              next.push_back(&item);
          }
          break;
      }
    }
    now = std::move(next);
  }
  return now;
}

}  // namespace tango::standalone

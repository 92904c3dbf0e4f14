#include "lib/base/yaml.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

namespace tango {
namespace {

// A last document of our own: yaml-cpp 0.7 accepts a quoted string that never ends, and then this
// text is found inside it.
constexpr std::string_view kEndGuard = "end-of-stream-6d1f0c";

Error yaml_error(const YAML::Mark& mark, std::string_view reason, const std::string& what) {
  std::string at = mark.is_null() ? std::string("YAML")
                                  : "line " + std::to_string(mark.line + 1) + ", column " +
                                        std::to_string(mark.column + 1);
  return make_error(Code::kInvalid, reason, at + ": " + what);
}

// The document ended inside a quoted string or bracket; the last line with an odd number of quotes
// is where a person should look.
Error unclosed(std::string_view text) {
  int line = 0;
  int at = 1;
  for (std::size_t from = 0; from < text.size(); ++at) {
    std::size_t end = std::min(text.find('\n', from), text.size());
    auto row = text.substr(from, end - from);
    if (std::count(row.begin(), row.end(), '"') % 2 != 0 ||
        std::count(row.begin(), row.end(), '\'') % 2 != 0)
      line = at;
    from = end + 1;
  }
  return make_error(Code::kInvalid, "InvalidYaml",
                    (line ? "line " + std::to_string(line) + ": " : std::string()) +
                        "a quoted string or a bracket is opened and never closed");
}

bool is_int(std::string_view s) {
  if (!s.empty() && (s[0] == '-' || s[0] == '+')) s.remove_prefix(1);
  if (s.empty() || s.size() > 19) return false;
  if (s.size() > 1 && s[0] == '0')
    return false;  // "010" stays text, as in YAML 1.2 with Kubernetes' reader
  for (char c : s) {
    if (c < '0' || c > '9') return false;
  }
  return true;
}

std::optional<double> as_float(std::string_view s) {
  bool digit = false;
  for (char c : s) {
    if (c >= '0' && c <= '9') {
      digit = true;
    } else if (c != '+' && c != '-' && c != '.' && c != 'e' && c != 'E') {
      return std::nullopt;
    }
  }
  if (!digit || s.find_first_of(".eE") == std::string_view::npos) return std::nullopt;
  if (s[0] == '+') s.remove_prefix(1);
  double v = 0;
  auto [end, ec] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (ec != std::errc() || end != s.data() + s.size() || !std::isfinite(v)) return std::nullopt;
  return v;
}

// The plain scalar under the YAML 1.1 reading that Kubernetes tools use (yes/no are left as text by
// kubectl's YAML 1.2-ish reader, true/false are booleans).
Json plain_scalar(const std::string& s) {
  if (s.empty() || s == "~" || s == "null" || s == "Null" || s == "NULL") return nullptr;
  if (s == "true" || s == "True" || s == "TRUE") return true;
  if (s == "false" || s == "False" || s == "FALSE") return false;
  if (is_int(s)) {
    std::int64_t v = 0;
    std::string_view t = s;
    if (t[0] == '+') t.remove_prefix(1);
    auto [end, ec] = std::from_chars(t.data(), t.data() + t.size(), v);
    if (ec == std::errc()) return v;
  }
  if (auto f = as_float(s)) return *f;
  return s;
}

class Converter {
 public:
  Converter(const YamlLimits& limits, std::map<std::string, int>& lines)
      : limits_(limits), lines_(lines) {}

  Result<Json> convert(const YAML::Node& node, const std::string& path, int depth) {
    if (++nodes_ > limits_.max_nodes) {
      return yaml_error(
          node.Mark(), "YamlTooLarge",
          "document expands to more than " + std::to_string(limits_.max_nodes) + " nodes");
    }
    if (depth > limits_.max_depth) {
      return yaml_error(
          node.Mark(), "YamlTooDeep",
          "document is nested deeper than " + std::to_string(limits_.max_depth) + " levels");
    }
    if (!node.Mark().is_null()) lines_[path] = node.Mark().line + 1;
    switch (node.Type()) {
      case YAML::NodeType::Scalar: {
        if (node.Scalar().find(kEndGuard) != std::string::npos) {
          return yaml_error(node.Mark(), "InvalidYaml",
                            "a quoted string is opened here and never closed");
        }
        if (node.Tag() == "?" || node.Tag().empty()) return plain_scalar(node.Scalar());
        return Json(node.Scalar());
      }
      case YAML::NodeType::Sequence: {
        Json out = Json::array();
        std::size_t i = 0;
        for (const auto& item : node) {
          TRY_ASSIGN(Json v, convert(item, path + "[" + std::to_string(i++) + "]", depth + 1));
          out.push_back(std::move(v));
        }
        return out;
      }
      case YAML::NodeType::Map: {
        Json out = Json::object();
        for (const auto& pair : node) {
          if (!pair.first.IsScalar()) {
            return yaml_error(pair.first.Mark(), "InvalidYaml",
                              "a mapping key must be a plain string");
          }
          const std::string& key = pair.first.Scalar();
          if (out.contains(key)) {
            return yaml_error(pair.first.Mark(), "DuplicateKey",
                              "the key \"" + key + "\" appears twice in one mapping");
          }
          std::string child = path.empty() ? key : path + "." + key;
          lines_[child] = pair.first.Mark().line + 1;
          int key_line = lines_[child];
          TRY_ASSIGN(Json v, convert(pair.second, child, depth + 1));
          lines_[child] = key_line;
          out[key] = std::move(v);
        }
        return out;
      }
      default:
        return Json(nullptr);
    }
  }

 private:
  const YamlLimits& limits_;
  std::map<std::string, int>& lines_;
  std::size_t nodes_ = 0;
};

bool needs_quotes(const std::string& s) {
  static const std::set<std::string, std::less<>> kWords = {
      "y",     "Y",     "yes",  "Yes",  "YES",  "n",   "N",    "no",   "No",   "NO",
      "on",    "On",    "ON",   "off",  "Off",  "OFF", "true", "True", "TRUE", "false",
      "False", "FALSE", "null", "Null", "NULL", "~",   "=",    "<<",   ".inf", ".nan"};
  if (s.empty() || kWords.contains(s)) return true;
  if (s.front() == ' ' || s.back() == ' ' || s.back() == ':') return true;
  if (std::string_view("-?:,[]{}#&*!|>'\"%@`").find(s.front()) != std::string_view::npos) {
    if (!(s.size() > 1 && (s.front() == '-' || s.front() == ':' || s.front() == '?') &&
          s[1] != ' ' && !(s[1] >= '0' && s[1] <= '9') && s[1] != '.' && s.front() != ':' &&
          s != "---")) {
      return true;
    }
  }
  if ((s.front() >= '0' && s.front() <= '9') || s.front() == '.' || s.front() == '+' ||
      s.front() == '-') {
    // Anything that some reader takes for a number, a date or sexagesimal.
    bool odd = s.find_first_not_of("0123456789.+-eExXoO_:abcdefABCDEFTZ ") == std::string::npos;
    if (odd) return true;
  }
  if (s.find(": ") != std::string::npos || s.find(" #") != std::string::npos) return true;
  for (unsigned char c : s) {
    if (c < 0x20 || c == 0x7f) return true;
  }
  return false;
}

void emit_string(const std::string& s, std::string& out, std::size_t indent) {
  bool multi = s.find('\n') != std::string::npos && s.front() != ' ' && s.front() != '\n';
  if (multi) {
    for (unsigned char c : s) multi = multi && (c >= 0x20 || c == '\n');
    if (s.find(" \n") != std::string::npos) multi = false;
  }
  if (multi) {
    bool ends = s.back() == '\n';
    if (ends && s.size() > 1 && s[s.size() - 2] == '\n') {
      out += dump_json(Json(s));
      return;
    }
    out += ends ? "|" : "|-";
    std::size_t at = 0;
    std::string_view rest = s;
    if (ends) rest.remove_suffix(1);
    while (at <= rest.size()) {
      std::size_t end = std::min(rest.find('\n', at), rest.size());
      out += '\n';
      if (end > at) out.append(indent, ' ').append(rest.substr(at, end - at));
      at = end + 1;
    }
    return;
  }
  if (needs_quotes(s)) {
    out += dump_json(Json(s));
  } else {
    out += s;
  }
}

void emit(const Json& v, std::string& out, std::size_t indent, bool in_list) {
  if (v.is_object() && !v.empty()) {
    bool first = true;
    for (auto it = v.begin(); it != v.end(); ++it) {
      if (!(first && in_list)) out.append(indent, ' ');
      first = false;
      if (needs_quotes(it.key())) {
        out += dump_json(Json(it.key()));
      } else {
        out += it.key();
      }
      out += ':';
      if (it->is_structured() && !it->empty()) {
        out += '\n';
        emit(*it, out, it->is_array() ? indent : indent + 2, false);
      } else {
        out += ' ';
        emit(*it, out, indent + 2, false);
      }
    }
  } else if (v.is_array() && !v.empty()) {
    bool first = true;
    for (const Json& item : v) {
      if (!(first && in_list)) out.append(indent, ' ');
      first = false;
      out += "- ";
      emit(item, out, indent + 2, true);
    }
  } else {
    if (v.is_string()) {
      emit_string(v.get<std::string>(), out, indent);
    } else {
      out += dump_json(v);
    }
    out += '\n';
  }
}

}  // namespace

int YamlDocument::line_of(std::string_view path) const {
  std::string p(path);
  while (true) {
    auto it = lines.find(p);
    if (it != lines.end()) return it->second;
    if (p.empty()) return 0;
    auto cut = p.find_last_of(".[");
    p = cut == std::string::npos ? std::string() : p.substr(0, cut);
  }
}

Result<std::vector<YamlDocument>> parse_yaml_stream(std::string_view text,
                                                    const YamlLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return make_error(Code::kExhausted, "YamlTooLarge",
                      "YAML text has " + std::to_string(text.size()) + " bytes; the limit is " +
                          std::to_string(limits.max_bytes));
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<YamlDocument> out;
  try {
    std::string guarded(text);
    if (!guarded.ends_with('\n')) guarded += '\n';
    guarded.append("--- ").append(kEndGuard).append("\n");
    bool guard_seen = false;
    for (const YAML::Node& node : YAML::LoadAll(guarded)) {
      if (!node.IsDefined() || node.IsNull()) continue;
      if (node.IsScalar() && node.Scalar() == kEndGuard) {
        guard_seen = true;
        break;
      }
      YamlDocument doc;
      Converter converter(limits, doc.lines);
      TRY_ASSIGN(doc.value, converter.convert(node, "", 0));
      out.push_back(std::move(doc));
    }
    if (!guard_seen) {
      return unclosed(text);
    }
  } catch (const YAML::Exception& e) {
    if (e.mark.line >= std::count(text.begin(), text.end(), '\n') + (text.ends_with('\n') ? 0 : 1))
      return unclosed(text);
    return yaml_error(e.mark, "InvalidYaml", e.msg);
  } catch (const std::exception& e) {
    return make_error(Code::kInvalid, "InvalidYaml", e.what());
  }
  return out;
}

Result<YamlDocument> parse_yaml(std::string_view text, const YamlLimits& limits) {
  TRY_ASSIGN(auto docs, parse_yaml_stream(text, limits));
  if (docs.size() != 1) {
    return make_error(Code::kInvalid, "InvalidYaml",
                      "expected exactly one document, found " + std::to_string(docs.size()));
  }
  return std::move(docs.front());
}

std::string to_yaml(const Json& value) {
  std::string out;
  emit(value, out, 0, false);
  return out;
}

}  // namespace tango

// C++ types, readers and encoders; the embedded texts.
#include <algorithm>
#include <cctype>
#include <set>
#include <stdexcept>

#include "crds/gen/schema.h"
#include "lib/base/digest.h"

namespace tango::crdgen {
namespace {

std::string cpp_string(const std::string& text) { return Json(text).dump(); }

std::string enum_constant(const std::string& value) {
  std::string out = "k";
  bool up = true;
  for (char c : value) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) {
      up = true;
      continue;
    }
    out += up ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    up = false;
  }
  return out;
}

bool is_time(const Json& s) { return s.value("format", std::string()) == "date-time"; }
bool is_map(const Json& s) { return s.contains("additionalProperties"); }
bool is_native(const Json& s) { return s.contains("x-tango-native"); }

std::string cpp_type(const Json& s) {
  if (is_native(s)) return s["x-tango-native"];
  if (is_struct(s) || is_enum(s)) return s.at("x-cpp");
  if (is_scalar(s)) return "std::string";
  if (is_free(s)) return "Json";
  if (is_map(s)) return "std::map<std::string, " + cpp_type(s["additionalProperties"]) + ">";
  std::string type = s.at("type");
  if (type == "array") return "std::vector<" + cpp_type(s["items"]) + ">";
  if (type == "string") return is_time(s) ? "TimePoint" : "std::string";
  if (type == "integer") {
    return s.value("format", std::string("int64")) == "int32" ? "std::int32_t" : "std::int64_t";
  }
  if (type == "number") return "double";
  if (type == "boolean") return "bool";
  throw std::runtime_error("no C++ type for " + s.dump());
}

// Texts, lists, maps and free-form objects say "absent" by being empty; the rest needs an optional.
bool can_be_empty(const Json& s) {
  if (is_native(s) || is_struct(s) || is_enum(s)) return false;
  if (is_scalar(s) || is_free(s) || is_map(s)) return true;
  std::string type = s.at("type");
  return type == "array" || (type == "string" && !is_time(s));
}

bool is_optional(const Json& object, const std::string& field, const Json& s) {
  return !can_be_empty(s) && !is_required(object, field) && !s.contains("default");
}

std::string literal(const Json& s, const Json& value) {
  if (is_enum(s)) return cpp_type(s) + "::" + enum_constant(value.get<std::string>());
  if (is_scalar(s)) return cpp_string(value.is_string() ? value.get<std::string>() : value.dump());
  return value.dump();
}

std::string initialiser(const Json& object, const std::string& field, const Json& s) {
  if (is_optional(object, field, s)) return "";
  if (is_free(s)) return " = Json::object()";
  if (s.contains("default")) {
    const Json& d = s["default"];
    if (d.is_object()) {
      if (!d.empty()) throw std::runtime_error("only {} may be the default of an object: " + field);
      return "";
    }
    if (d.is_array()) {
      std::string items;
      for (const auto& item : d) items += (items.empty() ? "" : ", ") + literal(s["items"], item);
      return "{" + items + "}";
    }
    return " = " + literal(s, d);
  }
  if (can_be_empty(s) || is_struct(s) || is_native(s)) return "";
  return "{}";
}

// All types below `node` that this file has to declare, users last.
void own_types(const Json& node, std::set<std::string>& seen, std::vector<const Json*>& out) {
  if (is_native(node)) return;
  if (node.contains("x-shared")) return;
  for (const char* key : {"items", "additionalProperties"}) {
    if (node.contains(key) && node[key].is_object()) own_types(node[key], seen, out);
  }
  if (is_struct(node)) {
    for (const auto& [key, child] : node["properties"].items()) own_types(child, seen, out);
  }
  if ((is_struct(node) || is_enum(node)) && seen.insert(node["x-cpp"]).second) out.push_back(&node);
}

std::string wrap_comment(const std::string& text, const std::string& pad) {
  std::string out, line;
  std::size_t i = 0;
  while (i <= text.size()) {
    std::size_t end = text.find(' ', i);
    if (end == std::string::npos) end = text.size();
    std::string word = text.substr(i, end - i);
    if (!line.empty() && pad.size() + 3 + line.size() + 1 + word.size() > 100) {
      out += pad + "// " + line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
    i = end + 1;
  }
  if (!line.empty()) out += pad + "// " + line + "\n";
  return out;
}

void declare(const Json& type, std::string& h) {
  std::string name = type["x-cpp"];
  h += "\n" + wrap_comment(type.value("description", std::string()), "");
  if (is_enum(type)) {
    h += "enum class " + name + " {";
    std::string list;
    for (const auto& v : type["enum"]) {
      list += (list.empty() ? " " : ", ") + enum_constant(v.get<std::string>());
    }
    h += list + " };\n";
    h += "std::string_view to_string(" + name + " value);\n";
    h += "inline Json encode(" + name + " value) { return std::string(to_string(value)); }\n";
  } else {
    h += "struct " + name + " {\n";
    for (const auto& [field, s] : type["properties"].items()) {
      std::string t = cpp_type(s);
      if (is_optional(type, field, s)) t = "std::optional<" + t + ">";
      h += wrap_comment(s.value("description", std::string()), "  ");
      h += "  " + t + " " + snake(field) + initialiser(type, field, s) + ";\n";
    }
    h += "  bool operator==(const " + name + "&) const = default;\n};\n";
    h += "Json encode(const " + name + "& value);\n";
  }
  h += "bool read(kube::JsonCursor& in, " + name + "& out, kube::ReadContext& ctx);\n";
}

void define_enum(const Json& type, std::string& c) {
  std::string name = type["x-cpp"];
  c += "\nstd::string_view to_string(" + name + " value) {\n  switch (value) {\n";
  for (const auto& v : type["enum"]) {
    std::string text = v;
    c += "    case " + name + "::" + enum_constant(text) + ":\n      return " + cpp_string(text) +
         ";\n";
  }
  c += "  }\n  return {};\n}\n";
  c += "\nbool read(kube::JsonCursor& in, " + name + "& out, kube::ReadContext& ctx) {\n";
  c += "  std::string text;\n  if (!kube::read(in, text, ctx)) return false;\n";
  std::string list;
  for (const auto& v : type["enum"]) {
    std::string text = v;
    c += "  if (text == " + cpp_string(text) + ") return out = " + name +
         "::" + enum_constant(text) + ", true;\n";
    list += (list.empty() ? "" : ", ") + text;
  }
  c += "  return ctx.fail(\"UnknownEnumValue\", \"is \\\"\" + text.substr(0, 64) + \"\\\", but "
       "must be one of " +
       list + "\");\n}\n";
}

void define_struct(const Json& type, std::string& c) {
  std::string name = type["x-cpp"];
  bool any = !type["properties"].empty();
  c += "\nbool read(kube::JsonCursor& in, " + name + "& out, kube::ReadContext& ctx) {\n";
  c += "  return kube::read_fields(\n      in,\n      [&](std::string_view key, kube::JsonCursor& "
       "v) {\n";
  for (const auto& [field, s] : type["properties"].items()) {
    std::string target = "out." + snake(field);
    c += "        if (key == " + cpp_string(field) + ") ";
    if (is_scalar(s)) {
      c += "return kube::read_scalar(v, " + target + ", ctx) || ctx.at(key);\n";
    } else if (is_map(s) && is_scalar(s["additionalProperties"])) {
      c += "return kube::read_scalar_map(v, " + target + ", ctx) || ctx.at(key);\n";
    } else {
      c += "return kube::read_at(key, v, " + target + ", ctx);\n";
    }
  }
  c += "        return true;\n      },\n      ctx);\n}\n";
  c += "\nJson encode(const " + name + "& value) {\n  Json out = Json::object();\n";
  if (!any) c += "  static_cast<void>(value);\n";
  for (const auto& [field, s] : type["properties"].items()) {
    std::string source = "value." + snake(field);
    bool scalar = is_scalar(s) || (is_map(s) && is_scalar(s["additionalProperties"]));
    bool always = is_required(type, field) || (s.contains("default") && !s["default"].is_null());
    std::string key = cpp_string(field);
    if (is_optional(type, field, s)) {
      c += "  kube::put_optional(out, " + key + ", " + source + ");\n";
    } else if (always || !can_be_empty(s)) {
      c += scalar ? "  out[" + key + "] = kube::scalar_value(" + source + ");\n"
                  : "  kube::put(out, " + key + ", " + source + ");\n";
    } else if (scalar) {
      c +=
          "  if (!" + source + ".empty()) out[" + key + "] = kube::scalar_value(" + source + ");\n";
    } else {
      c += "  kube::put_filled(out, " + key + ", " + source + ");\n";
    }
  }
  c += "  return out;\n}\n";
}

constexpr const char* kHeaderTop =
    "#pragma once\n\n"
    "#include <cstdint>\n#include <map>\n#include <optional>\n#include <string>\n"
    "#include <string_view>\n#include <vector>\n\n"
    "#include \"lib/base/clock.h\"\n#include \"lib/base/json.h\"\n"
    "#include \"lib/kube-types/codec.h\"\n#include \"lib/kube-types/meta.h\"\n";

std::string source_top(const std::string& header) {
  return "// Generated by crdgen; change the YAML under crds/ instead.\n#include \"crds/" + header +
         ".h\"\n\n#include \"lib/kube-types/reader.h\"\n#include \"lib/kube-types/writer.h\"\n\n"
         "namespace tango::crds {\n";
}

void emit_kind(const Kind& kind, Files& out) {
  std::set<std::string> seen;
  std::vector<const Json*> types;
  for (const auto& [part, node] : kind.schema["properties"].items()) own_types(node, seen, types);

  std::string h = "// " + kind.comment + "\n// Generated by crdgen from crds/" + kind.file +
                  ".yaml; change that instead.\n" + kHeaderTop +
                  "#include \"crds/common_types.h\"\n\nnamespace tango::crds {\n";
  std::string c = source_top(kind.header);
  for (const Json* type : types) {
    declare(*type, h);
    if (is_enum(*type)) {
      define_enum(*type, c);
    } else {
      define_struct(*type, c);
    }
  }
  h += "\n" + wrap_comment(kind.schema.value("description", std::string()), "");
  h += "struct " + kind.cpp +
       " {\n  static constexpr kube::KindInfo kKind{\"ml-tango.io\", \"v1alpha1\", " +
       cpp_string(kind.kind) + ", " + cpp_string(kind.plural) + ", " +
       (kind.namespaced ? "true" : "false") + "};\n  kube::ObjectMeta metadata;\n";
  std::string fields, members;
  for (const auto& [part, node] : kind.schema["properties"].items()) {
    h += "  " + cpp_type(node) + " " + part + ";\n";
    fields += "        if (key == " + cpp_string(part) + ") return kube::read_at(key, v, out." +
              part + ", ctx);\n";
    members += "  out[" + cpp_string(part) + "] = tango::crds::encode(object." + part + ");\n";
  }
  h += "};\nbool read(kube::JsonCursor& in, " + kind.cpp + "& out, kube::ReadContext& ctx);\n";
  h += "\n}  // namespace tango::crds\n\ntemplate <>\nstruct tango::kube::Codec<tango::crds::" +
       kind.cpp + "> {\n  static Result<crds::" + kind.cpp +
       "> parse(std::string_view json);\n  static Json encode(const crds::" + kind.cpp +
       "& object);\n};\n";
  c += "\nbool read(kube::JsonCursor& in, " + kind.cpp +
       "& out, kube::ReadContext& ctx) {\n"
       "  return kube::read_fields(\n      in,\n      [&](std::string_view key, kube::JsonCursor& "
       "v) {\n"
       "        if (key == \"metadata\") return kube::read_at(key, v, out.metadata, ctx);\n" +
       fields +
       "        return true;\n      },\n      ctx);\n}\n\n}  // namespace tango::crds\n\n"
       "namespace tango::kube {\n\nResult<crds::" +
       kind.cpp + "> Codec<crds::" + kind.cpp +
       ">::parse(std::string_view json) {\n  return read_object<crds::" + kind.cpp +
       ">(json);\n}\n\n"
       "Json Codec<crds::" +
       kind.cpp + ">::encode(const crds::" + kind.cpp +
       "& object) {\n"
       "  Json out = Json::object();\n  out[\"apiVersion\"] = \"ml-tango.io/v1alpha1\";\n  "
       "out[\"kind\"] = " +
       cpp_string(kind.kind) + ";\n  out[\"metadata\"] = tango::kube::encode(object.metadata);\n" +
       members + "  return out;\n}\n\n}  // namespace tango::kube\n";
  out["crds/" + kind.header + ".h"] = h;
  out["crds/" + kind.header + ".cpp"] = c;
}

void emit_common(const Input& input, Files& out) {
  std::string h = std::string(
                      "// Types that several kinds share.\n// Generated by crdgen from "
                      "crds/common.yaml; change that instead.\n") +
                  kHeaderTop +
                  "\nnamespace tango::kube {\nclass JsonCursor;\nstruct ReadContext;\n}  // "
                  "namespace tango::kube\n"
                  "\nnamespace tango::crds {\n";
  std::string c = source_top("common_types");
  std::set<std::string> seen;
  for (const auto& shared : input.shared) {
    // Shared schemas may hold unnamed parts of their own (Io.input, ...): those come first.
    std::vector<const Json*> types;
    if (is_struct(shared)) {
      for (const auto& [key, child] : shared["properties"].items()) own_types(child, seen, types);
    }
    types.push_back(&shared);
    for (const Json* type : types) {
      declare(*type, h);
      if (is_enum(*type)) {
        define_enum(*type, c);
      } else {
        define_struct(*type, c);
      }
    }
  }
  out["crds/common_types.h"] = h + "\n}  // namespace tango::crds\n";
  out["crds/common_types.cpp"] = c + "\n}  // namespace tango::crds\n";
}

std::string embed(const std::string& text) {
  std::string out;
  constexpr std::size_t kChunk = 8000;
  for (std::size_t i = 0; i < text.size(); i += kChunk) {
    out += "    R\"~~~(" + text.substr(i, kChunk) + ")~~~\"\n";
  }
  return out.empty() ? "\"\"" : "\n" + out;
}

}  // namespace

void emit_cpp(const Input& input, Files& out) {
  emit_common(input, out);
  std::string umbrella =
      "// All kinds of ml-tango.io/v1alpha1. Generated by crdgen.\n#pragma once\n\n";
  std::string table;
  for (const auto& kind : input.kinds) {
    emit_kind(kind, out);
    umbrella += "#include \"crds/" + kind.header + ".h\"  // IWYU pragma: export\n";
    Json plain = published(kind.schema, false);
    table += "    KindEntry{{\"ml-tango.io\", \"v1alpha1\", " + cpp_string(kind.kind) + ", " +
             cpp_string(kind.plural) + ", " + (kind.namespaced ? "true" : "false") + "}, " +
             cpp_string(kind.singular) + ", " + cpp_string(kind.short_name) + ", " +
             cpp_string(kind.cpp) + ", " + cpp_string(sha256(plain.dump()).to_string()) + ",\n" +
             embed(plain.dump()) + ",\n" +
             embed(kind.crd["spec"]["versions"][0]["additionalPrinterColumns"].dump()) + "},\n";
  }
  out["crds/types.h"] = umbrella;
  Files texts;
  emit_crds(input, texts);
  out["crds/embedded.cpp"] =
      "// Generated by crdgen: the schemas as data and the manifests as text.\n#include "
      "\"crds/crds.h\"\n\n"
      "namespace tango::crds::embedded {\n\n"
      "const std::array<KindEntry, " +
      std::to_string(input.kinds.size()) + "> kKinds{{\n" + table +
      "}};\n\nconst std::string_view kCrdsCel =" + embed(texts["crds-cel.yaml"]) +
      ";\nconst std::string_view kCrdsPlain =" + embed(texts["crds-plain.yaml"]) +
      ";\nconst std::string_view kProfiles =" + embed(texts["profiles.yaml"]) +
      ";\n\n}  // namespace tango::crds::embedded\n";
}

}  // namespace tango::crdgen

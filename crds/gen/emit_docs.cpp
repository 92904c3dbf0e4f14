// docs/reference/<kind>.md: one page per kind.
#include "crds/gen/schema.h"

namespace tango::crdgen {
namespace {

std::string cell(std::string text) {
  std::string out;
  for (char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string type_name(const Json& s) {
  if (is_enum(s)) {
    std::string out;
    for (const auto& v : s["enum"]) out += (out.empty() ? "`" : ", `") + v.get<std::string>() + "`";
    return "one of " + out;
  }
  if (is_scalar(s)) return "string or integer";
  if (is_free(s)) return "free-form object";
  if (s.contains("additionalProperties")) return "map of " + type_name(s["additionalProperties"]);
  std::string type = s.at("type");
  if (type == "array") return "list of " + type_name(s["items"]);
  if (s.value("format", std::string()) == "date-time") return "time";
  return type;
}

std::string limits(const Json& s) {
  std::string out;
  auto add = [&](const std::string& text) { out += (out.empty() ? "" : "; ") + text; };
  if (s.contains("default"))
    add("default `" +
        (s["default"].is_string() ? s["default"].get<std::string>() : s["default"].dump()) + "`");
  if (s.contains("minimum")) add("≥ " + s["minimum"].dump());
  if (s.contains("maximum")) add("≤ " + s["maximum"].dump());
  if (s.contains("minLength")) add("at least " + s["minLength"].dump() + " characters");
  if (s.contains("maxLength")) add("at most " + s["maxLength"].dump() + " characters");
  if (s.contains("maxItems")) add("at most " + s["maxItems"].dump() + " items");
  if (s.contains("maxProperties")) add("at most " + s["maxProperties"].dump() + " entries");
  if (s.contains("pattern")) add("matches `" + s["pattern"].get<std::string>() + "`");
  return out;
}

void rows(const Json& object, const std::string& path, std::string& out);

void row(const Json& s, const std::string& path, bool required, std::string& out) {
  out += "| `" + path + "`" + (required ? " **\\***" : "") + " | " + cell(type_name(s)) + " | " +
         cell(s.value("description", std::string())) + " | " + cell(limits(s)) + " |\n";
  const Json* inner = &s;
  std::string below = path;
  while (inner->contains("items") || inner->contains("additionalProperties")) {
    bool list = inner->contains("items");
    below += list ? "[]" : ".<name>";
    inner = &(*inner)[list ? "items" : "additionalProperties"];
  }
  if (is_struct(*inner)) rows(*inner, below, out);
}

void rows(const Json& object, const std::string& path, std::string& out) {
  for (const auto& [key, s] : object["properties"].items()) {
    row(s, path + "." + key, is_required(object, key), out);
  }
}

void rules(const Json& s, const std::string& path, std::string& out) {
  if (s.contains("x-kubernetes-validations")) {
    for (const auto& r : s["x-kubernetes-validations"]) {
      out += "* `" + path + "`: " + r.at("message").get<std::string>() + "\n";
    }
  }
  for (const char* key : {"items", "additionalProperties"}) {
    if (s.contains(key))
      rules(s[key], path + (std::string(key) == "items" ? "[]" : ".<name>"), out);
  }
  if (s.contains("properties")) {
    for (const auto& [key, child] : s["properties"].items()) {
      rules(child, path.empty() ? key : path + "." + key, out);
    }
  }
}

}  // namespace

void emit_docs(const Input& input, Files& out) {
  std::string index =
      "# API reference\n\nGroup `ml-tango.io`, version `v1alpha1`. Made from `crds/*.yaml`; see "
      "each page "
      "for all fields.\n\n| kind | plural | short | scope | |\n|---|---|---|---|---|\n";
  for (const auto& kind : input.kinds) {
    std::string page =
        "# " + kind.kind + "\n\n" + kind.schema.value("description", std::string()) + "\n\n";
    page += "`" + kind.plural + ".ml-tango.io`, short name `" + kind.short_name + "`, " +
            (kind.namespaced ? "in a namespace" : "for the whole cluster") +
            ", category `tango`. Example: `examples/" + kind.file + ".yaml`.\n";
    for (const auto& [part, node] : kind.schema["properties"].items()) {
      page += "\n## " + part + "\n\n" + node.value("description", std::string()) +
              "\n\n| field | type | meaning | limits |\n|---|---|---|---|\n";
      rows(node, part, page);
    }
    page += "\nFields marked **\\*** are required.\n";
    std::string list;
    rules(kind.schema, "", list);
    if (!list.empty()) page += "\n## Rules\n\n" + list;
    page += "\n## Columns\n\n| column | from | shown |\n|---|---|---|\n";
    for (const auto& c : kind.crd["spec"]["versions"][0]["additionalPrinterColumns"]) {
      page += "| " + c["name"].get<std::string>() + " | `" +
              cell(c["jsonPath"].get<std::string>()) + "` | " +
              (c.value("priority", 0) > 0 ? "with -o wide" : "always") + " |\n";
    }
    out["docs/" + kind.file + ".md"] = page;
    index += "| [" + kind.kind + "](" + kind.file + ".md) | `" + kind.plural + "` | `" +
             kind.short_name + "` | " + (kind.namespaced ? "namespace" : "cluster") + " | " +
             cell(kind.comment) + " |\n";
  }
  out["docs/README.md"] = index;
}

}  // namespace tango::crdgen

// CRD manifests in both flavours, and the YAML writer.
#include <cctype>

#include "crds/gen/schema.h"
#include "lib/base/digest.h"

namespace tango::crdgen {
namespace {

bool plain(const std::string& s) {
  if (s.empty() || std::isalpha(static_cast<unsigned char>(s[0])) == 0) return false;
  for (const char* word : {"true", "false", "null", "yes", "no",  "on",  "off",  "y",    "n",
                           "True", "False", "Yes",  "No",  "On",  "Off", "Null", "TRUE", "FALSE",
                           "NULL", "YES",   "NO",   "ON",  "OFF", "Y",   "N"}) {
    if (s == word) return false;
  }
  for (char c : s) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-' && c != '_' && c != '.' &&
        c != '/') {
      return false;
    }
  }
  return true;
}

std::string inline_value(const Json& v) {
  if (v.is_string() && plain(v.get<std::string>())) return v.get<std::string>();
  return v.dump();
}

bool is_block(const Json& v) { return (v.is_object() || v.is_array()) && !v.empty(); }

}  // namespace

std::string to_yaml(const Json& value, int indent) {
  std::string pad(static_cast<std::size_t>(indent), ' ');
  std::string out;
  if (value.is_object()) {
    for (const auto& [key, v] : value.items()) {
      out += pad + inline_value(key) + ":";
      if (is_block(v)) {
        out += "\n" + to_yaml(v, v.is_array() ? indent : indent + 2);
      } else {
        out += " " + inline_value(v) + "\n";
      }
    }
    return out;
  }
  for (const auto& v : value) {
    if (is_block(v)) {
      std::string block = to_yaml(v, indent + 2);
      block[static_cast<std::size_t>(indent)] = '-';
      out += block;
    } else {
      out += pad + "- " + inline_value(v) + "\n";
    }
  }
  return out;
}

Json published(const Json& schema, bool cel) {
  Json out = Json::object();
  for (const auto& [key, value] : schema.items()) {
    if (key.rfind("x-tango-", 0) == 0 || key == "x-cpp" || key == "x-shared") continue;
    if (key == "x-kubernetes-validations" && !cel) continue;
    if (key == "properties") {
      for (const auto& [name, child] : value.items()) out[key][name] = published(child, cel);
    } else if (key == "items" || key == "additionalProperties") {
      out[key] = published(value, cel);
    } else {
      out[key] = value;
    }
  }
  return out;
}

Json published_crd(const Kind& kind, bool cel) {
  Json crd = kind.crd;
  crd.erase("x-tango-cpp");
  crd["metadata"]["annotations"]["ml-tango.io/schema-hash"] =
      sha256(published(kind.schema, false).dump()).to_string();
  Json& version = crd["spec"]["versions"][0];
  Json schema = published(kind.schema, cel);
  // The three fields that every object has come first, as kubectl explain shows them.
  Json properties = Json::object();
  properties["apiVersion"] = {{"type", "string"}, {"description", "Version of the schema."}};
  properties["kind"] = {{"type", "string"}, {"description", "Kind of the object."}};
  properties["metadata"] = {{"type", "object"}};
  for (const auto& [key, value] : schema["properties"].items()) properties[key] = value;
  schema["properties"] = properties;
  version["schema"]["openAPIV3Schema"] = schema;
  return crd;
}

void emit_crds(const Input& input, Files& out) {
  for (bool cel : {true, false}) {
    std::string all;
    for (const auto& kind : input.kinds) all += "---\n" + to_yaml(published_crd(kind, cel));
    out[cel ? "crds-cel.yaml" : "crds-plain.yaml"] = all;
  }
  std::string profiles;
  for (const auto& p : input.profiles) profiles += "---\n" + to_yaml(p.object);
  out["profiles.yaml"] = profiles;
}

}  // namespace tango::crdgen

#include "crds/gen/schema.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>
#include <stdexcept>

namespace tango::crdgen {
namespace {

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw std::runtime_error(where + ": " + what);
}

Json scalar(const YAML::Node& node) {
  if (node.Tag() == "!") return node.Scalar();  // quoted
  const std::string& text = node.Scalar();
  if (text.empty() || text == "null" || text == "~") return nullptr;
  if (text == "true") return true;
  if (text == "false") return false;
  char* end = nullptr;
  long long whole = std::strtoll(text.c_str(), &end, 10);
  if (*end == '\0' && std::isspace(static_cast<unsigned char>(text[0])) == 0) return whole;
  double real = std::strtod(text.c_str(), &end);
  if (*end == '\0' && (std::isdigit(static_cast<unsigned char>(text[0])) != 0 || text[0] == '-')) {
    return real;
  }
  return text;
}

Json convert(const YAML::Node& node, const std::string& where) {
  if (node.IsMap()) {
    Json out = Json::object();
    for (const auto& entry : node) {
      auto key = entry.first.as<std::string>();
      if (out.contains(key)) fail(where, "the key " + key + " appears twice");
      out[key] = convert(entry.second, where + "." + key);
    }
    return out;
  }
  if (node.IsSequence()) {
    Json out = Json::array();
    for (const auto& item : node) out.push_back(convert(item, where + "[]"));
    return out;
  }
  return node.IsScalar() ? scalar(node) : Json(nullptr);
}

std::string slurp(const std::string& path) {
  std::ifstream in(path);
  if (!in) fail(path, "cannot be read");
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

Json load_yaml(const std::string& path) {
  try {
    return convert(YAML::Load(slurp(path)), path);
  } catch (const YAML::Exception& e) {
    fail(path, e.what());
  }
}

// Puts shared schemas in place, depth first.
class Expander {
 public:
  explicit Expander(const Json& definitions) : definitions_(definitions) {}

  Json expand(const Json& schema, const std::string& where, int depth = 0) {
    if (depth > 32) fail(where, "definitions are nested too deeply (a circle?)");
    Json node = schema;
    if (node.contains("x-tango-type")) {
      std::string name = node["x-tango-type"];
      if (!definitions_.contains(name)) fail(where, "unknown definition " + name);
      Json base = definitions_[name];
      node.erase("x-tango-type");
      for (auto& [key, value] : node.items()) base[key] = value;
      node = base;
      if ((is_struct(node) || is_enum(node)) && !node.contains("x-tango-native")) {
        node["x-cpp"] = name;
        node["x-shared"] = true;
        used_.insert(name);
      }
    }
    for (const char* key : {"items", "additionalProperties"}) {
      if (node.contains(key)) node[key] = expand(node[key], where + "." + key, depth + 1);
    }
    if (node.contains("properties")) {
      for (auto& [key, value] : node["properties"].items()) {
        value = expand(value, where + "." + key, depth + 1);
      }
    }
    return node;
  }

 private:
  const Json& definitions_;
  std::set<std::string> used_;
};

// Decides the C++ name of every struct and enum below `node`.
class Namer {
 public:
  explicit Namer(std::map<std::string, std::string>& taken) : taken_(taken) {}

  void name(Json& node, const std::string& prefix, const std::string& own,
            const std::string& where) {
    if (node.contains("x-tango-native")) return;
    if (is_struct(node) || is_enum(node)) {
      if (!node.contains("x-cpp")) node["x-cpp"] = node.value("x-tango-name", own);
      std::string cpp = node["x-cpp"];
      Json plain = published(node, true);
      for (const char* key : {"default", "description"}) plain.erase(key);
      auto [it, fresh] = taken_.emplace(cpp, plain.dump());
      if (!fresh && it->second != plain.dump())
        fail(where, "two different types are called " + cpp);
      if (is_enum(node)) return;
      bool shared = node.contains("x-shared");
      std::string inner = shared ? cpp : prefix;
      for (auto& [key, child] : node["properties"].items()) {
        name(child, inner + pascal(key), inner + pascal(key), where + "." + key);
      }
      return;
    }
    for (const char* key : {"items", "additionalProperties"}) {
      if (node.contains(key) && node[key].is_object()) {
        std::string one = singular(own);
        name(node[key], one, one, where + "." + key);
      }
    }
  }

 private:
  std::map<std::string, std::string>& taken_;
};

void lint(const Json& node, const std::string& where, bool described) {
  if (described && node.value("description", std::string()).empty())
    fail(where, "has no description");
  std::string type = node.value("type", std::string());
  if (is_scalar(node)) {
    if (!node.contains("pattern")) fail(where, "an int-or-string needs a pattern");
    return;
  }
  if (type == "string" && !node.contains("enum") && !node.contains("maxLength") &&
      node.value("format", std::string()) != "date-time") {
    fail(where, "a string needs maxLength");
  }
  if (type == "array") {
    if (!node.contains("maxItems")) fail(where, "a list needs maxItems");
    lint(node.at("items"), where + "[]", false);
  }
  if (type == "object" && node.contains("additionalProperties")) {
    if (!node.contains("maxProperties")) fail(where, "a map needs maxProperties");
    lint(node["additionalProperties"], where + "{}", false);
  }
  if (is_struct(node)) {
    for (auto& [key, child] : node["properties"].items()) lint(child, where + "." + key, true);
    for (const auto& key : node.value("required", Json::array())) {
      if (!node["properties"].contains(key.get<std::string>())) {
        fail(where, "requires the unknown field " + key.get<std::string>());
      }
    }
  } else if (type == "object" && !node.contains("additionalProperties") && !is_free(node)) {
    fail(where, "an object needs properties, additionalProperties or preserve-unknown-fields");
  }
  if (type.empty()) fail(where, "has no type");
}

std::vector<std::string> yaml_files(const std::string& dir) {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    if (entry.path().extension() == ".yaml") out.push_back(entry.path().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

// Shared types in an order where each comes after those it uses.
void collect_shared(const Json& node, std::set<std::string>& seen, Json& out) {
  for (const char* key : {"items", "additionalProperties"}) {
    if (node.contains(key) && node[key].is_object()) collect_shared(node[key], seen, out);
  }
  if (node.contains("properties") && !node.contains("x-tango-native")) {
    for (auto& [key, child] : node["properties"].items()) collect_shared(child, seen, out);
  }
  if (node.contains("x-shared") && seen.insert(node["x-cpp"]).second) out.push_back(node);
}

}  // namespace

std::string pascal(const std::string& camel) {
  std::string out = camel;
  if (!out.empty()) out[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(out[0])));
  return out;
}

std::string snake(const std::string& camel) {
  static const std::set<std::string> kReserved{"for",   "in",       "default", "operator", "inline",
                                               "class", "enum",     "union",   "new",      "delete",
                                               "this",  "template", "export",  "switch",   "case"};
  std::string out;
  for (std::size_t i = 0; i < camel.size(); ++i) {
    char c = camel[i];
    if (std::isupper(static_cast<unsigned char>(c)) != 0) {
      bool boundary = i > 0 && (std::islower(static_cast<unsigned char>(camel[i - 1])) != 0 ||
                                std::isdigit(static_cast<unsigned char>(camel[i - 1])) != 0);
      if (boundary) out += '_';
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else {
      out += c;
    }
  }
  if (kReserved.count(out) != 0 && out != "in") out += '_';
  return out;
}

std::string singular(const std::string& word) {
  auto ends = [&](const std::string& tail) {
    return word.size() > tail.size() &&
           word.compare(word.size() - tail.size(), tail.size(), tail) == 0;
  };
  if (ends("ies")) return word.substr(0, word.size() - 3) + "y";
  if (ends("sses")) return word.substr(0, word.size() - 2);
  if (ends("s") && !ends("ss") && !ends("nas")) return word.substr(0, word.size() - 1);
  return word + "Item";
}

bool is_struct(const Json& s) { return s.contains("properties"); }
bool is_enum(const Json& s) { return s.contains("enum"); }
bool is_free(const Json& s) { return s.value("x-kubernetes-preserve-unknown-fields", false); }
bool is_scalar(const Json& s) { return s.value("x-kubernetes-int-or-string", false); }
bool is_required(const Json& object_schema, const std::string& field) {
  for (const auto& r : object_schema.value("required", Json::array())) {
    if (r == field) return true;
  }
  return false;
}

Input load(const std::string& dir) {
  Input input;
  Json definitions = load_yaml(dir + "/common.yaml").at("definitions");
  Expander expander(definitions);
  std::map<std::string, std::string> taken;
  std::set<std::string> seen;
  input.shared = Json::array();
  for (const std::string& path : yaml_files(dir)) {
    std::string stem = std::filesystem::path(path).stem();
    if (stem == "common") continue;
    Kind kind;
    kind.file = stem;
    std::string text = slurp(path);
    if (text.rfind("# ", 0) == 0) kind.comment = text.substr(2, text.find('\n') - 2);
    kind.crd = load_yaml(path);
    const Json& spec = kind.crd.at("spec");
    const Json& names = spec.at("names");
    kind.kind = names.at("kind");
    kind.plural = names.at("plural");
    kind.singular = names.at("singular");
    kind.short_name = names.at("shortNames").at(0);
    kind.cpp = kind.crd.value("x-tango-cpp", kind.kind);
    kind.header = snake(kind.cpp);
    kind.namespaced = spec.at("scope") == "Namespaced";
    kind.schema =
        expander.expand(spec.at("versions").at(0).at("schema").at("openAPIV3Schema"), stem);
    lint(kind.schema, stem, true);
    Namer namer(taken);
    for (auto& [part, node] : kind.schema["properties"].items()) {
      std::string prefix = part == "spec" ? kind.cpp : kind.cpp + pascal(part);
      namer.name(node, prefix, kind.cpp + pascal(part), stem + "." + part);
    }
    for (auto& [part, node] : kind.schema["properties"].items()) {
      collect_shared(node, seen, input.shared);
    }
    input.kinds.push_back(std::move(kind));
  }
  if (std::filesystem::is_directory(dir + "/profiles")) {
    for (const std::string& path : yaml_files(dir + "/profiles")) {
      Json object = load_yaml(path);
      std::string stem = std::filesystem::path(path).stem();
      if (object.at("metadata").at("name") != stem)
        fail(path, "metadata.name differs from the file name");
      input.profiles.push_back({stem, std::move(object)});
    }
  }
  return input;
}

}  // namespace tango::crdgen

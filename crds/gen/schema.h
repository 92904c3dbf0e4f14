// The model that crdgen works on: CRD sources with shared schemas put in place, C++ names decided
// and the house rules checked. Used by the emitters; only crdgen (a build-time program) includes
// this.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tango::crdgen {

using Json = nlohmann::ordered_json;  // keeps the order of the source

// One kind. `schema` is openAPIV3Schema with definitions expanded; every struct and enum carries
// "x-cpp" (type name) and those that several kinds share also "x-shared".
struct Kind {
  std::string file;  // "tangoproject"
  std::string comment;
  std::string kind, plural, singular, short_name, cpp, header;  // header: "tango_project"
  bool namespaced = true;
  Json crd;
  Json schema;
};

struct Profile {
  std::string name;
  Json object;
};

struct Input {
  std::vector<Kind> kinds;
  Json shared;  // definitions that C++ types are made of, in an order where uses come after
                // declarations
  std::vector<Profile> profiles;
};

// Reads DIR/*.yaml and DIR/profiles/*.yaml. Throws std::runtime_error with file and path on any
// breach of the rules (description, bounds, known definition, name clash).
Input load(const std::string& dir);

std::string pascal(const std::string& camel);
std::string snake(const std::string& camel);
std::string singular(const std::string& word);
bool is_struct(const Json& schema);
bool is_enum(const Json& schema);
bool is_free(const Json& schema);    // free-form object
bool is_scalar(const Json& schema);  // int-or-string
bool is_required(const Json& object_schema, const std::string& field);

// Emitters: file name -> content.
using Files = std::map<std::string, std::string>;
void emit_cpp(const Input& input, Files& out);
void emit_crds(const Input& input, Files& out);
void emit_docs(const Input& input, Files& out);

// Block YAML of a value; strings are quoted unless they are plainly words.
std::string to_yaml(const Json& value, int indent = 0);
// The schema without crdgen's own keys; `cel` false also leaves out x-kubernetes-validations.
Json published(const Json& schema, bool cel);
Json published_crd(const Kind& kind, bool cel);

}  // namespace tango::crdgen

// Writes openapi.v2.Document by hand: the message is a public wire format, and only the members
// that our own documents use are needed. Field numbers are those of OpenAPIv2.proto.
#include <cstring>

#include "standalone/openapi.h"

namespace tango::standalone {
namespace {

class Writer {
 public:
  Writer& text(int field, const std::string& v) {
    if (!v.empty()) bytes(field, v);
    return *this;
  }
  Writer& bytes(int field, const std::string& v) {
    varint(static_cast<std::uint64_t>(field) << 3 | 2);
    varint(v.size());
    out_ += v;
    return *this;
  }
  Writer& message(int field, const Writer& m) { return bytes(field, m.out_); }
  Writer& integer(int field, std::int64_t v) {
    varint(static_cast<std::uint64_t>(field) << 3);
    varint(static_cast<std::uint64_t>(v));
    return *this;
  }
  Writer& boolean(int field, bool v) { return v ? integer(field, 1) : *this; }
  Writer& number(int field, double v) {
    varint(static_cast<std::uint64_t>(field) << 3 | 1);
    char raw[8];
    std::memcpy(raw, &v, 8);
    out_.append(raw, 8);
    return *this;
  }
  const std::string& str() const { return out_; }

 private:
  void varint(std::uint64_t v) {
    while (v >= 0x80) {
      out_ += static_cast<char>(v | 0x80);
      v >>= 7;
    }
    out_ += static_cast<char>(v);
  }
  std::string out_;
};

// Any{yaml}: JSON is YAML.
Writer any_of(const Json& v) { return Writer().text(2, dump_json(v) + "\n"); }

void extensions(Writer& w, int field, const Json& from) {
  for (const auto& [key, value] : from.items()) {
    if (key.starts_with("x-")) w.message(field, Writer().text(1, key).message(2, any_of(value)));
  }
}

Writer schema(const Json& s) {
  Writer w;
  w.text(1, get_string(s, "$ref"))
      .text(2, get_string(s, "format"))
      .text(4, get_string(s, "description"));
  if (s.contains("default")) w.message(5, any_of(s["default"]));
  if (get(s, "maximum").is_number()) w.number(7, s["maximum"]);
  if (get(s, "minimum").is_number()) w.number(9, s["minimum"]);
  if (get(s, "maxLength").is_number()) w.integer(11, s["maxLength"]);
  if (get(s, "minLength").is_number()) w.integer(12, s["minLength"]);
  w.text(13, get_string(s, "pattern"));
  if (get(s, "maxItems").is_number()) w.integer(14, s["maxItems"]);
  if (get(s, "minItems").is_number()) w.integer(15, s["minItems"]);
  if (const Json& r = get(s, "required"); r.is_array()) {
    for (const Json& name : r) w.text(19, name);
  }
  if (const Json& e = get(s, "enum"); e.is_array()) {
    for (const Json& v : e) w.message(20, any_of(v));
  }
  if (const Json& a = get(s, "additionalProperties"); a.is_object()) {
    w.message(21, Writer().message(1, schema(a)));
  } else if (a.is_boolean()) {
    w.message(21, Writer().integer(2, a.get<bool>() ? 1 : 0));
  }
  if (std::string t = get_string(s, "type"); !t.empty()) w.message(22, Writer().text(1, t));
  if (const Json& i = get(s, "items"); i.is_object()) w.message(23, Writer().message(1, schema(i)));
  if (const Json& p = get(s, "properties"); p.is_object()) {
    Writer all;
    for (const auto& [key, value] : p.items())
      all.message(1, Writer().text(1, key).message(2, schema(value)));
    w.message(25, all);
  }
  extensions(w, 31, s);
  return w;
}

Writer operation(const Json& o) {
  Writer w;
  w.text(5, get_string(o, "operationId"));
  for (const Json& p : get(o, "parameters")) {
    Writer q;
    q.text(2, "query").text(4, get_string(p, "name")).text(6, get_string(p, "type"));
    // ParametersItem.parameter, Parameter.non_body_parameter,
    // NonBodyParameter.query_parameter_sub_schema
    w.message(8, Writer().message(1, Writer().message(2, Writer().message(3, q))));
  }
  Writer response = Writer().text(1, "200").message(2, Writer().message(1, Writer().text(1, "OK")));
  w.message(9, Writer().message(1, response));
  extensions(w, 13, o);
  return w;
}

}  // namespace

std::string openapi_v2_protobuf(const Json& doc) {
  Writer w;
  w.text(1, "2.0");
  w.message(2, Writer()
                   .text(1, get_string(doc["info"], "title"))
                   .text(2, get_string(doc["info"], "version")));
  Writer paths;
  for (const auto& [path, item] : doc["paths"].items()) {
    Writer p;
    static const std::pair<const char*, int> kVerbs[] = {
        {"get", 2}, {"put", 3}, {"post", 4}, {"delete", 5}, {"patch", 8}};
    for (const auto& [verb, field] : kVerbs) {
      if (item.contains(verb)) p.message(field, operation(item[verb]));
    }
    paths.message(2, Writer().text(1, path).message(2, p));
  }
  w.message(8, paths);
  Writer definitions;
  for (const auto& [name, value] : doc["definitions"].items()) {
    definitions.message(1, Writer().text(1, name).message(2, schema(value)));
  }
  w.message(9, definitions);
  return w.str();
}

}  // namespace tango::standalone

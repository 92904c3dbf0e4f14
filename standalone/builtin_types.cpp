#include "standalone/builtin_types.h"

#include <cstdlib>

#include "lib/base/log.h"

namespace tango::standalone {
namespace {

using Definitions = std::map<std::string, SchemaPtr, std::less<>>;

std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

std::vector<std::string> words(std::string_view s) {
  std::vector<std::string> out;
  while (!(s = trim(s)).empty()) {
    auto end = s.find(' ');
    out.emplace_back(s.substr(0, end));
    s = end == std::string_view::npos ? std::string_view{} : s.substr(end);
  }
  return out;
}

// Parser of builtin_text(); short names are those after the last dot.
class TypeText {
 public:
  Definitions parse(std::string_view text) {
    while (!text.empty()) {
      auto end = text.find('\n');
      std::string_view line = trim(text.substr(0, end));
      text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
      if (line.empty() || line.front() == '#') continue;
      if (line.front() == '@') {
        package_ = trim(line.substr(1));
      } else if (line.front() == '=') {
        finish();
        begin(trim(line.substr(1)));
      } else {
        field(line);
      }
    }
    finish();
    return std::move(definitions_);
  }

 private:
  void begin(std::string_view line) {
    auto bar = line.find('|');
    auto head = words(line.substr(0, bar));
    current_ = std::make_shared<Schema>();
    current_->type = SchemaType::kObject;
    current_->built_in_struct = true;
    current_->ref = package_ + "." + head.at(0);
    short_ = head[0];
    for (std::size_t i = 1; i < head.size(); ++i) {
      if (head[i] == "atomic") current_->atomic_map = true;
      if (head[i] == "root") root_fields();
    }
    if (bar != std::string_view::npos) current_->description = trim(line.substr(bar + 1));
  }

  void root_fields() {
    field("apiVersion string | The version of this object's schema, as group/version.");
    field("kind string | The kind of this object.");
    field("metadata ObjectMeta | Standard object metadata.");
  }

  void finish() {
    if (!current_) return;
    definitions_[current_->ref] = current_;
    names_[short_] = current_;
    current_.reset();
  }

  SchemaPtr type(std::string_view t) {
    auto s = std::make_shared<Schema>();
    if (t.starts_with("[]")) {
      s->type = SchemaType::kArray;
      s->items = type(t.substr(2));
      return s;
    }
    if (t.starts_with("map[]")) {
      s->type = SchemaType::kObject;
      s->additional = type(t.substr(5));
      return s;
    }
    if (t == "string") {
      s->type = SchemaType::kString;
    } else if (t == "int" || t == "int64") {
      s->type = SchemaType::kInteger;
      s->format = t == "int" ? "int32" : "int64";
    } else if (t == "bool") {
      s->type = SchemaType::kBoolean;
    } else if (t == "number") {
      s->type = SchemaType::kNumber;
    } else if (t == "time") {
      s->type = SchemaType::kString;
      s->format = "date-time";
    } else if (t == "bytes") {
      s->type = SchemaType::kString;
      s->format = "byte";
    } else if (t == "quantity" || t == "intOrString") {
      s->type = SchemaType::kAny;
      s->int_or_string = true;
      s->format = t == "quantity" ? "quantity" : "int-or-string";
    } else if (t == "object") {
      s->type = SchemaType::kObject;
      s->preserve_unknown = true;
    } else if (t == "any") {
      s->preserve_unknown = true;
    } else {
      auto it = names_.find(t);
      if (it == names_.end()) {
        log_error("Built-in type text names an unknown type", {{"type", t}});
        std::abort();
      }
      return it->second;
    }
    return s;
  }

  void field(std::string_view line) {
    auto bar = line.find(" | ");
    auto w = words(line.substr(0, bar));
    bool required = w.at(1).ends_with('!');
    std::string_view t = w[1];
    if (required) t.remove_suffix(1);
    auto s = std::make_shared<Schema>(*type(t));
    if (bar != std::string_view::npos) s->description = trim(line.substr(bar + 3));
    for (std::size_t i = 2; i < w.size(); ++i) {
      std::string_view o = w[i];
      if (o.starts_with("merge=")) {
        s->merge_list = true;
        s->merge_key = o.substr(6);
        if (s->list_keys.empty()) {
          s->list = ListType::kMap;
          s->list_keys = {s->merge_key};
        }
      } else if (o.starts_with("keys=")) {
        s->list = ListType::kMap;
        s->list_keys.clear();
        std::string_view keys = o.substr(5);
        while (!keys.empty()) {
          auto comma = keys.find(',');
          s->list_keys.emplace_back(keys.substr(0, comma));
          keys = comma == std::string_view::npos ? std::string_view{} : keys.substr(comma + 1);
        }
      } else if (o == "set") {
        s->list = ListType::kSet;
        s->merge_list = true;
      } else if (o == "retain") {
        s->retain_keys = true;
      } else if (o == "atomic") {
        s->atomic_map = true;
      } else if (o.starts_with("def=")) {
        s->default_value = Json::parse(o.substr(4));
      }
    }
    if (required) current_->required.emplace_back(w[0]);
    current_->properties[w[0]] = s;
  }

  std::string package_;
  std::string short_;
  std::shared_ptr<Schema> current_;
  Definitions definitions_;
  std::map<std::string, SchemaPtr, std::less<>> names_;
};

}  // namespace

const Definitions& builtin_definitions() {
  static const Definitions all = TypeText().parse(builtin_text());
  return all;
}

SchemaPtr builtin_type(std::string_view definition) {
  auto it = builtin_definitions().find(definition);
  return it == builtin_definitions().end() ? nullptr : it->second;
}

const SchemaPtr& object_meta_schema() {
  static const SchemaPtr meta = builtin_type("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
  return meta;
}

}  // namespace tango::standalone

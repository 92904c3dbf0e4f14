#include "lib/kube-types/reader.h"

#include <simdjson.h>

#include <limits>

namespace tango::kube {

namespace od = simdjson::ondemand;

// Not a real class: a JsonCursor& is a reference to simdjson's value, so that nothing is copied.
namespace {

od::value& value_of(JsonCursor& in) { return reinterpret_cast<od::value&>(in); }
JsonCursor& cursor(od::value& v) { return reinterpret_cast<JsonCursor&>(v); }

bool bad_json(ReadContext& ctx, simdjson::error_code code) {
  return ctx.fail("InvalidJson", simdjson::error_message(code));
}

bool wrong_type(ReadContext& ctx, std::string_view wanted, simdjson::error_code code) {
  if (code == simdjson::INCORRECT_TYPE || code == simdjson::NUMBER_ERROR ||
      code == simdjson::NUMBER_OUT_OF_RANGE) {
    return ctx.fail("WrongType", "must be " + std::string(wanted));
  }
  return bad_json(ctx, code);
}

bool convert(od::value& in, Json& out, ReadContext& ctx, int depth) {
  constexpr int kMaxDepth = 64;
  if (depth > kMaxDepth) return ctx.fail("JsonTooDeep", "is nested too deeply");
  od::json_type type{};
  if (auto code = in.type().get(type)) return bad_json(ctx, code);
  switch (type) {
    case od::json_type::object: {
      out = Json::object();
      od::object object;
      if (auto code = in.get_object().get(object)) return bad_json(ctx, code);
      for (auto item : object) {
        od::field field;
        if (auto code = std::move(item).get(field)) return bad_json(ctx, code);
        std::string_view key;
        if (auto code = field.unescaped_key().get(key)) return bad_json(ctx, code);
        Json& member = out[std::string(key)];
        if (!convert(field.value(), member, ctx, depth + 1)) return ctx.at(key);
      }
      return true;
    }
    case od::json_type::array: {
      out = Json::array();
      od::array array;
      if (auto code = in.get_array().get(array)) return bad_json(ctx, code);
      for (auto item : array) {
        od::value element;
        if (auto code = std::move(item).get(element)) return bad_json(ctx, code);
        out.push_back(nullptr);
        if (!convert(element, out.back(), ctx, depth + 1)) return ctx.at_index(out.size() - 1);
      }
      return true;
    }
    case od::json_type::number: {
      od::number number;
      if (auto code = in.get_number().get(number)) return bad_json(ctx, code);
      if (number.is_int64()) {
        out = number.get_int64();
      } else if (number.is_uint64()) {
        out = number.get_uint64();
      } else {
        out = number.get_double();
      }
      return true;
    }
    case od::json_type::string: {
      std::string_view text;
      if (auto code = in.get_string().get(text)) return bad_json(ctx, code);
      out = std::string(text);
      return true;
    }
    case od::json_type::boolean: {
      bool flag = false;
      if (auto code = in.get_bool().get(flag)) return bad_json(ctx, code);
      out = flag;
      return true;
    }
    case od::json_type::null:
      out = nullptr;
      bool null = false;
      return !in.is_null().get(null) || ctx.fail("InvalidJson", "is not a JSON value");
  }
  return ctx.fail("InvalidJson", "is not a JSON value");
}

}  // namespace

bool ReadContext::at(std::string_view key) {
  std::string step(key);
  if (key.find('.') != std::string_view::npos || key.find('/') != std::string_view::npos) {
    step = "[" + step + "]";
  }
  path = path.empty() || path[0] == '[' ? step + path : step + "." + path;
  return false;
}

bool ReadContext::at_index(std::size_t index) {
  std::string step = "[" + std::to_string(index) + "]";
  path = path.empty() || path[0] == '[' ? step + path : step + "." + path;
  return false;
}

bool read_fields(JsonCursor& in, FunctionRef<bool(std::string_view, JsonCursor&)> field,
                 ReadContext& ctx) {
  od::object object;
  if (auto code = value_of(in).get_object().get(object)) {
    return wrong_type(ctx, "an object", code);
  }
  for (auto item : object) {
    od::field member;
    if (auto code = std::move(item).get(member)) return bad_json(ctx, code);
    std::string_view key;
    if (auto code = member.unescaped_key().get(key)) return bad_json(ctx, code);
    bool null = false;
    if (auto code = member.value().is_null().get(null)) return bad_json(ctx, code);
    if (null) continue;
    if (!field(key, cursor(member.value()))) return false;
  }
  return true;
}

bool read_items(JsonCursor& in, FunctionRef<bool(JsonCursor&)> item, ReadContext& ctx) {
  od::array array;
  if (auto code = value_of(in).get_array().get(array)) return wrong_type(ctx, "a list", code);
  for (auto element : array) {
    od::value value;
    if (auto code = std::move(element).get(value)) return bad_json(ctx, code);
    if (!item(cursor(value))) return false;
  }
  return true;
}

bool read(JsonCursor& in, std::string& out, ReadContext& ctx) {
  std::string_view text;
  if (auto code = value_of(in).get_string().get(text)) return wrong_type(ctx, "a string", code);
  out.assign(text);
  return true;
}

bool read(JsonCursor& in, bool& out, ReadContext& ctx) {
  if (auto code = value_of(in).get_bool().get(out)) return wrong_type(ctx, "true or false", code);
  return true;
}

bool read(JsonCursor& in, std::int64_t& out, ReadContext& ctx) {
  if (auto code = value_of(in).get_int64().get(out)) {
    return wrong_type(ctx, "a whole number", code);
  }
  return true;
}

bool read(JsonCursor& in, std::int32_t& out, ReadContext& ctx) {
  std::int64_t wide = 0;
  if (!read(in, wide, ctx)) return false;
  if (wide < std::numeric_limits<std::int32_t>::min() ||
      wide > std::numeric_limits<std::int32_t>::max()) {
    return ctx.fail("WrongType", "is out of range for a 32-bit number");
  }
  out = static_cast<std::int32_t>(wide);
  return true;
}

bool read(JsonCursor& in, double& out, ReadContext& ctx) {
  if (auto code = value_of(in).get_double().get(out)) return wrong_type(ctx, "a number", code);
  return true;
}

bool read(JsonCursor& in, TimePoint& out, ReadContext& ctx) {
  std::string text;
  if (!read(in, text, ctx)) return false;
  auto time = parse_time(text);
  if (!time.ok()) return ctx.fail("WrongType", time.error().message);
  out = *time;
  return true;
}

bool read(JsonCursor& in, Json& out, ReadContext& ctx) {
  return convert(value_of(in), out, ctx, 0);
}

bool read_scalar(JsonCursor& in, std::string& out, ReadContext& ctx) {
  od::json_type type{};
  if (auto code = value_of(in).type().get(type)) return bad_json(ctx, code);
  if (type == od::json_type::string) return read(in, out, ctx);
  if (type != od::json_type::number) {
    return ctx.fail("WrongType", "must be a string or a whole number");
  }
  std::int64_t number = 0;
  if (auto code = value_of(in).get_int64().get(number)) {
    return wrong_type(ctx, "a string or a whole number", code);
  }
  out = std::to_string(number);
  return true;
}

bool read_scalar_map(JsonCursor& in, std::map<std::string, std::string>& out, ReadContext& ctx) {
  out.clear();
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& value) {
        return read_scalar(value, out[std::string(key)], ctx) || ctx.at(key);
      },
      ctx);
}

Status read_text(std::string_view json, FunctionRef<bool(JsonCursor&, ReadContext&)> read_root) {
  // One parser and buffer per thread: objects come by the thousand and are all of a similar size.
  constexpr std::size_t kKeep = 1u << 20;
  thread_local od::parser parser;
  thread_local std::string buffer;
  buffer.reserve(json.size() + simdjson::SIMDJSON_PADDING);
  buffer.assign(json);
  ReadContext ctx;
  bool ok = false;
  try {
    od::document document;
    auto code =
        parser
            .iterate(simdjson::padded_string_view(buffer.data(), buffer.size(), buffer.capacity()))
            .get(document);
    od::value root;
    if (!code) code = document.get_value().get(root);
    if (code) {
      bad_json(ctx, code);
    } else {
      ok = read_root(cursor(root), ctx);
      if (ok && document.current_location().error() != simdjson::OUT_OF_BOUNDS)
        ok = ctx.fail("InvalidJson", "there is text after the value");
    }
  } catch (const std::exception& e) {
    ok = ctx.fail("InvalidJson", e.what());
  }
  if (buffer.capacity() > kKeep) std::string().swap(buffer);
  if (ok) return ok_status();
  std::string where = ctx.path.empty() ? "the object" : ctx.path;
  return make_error(Code::kInvalid, ctx.reason, where + " " + ctx.problem);
}

}  // namespace tango::kube

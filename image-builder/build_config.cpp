#include "image-builder/build_config.h"

#include <algorithm>
#include <initializer_list>
#include <optional>

namespace tango::builder {
namespace {

constexpr std::string_view kEngine = "OpenCV";

Status known(const Json& object, std::string_view path,
             std::initializer_list<std::string_view> keys) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      return make_error(Code::kInvalid, "UnknownField",
                        "unknown key " + std::string(path) + key + " in the build configuration");
    }
  }
  return ok_status();
}

Error wrong_type(std::string_view path, std::string_view wanted) {
  return make_error(Code::kInvalid, "WrongType",
                    std::string(path) + " must be " + std::string(wanted));
}

// The member as an object; an empty one when it is absent.
Result<Json> section(const Json& config, std::string_view key,
                     std::initializer_list<std::string_view> keys) {
  const Json& value = get(config, key);
  if (value.is_null()) return Json(Json::object());
  if (!value.is_object()) return wrong_type(key, "an object");
  TRY(known(value, std::string(key) + ".", keys));
  return Json(value);
}

Result<std::string> text(const Json& object, std::string_view key, std::string_view path,
                         std::string_view fallback) {
  const Json& value = get(object, key);
  if (value.is_null()) return std::string(fallback);
  if (!value.is_string()) return wrong_type(std::string(path) + std::string(key), "a string");
  return value.get<std::string>();
}

Result<std::uint64_t> count(const Json& object, std::string_view key, std::string_view path) {
  const Json& value = get(object, key);
  if (value.is_null()) return std::uint64_t{0};
  if (!value.is_number_integer() || value.get<std::int64_t>() < 0) {
    return wrong_type(std::string(path) + std::string(key), "an integer >= 0");
  }
  return value.get<std::uint64_t>();
}

Result<std::vector<std::string>> texts(const Json& object, std::string_view key,
                                       std::string_view path) {
  std::vector<std::string> out;
  const Json& value = get(object, key);
  if (value.is_null()) return out;
  const std::string where = std::string(path) + std::string(key);
  if (!value.is_array()) return wrong_type(where, "a list of strings");
  for (const Json& entry : value) {
    if (!entry.is_string()) return wrong_type(where, "a list of strings");
    out.push_back(entry.get<std::string>());
  }
  return out;
}

}  // namespace

Result<artifacts::BundleSpec> parse_build_config(const Json& config) {
  if (!config.is_object()) return wrong_type("config", "an object");
  TRY(known(
      config, "",
      {"id", "target", "version", "entry", "io", "healthGate", "resources", "sandbox", "licence"}));
  artifacts::BundleSpec spec;
  TRY_ASSIGN(spec.id, require_string(config, "id", "config"));

  TRY_ASSIGN(const Json target, section(config, "target", {"profile", "arch", "os", "engine"}));
  TRY_ASSIGN(spec.target.profile, text(target, "profile", "target.", ""));
  TRY_ASSIGN(spec.target.arch, text(target, "arch", "target.", "amd64"));
  TRY_ASSIGN(spec.target.os, text(target, "os", "target.", "linux"));
  TRY_ASSIGN(spec.target.engine, text(target, "engine", "target.", kEngine));
  if (spec.target.engine != kEngine) {
    return make_error(Code::kUnsupported, "Unsupported",
                      "target.engine " + spec.target.engine + " is not supported yet; use " +
                          std::string(kEngine));
  }
  if (spec.target.os != "linux") {
    return make_error(Code::kUnsupported, "Unsupported",
                      "target.os " + spec.target.os + " is not supported; bundles are for linux");
  }

  TRY_ASSIGN(const Json version, section(config, "version", {"display", "security"}));
  TRY_ASSIGN(spec.display_version, text(version, "display", "version.", "1"));
  TRY_ASSIGN(spec.security_version, count(version, "security", "version."));

  spec.entry = {{"bin/tango-infer", "serve", "--bundle", "."}, "http", "/readyz"};
  TRY_ASSIGN(const Json entry, section(config, "entry", {"argv", "listen", "readyPath"}));
  if (!entry.empty()) {
    TRY_ASSIGN(auto argv, texts(entry, "argv", "entry."));
    if (!argv.empty()) spec.entry.argv = std::move(argv);
    TRY_ASSIGN(spec.entry.listen, text(entry, "listen", "entry.", "http"));
    TRY_ASSIGN(spec.entry.ready_path,
               text(entry, "readyPath", "entry.", spec.entry.listen == "http" ? "/readyz" : ""));
  }

  TRY_ASSIGN(const Json resources, section(config, "resources", {"memoryBytes", "cpuMillis"}));
  TRY_ASSIGN(spec.resources.memory_bytes, count(resources, "memoryBytes", "resources."));
  TRY_ASSIGN(spec.resources.cpu_millis, count(resources, "cpuMillis", "resources."));

  TRY_ASSIGN(const Json sandbox, section(config, "sandbox", {"network", "devices", "profile"}));
  TRY_ASSIGN(spec.sandbox.network, text(sandbox, "network", "sandbox.", spec.sandbox.network));
  TRY_ASSIGN(spec.sandbox.devices, texts(sandbox, "devices", "sandbox."));
  TRY_ASSIGN(spec.sandbox.profile, text(sandbox, "profile", "sandbox.", spec.sandbox.profile));

  if (const Json& gate = get(config, "healthGate"); !gate.is_null()) {
    TRY_ASSIGN(spec.health_gate, artifacts::parse_health_gate(gate));
  }
  if (const Json& io = get(config, "io"); !io.is_null()) {
    if (!io.is_object()) return wrong_type("io", "an object");
    spec.io = io;
  }
  TRY_ASSIGN(spec.licence, text(config, "licence", "", ""));
  return spec;
}

}  // namespace tango::builder

#include "lib/artifacts/bundle.h"

#include <algorithm>
#include <set>

#include "lib/artifacts/chunk.h"
#include "lib/artifacts/strict.h"

namespace tango::artifacts {
namespace {

constexpr std::string_view kReason = "IndexInvalid";
constexpr std::uint64_t kMaxAmount = kMaxJsonInteger;

bool is_id(std::string_view text) {
  return !text.empty() && text.size() <= 253 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '/' ||
           c == '-';
  });
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    auto u = static_cast<unsigned char>(c);
    return u < 0x20 || u == 0x7f;
  });
}

// Where a link leads, as a path of the tree; nullopt when it leaves the tree.
std::optional<std::string> resolve_link(const BundleLink& link) {
  std::vector<std::string> parts;
  auto walk = [&](std::string_view text) {
    for (std::size_t at = 0; at <= text.size();) {
      std::size_t end = std::min(text.find('/', at), text.size());
      std::string_view part = text.substr(at, end - at);
      if (part == "..") {
        if (parts.empty()) return false;
        parts.pop_back();
      } else if (!part.empty() && part != ".") {
        parts.emplace_back(part);
      }
      at = end + 1;
    }
    return true;
  };
  std::size_t slash = link.path.rfind('/');
  if (slash != std::string::npos && !walk(std::string_view(link.path).substr(0, slash))) {
    return std::nullopt;
  }
  if (link.target.empty() || link.target.front() == '/' || !walk(link.target)) return std::nullopt;
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : "/") + part;
  return out;
}

Status check_links(const BundleIndex& index) {
  std::set<std::string> known;
  std::map<std::string, std::string> leads;
  for (const BundleFile& f : index.files) known.insert(f.path);
  for (const BundleLink& l : index.links) {
    auto unsafe = [&](std::string why) {
      return make_error(
          Code::kDenied, "PathUnsafe",
          "the link \"" + l.path + "\" to \"" + l.target.substr(0, 128) + "\" " + std::move(why));
    };
    if (l.target.size() > 512 || has_control(l.target) ||
        l.target.find('\\') != std::string::npos) {
      return unsafe("has an unsafe target");
    }
    auto to = resolve_link(l);
    if (!to) return unsafe("leaves the bundle");
    leads[l.path] = *to;
  }
  for (const auto& [path, first] : leads) {
    std::string at = first;
    for (std::size_t hops = 0; !known.contains(at); ++hops) {
      auto next = leads.find(at);
      if (next == leads.end() || hops > leads.size()) {
        return make_error(Code::kDenied, "PathUnsafe",
                          "the link \"" + path + "\" does not lead to a file of the bundle");
      }
      at = next->second;
    }
  }
  return ok_status();
}

// Every rule that is not about the form of the JSON.
Status check_rules(const BundleIndex& index, const BundleLimits& limits) {
  auto bad = [](std::string why) { return make_error(Code::kInvalid, kReason, std::move(why)); };
  if (!is_id(index.id)) return bad("id must be 1-253 of a-z 0-9 . _ / -");
  if (index.display_version.empty() || index.display_version.size() > 128 ||
      has_control(index.display_version)) {
    return bad("version.display must have 1-128 printable bytes");
  }
  const auto& t = index.target;
  if (t.arch != "amd64" && t.arch != "arm64" && t.arch != "armv7") {
    return bad("target.arch \"" + t.arch + "\" must be amd64, arm64 or armv7");
  }
  if (t.os != "linux") return bad("target.os must be linux");
  if (index.files.empty() || index.files.size() > limits.max_files) {
    return bad("files must have 1 to " + std::to_string(limits.max_files) + " entries");
  }
  if (index.links.size() > limits.max_links) return bad("links has too many entries");
  std::vector<std::string> paths;
  std::uint64_t total = 0;
  for (const BundleFile& f : index.files) {
    if (!paths.empty() && f.path < paths.back()) return bad("files must be sorted by path");
    if (f.mode != kPlainMode && f.mode != kExecutableMode) {
      return bad("the mode of \"" + f.path.substr(0, 128) + "\" must be 420 or 493");
    }
    if (f.size > limits.max_file_bytes) return bad("the file \"" + f.path + "\" is too large");
    total += f.size;
    paths.push_back(f.path);
  }
  if (total > limits.max_total_bytes) return bad("the files are too large together");
  if (total != index.total_bytes) return bad("chunks.bytes is not the sum of all file sizes");
  if ((total == 0) != (index.chunk_count == 0) || index.chunk_count > total) {
    return bad("chunks.count does not fit the files");
  }
  for (std::size_t i = 0; i < index.links.size(); ++i) {
    if (i > 0 && index.links[i].path < index.links[i - 1].path) {
      return bad("links must be sorted by path");
    }
    paths.push_back(index.links[i].path);
  }
  TRY(check_paths(paths, limits));
  TRY(check_links(index));
  const auto& e = index.entry;
  if (e.argv.empty() || e.argv.size() > limits.max_argv)
    return bad("entry.argv must have 1-64 items");
  for (const std::string& a : e.argv) {
    if (a.size() > limits.max_argument_bytes || a.find('\0') != std::string::npos) {
      return bad("entry.argv has an argument that is too long or holds NUL");
    }
  }
  auto program = std::find_if(index.files.begin(), index.files.end(),
                              [&](const BundleFile& f) { return f.path == e.argv[0]; });
  if (program == index.files.end() || program->mode != kExecutableMode) {
    return bad("entry.argv[0] \"" + e.argv[0].substr(0, 128) +
               "\" must be an executable file of the bundle");
  }
  if (e.listen != "http" && e.listen != "none") return bad("entry.listen must be http or none");
  if ((e.listen == "http") != !e.ready_path.empty()) {
    return bad("entry.readyPath belongs to listen http, and is required there");
  }
  if (!e.ready_path.empty() &&
      (e.ready_path[0] != '/' || e.ready_path.size() > 256 || has_control(e.ready_path) ||
       e.ready_path.find(' ') != std::string::npos)) {
    return bad("entry.readyPath must be an absolute path without spaces");
  }
  const auto& s = index.sandbox;
  if (s.network != "None" && s.network != "Loopback" && s.network != "Host") {
    return bad("sandbox.network must be None, Loopback or Host");
  }
  if (s.devices.size() > 32) return bad("sandbox.devices has more than 32 entries");
  for (const std::string& d : s.devices) {
    if (d.rfind("/dev/", 0) != 0 || d.find("..") != std::string::npos || has_control(d)) {
      return bad("sandbox.devices must name paths below /dev");
    }
  }
  if (!index.io.is_object() || dump_json(index.io).size() > limits.max_io_bytes) {
    return bad("io must be an object of at most 16 KiB");
  }
  return ok_status();
}

Json encode_files(const BundleIndex& index) {
  Json files = Json::array();
  for (const BundleFile& f : index.files) {
    files.push_back(
        Json{{"path", f.path}, {"mode", f.mode}, {"size", f.size}, {"sha256", f.sha256.hex()}});
  }
  return files;
}

void parse_files(StrictObject& doc, BundleIndex& index, const BundleLimits& limits) {
  std::size_t i = 0;
  for (const Json& item : doc.array("files", limits.max_files)) {
    StrictObject o(item, "files[" + std::to_string(i++) + "]", kReason);
    BundleFile f{o.text("path", 1, limits.max_path_bytes),
                 static_cast<std::uint32_t>(o.number("mode", 07777)),
                 o.number("size", limits.max_file_bytes), o.digest_hex("sha256")};
    doc.nest(o.finish());
    if (!doc.ok()) return;
    index.files.push_back(std::move(f));
  }
  i = 0;
  for (const Json& item : doc.array("links", limits.max_links)) {
    StrictObject o(item, "links[" + std::to_string(i++) + "]", kReason);
    BundleLink l{o.text("path", 1, limits.max_path_bytes),
                 o.text("target", 1, limits.max_path_bytes)};
    doc.nest(o.finish());
    if (!doc.ok()) return;
    index.links.push_back(std::move(l));
  }
}

}  // namespace

Json encode(const HealthGate& g) {
  return Json{{"goldenSamples", g.golden_samples},
              {"latencyUs", g.latency_us},
              {"memoryBytes", g.memory_bytes},
              {"warmupMs", g.warmup_ms},
              {"soakMs", g.soak_ms}};
}

Result<HealthGate> parse_health_gate(const Json& value, HealthGate base) {
  StrictObject o(value, "healthGate", kReason);
  if (o.has("goldenSamples")) base.golden_samples = o.boolean("goldenSamples");
  if (o.has("latencyUs")) base.latency_us = o.number("latencyUs");
  if (o.has("memoryBytes")) base.memory_bytes = o.number("memoryBytes");
  if (o.has("warmupMs")) base.warmup_ms = o.number("warmupMs");
  if (o.has("soakMs")) base.soak_ms = o.number("soakMs");
  TRY(o.finish());
  return base;
}

std::vector<std::uint64_t> BundleIndex::file_sizes() const {
  std::vector<std::uint64_t> sizes;
  sizes.reserve(files.size());
  for (const BundleFile& f : files) sizes.push_back(f.size);
  return sizes;
}

Result<std::string> encode_index(const BundleIndex& index, const BundleLimits& limits) {
  TRY(check_rules(index, limits));
  Json links = Json::array();
  for (const BundleLink& l : index.links) {
    links.push_back(Json{{"path", l.path}, {"target", l.target}});
  }
  Json entry{{"argv", index.entry.argv}, {"listen", index.entry.listen}};
  if (!index.entry.ready_path.empty()) entry["readyPath"] = index.entry.ready_path;
  Json doc{
      {"type", kIndexType},
      {"id", index.id},
      {"version", {{"display", index.display_version}, {"security", index.security_version}}},
      {"target",
       {{"arch", index.target.arch},
        {"os", index.target.os},
        {"engine", index.target.engine},
        {"profile", index.target.profile}}},
      {"files", encode_files(index)},
      {"links", std::move(links)},
      {"chunks",
       {{"digest", index.chunk_list.to_string()},
        {"count", index.chunk_count},
        {"bytes", index.total_bytes}}},
      {"entry", std::move(entry)},
      {"resources",
       {{"memoryBytes", index.resources.memory_bytes}, {"cpuMillis", index.resources.cpu_millis}}},
      {"sandbox",
       {{"network", index.sandbox.network},
        {"devices", index.sandbox.devices},
        {"profile", index.sandbox.profile}}},
      {"healthGate", encode(index.health_gate)},
      {"io", index.io}};
  if (index.model) doc["model"] = index.model->to_string();
  if (!index.licence.empty()) doc["licence"] = index.licence;
  if (index.sbom) doc["sbom"] = index.sbom->to_string();
  TRY_ASSIGN(std::string bytes, canonical_json(doc));
  // Reading it back catches what only the parser checks (lengths, integer ranges).
  TRY(parse_index(bytes, limits));
  return bytes;
}

Result<BundleIndex> parse_index(std::string_view bytes, const BundleLimits& limits) {
  TRY_ASSIGN(Json json, parse_canonical(bytes, limits.max_index_bytes, kReason, "bundle index"));
  BundleIndex index;
  StrictObject doc(json, "", kReason);
  doc.expect("type", kIndexType);
  index.id = doc.text("id", 1, 253);
  {
    StrictObject o(doc.object("version"), "version", kReason);
    index.display_version = o.text("display", 1, 128);
    index.security_version = o.number("security");
    doc.nest(o.finish());
  }
  {
    StrictObject o(doc.object("target"), "target", kReason);
    index.target = {o.text("arch", 1, 16), o.text("os", 1, 16), o.text("engine", 0, 64),
                    o.text("profile", 0, 64)};
    doc.nest(o.finish());
  }
  if (doc.has("model")) index.model = doc.digest("model");
  parse_files(doc, index, limits);
  {
    StrictObject o(doc.object("chunks"), "chunks", kReason);
    index.chunk_list = o.digest("digest");
    index.chunk_count = o.number("count", (kMaxChunkListBytes - 24) / 36);
    index.total_bytes = o.number("bytes", limits.max_total_bytes);
    doc.nest(o.finish());
  }
  {
    StrictObject o(doc.object("entry"), "entry", kReason);
    index.entry.argv = o.texts("argv", limits.max_argv, limits.max_argument_bytes);
    index.entry.listen = o.text("listen", 1, 16);
    if (o.has("readyPath")) index.entry.ready_path = o.text("readyPath", 1, 256);
    doc.nest(o.finish());
  }
  {
    StrictObject o(doc.object("resources"), "resources", kReason);
    index.resources = {o.number("memoryBytes", kMaxAmount), o.number("cpuMillis", kMaxAmount)};
    doc.nest(o.finish());
  }
  {
    StrictObject o(doc.object("sandbox"), "sandbox", kReason);
    index.sandbox.network = o.text("network", 1, 16);
    index.sandbox.devices = o.texts("devices", 32, 256);
    index.sandbox.profile = o.text("profile", 1, 64);
    doc.nest(o.finish());
  }
  auto gate = parse_health_gate(doc.object("healthGate"));
  if (doc.object("healthGate").size() != 5) {
    doc.fail("healthGate",
             "must have all of its five members");  // only a configuration leaves some out
  } else if (gate.ok()) {
    index.health_gate = *gate;
  } else {
    doc.nest(gate.error());
  }
  index.io = doc.object("io");
  if (doc.has("licence")) index.licence = doc.text("licence", 1, 128);
  if (doc.has("sbom")) index.sbom = doc.digest("sbom");
  TRY(doc.finish());
  TRY(check_rules(index, limits));
  return index;
}

Result<std::string> encode_config(const DeviceConfig& config) {
  Json doc = Json::object();
  if (config.health_gate) doc["healthGate"] = *config.health_gate;
  if (config.port) doc["listen"] = Json{{"port", *config.port}};
  if (!config.args.empty()) doc["args"] = config.args;
  if (!config.env.empty()) doc["env"] = config.env;
  if (!config.parameters.empty()) doc["parameters"] = config.parameters;
  TRY_ASSIGN(std::string bytes, canonical_json(doc));
  TRY(parse_config(bytes));
  return bytes;
}

Result<DeviceConfig> parse_config(std::string_view bytes, const BundleLimits& limits) {
  constexpr std::string_view reason = "ConfigInvalid";
  TRY_ASSIGN(Json json, parse_canonical(bytes, limits.max_config_bytes, reason, "configuration"));
  DeviceConfig config;
  StrictObject doc(json, "", reason);
  if (doc.has("healthGate")) {
    config.health_gate = doc.object("healthGate");
    if (auto gate = parse_health_gate(*config.health_gate); !gate.ok()) {
      doc.fail("healthGate", "is not valid: " + gate.error().message);
    }
  }
  if (doc.has("listen")) {
    StrictObject o(doc.object("listen"), "listen", reason);
    config.port = static_cast<std::uint16_t>(o.number("port", 65535));
    doc.nest(o.finish());
  }
  if (doc.has("args")) config.args = doc.texts("args", limits.max_argv, limits.max_argument_bytes);
  for (const std::string& a : config.args) {
    if (a.find('\0') != std::string::npos) doc.fail("args", "must not hold NUL");
  }
  if (doc.has("env")) {
    for (const auto& [key, value] : doc.object("env").items()) {
      bool name =
          !key.empty() && key.size() <= 128 && std::all_of(key.begin(), key.end(), [](char c) {
            return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                   c == '_';
          });
      // The loader's variables decide what code runs: they belong to the agent.
      if (!name || key.rfind("LD_", 0) == 0 || !value.is_string() ||
          value.get_ref<const std::string&>().size() > limits.max_argument_bytes ||
          value.get_ref<const std::string&>().find('\0') != std::string::npos) {
        doc.fail("env", "has an entry that is not allowed: " + key.substr(0, 64));
        break;
      }
      config.env[key] = value.get<std::string>();
    }
  }
  if (doc.has("parameters")) config.parameters = doc.object("parameters");
  TRY(doc.finish());
  return config;
}

}  // namespace tango::artifacts

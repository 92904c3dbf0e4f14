// The bundle index (docs/formats/bundle.md): what a release consists of and needs. The builder
// writes it, the signer signs its exact bytes, the agent refuses everything that breaks its rules.
// A BundleIndex that came from parse_index() keeps all of them; it never touches the files
// themselves.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/digest.h"
#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::artifacts {

inline constexpr std::string_view kIndexType = "application/vnd.ml-tango.bundle-index.v1+json";
inline constexpr std::string_view kChunkListType = "application/vnd.ml-tango.chunk-list.v1";
inline constexpr std::string_view kBundleFileType = "application/vnd.ml-tango.bundle-file.v1";

// All limits of a bundle in one place.
struct BundleLimits {
  std::size_t max_index_bytes = 1u << 20;
  std::size_t max_files = 4096;
  std::size_t max_links = 1024;
  std::size_t max_path_bytes = 512;
  std::size_t max_depth = 16;
  std::uint64_t max_file_bytes = 4ull << 30;
  std::uint64_t max_total_bytes = 16ull << 30;
  std::size_t max_argv = 64;
  std::size_t max_argument_bytes = 4096;
  std::size_t max_io_bytes = 16u << 10;
  std::size_t max_config_bytes = 64u << 10;
};

inline constexpr std::uint32_t kPlainMode = 0644;
inline constexpr std::uint32_t kExecutableMode = 0755;

struct BundleFile {
  std::string path;
  std::uint32_t mode = kPlainMode;
  std::uint64_t size = 0;
  Digest sha256;
  bool operator==(const BundleFile&) const = default;
};
struct BundleLink {
  std::string path;
  std::string target;  // relative to the folder of `path`
  bool operator==(const BundleLink&) const = default;
};
struct BundleTarget {
  std::string arch = "amd64";  // amd64 | arm64 | armv7
  std::string os = "linux";
  std::string engine;
  std::string profile;
};
struct BundleEntry {
  std::vector<std::string> argv;
  std::string listen = "none";  // http | none
  std::string ready_path;       // with http
};
struct BundleResources {
  std::uint64_t memory_bytes = 0;
  std::uint64_t cpu_millis = 0;
};
struct BundleSandbox {
  std::string network = "Loopback";  // None | Loopback | Host
  std::vector<std::string> devices;
  std::string profile = "default";
};
struct HealthGate {
  bool golden_samples = true;
  std::uint64_t latency_us = 0;  // p95 of the self-measurement; 0: no limit
  std::uint64_t memory_bytes = 0;
  std::uint64_t warmup_ms = 0;
  std::uint64_t soak_ms = 0;
  bool operator==(const HealthGate&) const = default;
};
Json encode(const HealthGate& gate);
// Members that are absent keep the value of `base`. Errors: UnknownField, WrongType.
Result<HealthGate> parse_health_gate(const Json& value, HealthGate base = {});

// What the caller of build_bundle() decides; the rest of the index is measured from the tree.
struct BundleSpec {
  std::string id;
  std::string display_version = "1";
  std::uint64_t security_version = 0;
  BundleTarget target;
  std::optional<Digest> model;
  BundleEntry entry;
  BundleResources resources;
  BundleSandbox sandbox;
  HealthGate health_gate;
  Json io = Json::object();
  std::string licence;
  std::optional<Digest> sbom;
};

struct BundleIndex : BundleSpec {
  std::vector<BundleFile> files;
  std::vector<BundleLink> links;
  Digest chunk_list{Digest::Bytes{}};
  std::uint64_t chunk_count = 0;
  std::uint64_t total_bytes = 0;
  std::vector<std::uint64_t> file_sizes() const;
};

// Checks all rules, then canonical JSON. Errors: IndexInvalid, PathUnsafe.
Result<std::string> encode_index(const BundleIndex& index, const BundleLimits& limits = {});
// Strict: canonical bytes, no unknown member, every rule. Errors: IndexInvalid, PathUnsafe,
// DocumentTooLarge.
Result<BundleIndex> parse_index(std::string_view bytes, const BundleLimits& limits = {});

// The rules for a set of paths (also used for evaluation sets): each path by itself, duplicates,
// case-fold collisions, a file that is also a folder. Errors: PathUnsafe.
Status check_paths(const std::vector<std::string>& paths, const BundleLimits& limits = {});

// Small configuration of one device (docs/formats/bundle.md). Canonical JSON, named by
// configDigest.
struct DeviceConfig {
  std::optional<Json> health_gate;  // members override those of the bundle
  std::optional<std::uint16_t> port;
  std::vector<std::string> args;
  std::map<std::string, std::string> env;
  Json parameters = Json::object();
};
Result<std::string> encode_config(const DeviceConfig& config);
Result<DeviceConfig> parse_config(std::string_view bytes,
                                  const BundleLimits& limits = {});  // errors: ConfigInvalid

}  // namespace tango::artifacts

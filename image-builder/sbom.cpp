#include <algorithm>
#include <set>

#include "image-builder/build.h"

namespace tango::builder {
namespace {

constexpr std::uint64_t kMaxBinaryBytes = 1ull << 30;
constexpr std::uint64_t kMaxDpkgBytes = 256u << 20;
constexpr std::size_t kMaxLists = 20'000;

struct Package {
  std::string name;
  std::string version;
};

// Debian's merged /usr: lists say /lib/..., resolved paths say /usr/lib/...
std::string without_usr(const std::string& path) {
  return path.starts_with("/usr/lib/") ? path.substr(4) : path;
}

// path -> package name, for the wanted paths only.
std::map<std::string, std::string> owners(const fs::path& dpkg,
                                          const std::set<std::string>& wanted) {
  std::map<std::string, std::string> out;
  std::error_code ec;
  std::vector<fs::path> lists;
  for (auto it = fs::directory_iterator(dpkg / "info", ec);
       !ec && it != fs::directory_iterator() && lists.size() < kMaxLists; it.increment(ec)) {
    if (it->path().extension() == ".list") lists.push_back(it->path());
  }
  std::sort(lists.begin(), lists.end());
  for (const fs::path& list : lists) {
    const auto text = read_file(list, kMaxDpkgBytes);
    if (!text.ok()) continue;
    std::string_view rest = *text;
    while (!rest.empty()) {
      const auto end = std::min(rest.find('\n'), rest.size());
      const std::string line = without_usr(std::string(rest.substr(0, end)));
      rest.remove_prefix(std::min(rest.size(), end + 1));
      if (!wanted.contains(line)) continue;
      const std::string stem = list.stem().string();
      out.emplace(line, stem.substr(0, stem.find(':')));
    }
  }
  return out;
}

std::map<std::string, std::string> versions(const fs::path& dpkg) {
  std::map<std::string, std::string> out;
  const auto text = read_file(dpkg / "status", kMaxDpkgBytes);
  if (!text.ok()) return out;
  std::string name;
  std::string_view rest = *text;
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(rest.size(), end + 1));
    if (line.starts_with("Package: ")) name = std::string(line.substr(9));
    if (line.starts_with("Version: ")) out.emplace(name, std::string(line.substr(9)));
  }
  return out;
}

// SPDX ids allow letters, digits, '.' and '-'.
std::string spdx_id(std::string_view kind, std::string_view name) {
  std::string out = "SPDXRef-" + std::string(kind) + "-";
  for (const char c : name) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '-';
    out += fine ? c : '-';
  }
  return out;
}

}  // namespace

Result<std::string> make_sbom(std::string_view name, const fs::path& runtime,
                              const std::vector<SharedObject>& objects, const fs::path& dpkg) {
  std::set<std::string> wanted;
  for (const SharedObject& object : objects) wanted.insert(without_usr(object.source.string()));
  const auto owner_of = owners(dpkg, wanted);
  const auto version_of = versions(dpkg);

  Json files = Json::array();
  Json relationships = Json::array();
  std::map<std::string, Package> packages;
  const auto add_file = [&](const std::string& path, const fs::path& source) -> Status {
    TRY_ASSIGN(const std::string bytes, read_file(source, kMaxBinaryBytes));
    files.push_back(
        {{"fileName", "./" + path},
         {"SPDXID", spdx_id("File", path)},
         {"checksums",
          {{{"algorithm", "SHA256"}, {"checksumValue", sha256(std::string_view(bytes)).hex()}}}}});
    return ok_status();
  };
  TRY(add_file("bin/tango-infer", runtime));
  for (const SharedObject& object : objects) {
    const std::string path = "lib/" + object.name;
    TRY(add_file(path, object.source));
    const auto owner = owner_of.find(without_usr(object.source.string()));
    if (owner == owner_of.end()) continue;
    const auto version = version_of.find(owner->second);
    packages[owner->second] = {owner->second, version == version_of.end() ? "" : version->second};
    relationships.push_back({{"spdxElementId", spdx_id("Package", owner->second)},
                             {"relationshipType", "CONTAINS"},
                             {"relatedSpdxElement", spdx_id("File", path)}});
  }
  Json rows = Json::array();
  for (const auto& [key, package] : packages) {
    Json row{{"name", package.name},
             {"SPDXID", spdx_id("Package", package.name)},
             {"downloadLocation", "NOASSERTION"},
             {"filesAnalyzed", false},
             {"licenseConcluded", "NOASSERTION"},
             {"licenseDeclared", "NOASSERTION"},
             {"copyrightText", "NOASSERTION"},
             {"supplier", "Organization: Debian"}};
    if (!package.version.empty()) {
      row["versionInfo"] = package.version;
      row["externalRefs"] = {
          {{"referenceCategory", "PACKAGE-MANAGER"},
           {"referenceType", "purl"},
           {"referenceLocator", "pkg:deb/debian/" + package.name + "@" + package.version}}};
    }
    rows.push_back(std::move(row));
  }
  Json document{{"spdxVersion", "SPDX-2.3"},
                {"dataLicense", "CC0-1.0"},
                {"SPDXID", "SPDXRef-DOCUMENT"},
                {"name", name},
                // The epoch: the same release always gives the same document.
                {"creationInfo",
                 {{"created", "1970-01-01T00:00:00Z"}, {"creators", {"Tool: tango-builder"}}}},
                {"packages", std::move(rows)},
                {"files", std::move(files)},
                {"relationships", std::move(relationships)}};
  // Unique per content, as SPDX asks, without randomness.
  TRY_ASSIGN(const std::string content, canonical_json(document));
  document["documentNamespace"] =
      "https://ml-tango.io/spdx/" + sha256(std::string_view(content)).hex();
  return canonical_json(document);
}

}  // namespace tango::builder

#include <algorithm>
#include <map>
#include <set>

#include "lib/artifacts/bundle.h"
#include "lib/base/file.h"

namespace tango::artifacts {
namespace {

Error unsafe(std::string_view path, std::string why) {
  return make_error(Code::kDenied, "PathUnsafe",
                    "the path \"" + std::string(path.substr(0, 128)) + "\" " + std::move(why));
}

std::string fold(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

}  // namespace

Status check_paths(const std::vector<std::string>& paths, const BundleLimits& limits) {
  std::set<std::string> leaves;
  std::map<std::string, std::string> spelling;  // folded name of every node -> as first written
  std::set<std::string> folders;
  for (const std::string& path : paths) {
    if (Status s = check_relative_path(path, limits.max_path_bytes); !s.ok()) {
      return make_error(Code::kDenied, "PathUnsafe", s.error().message);
    }
    auto depth = 1 + static_cast<std::size_t>(std::count(path.begin(), path.end(), '/'));
    if (depth > limits.max_depth) {
      return unsafe(path, "is more than " + std::to_string(limits.max_depth) + " deep");
    }
    if (!leaves.insert(path).second) return unsafe(path, "appears twice");
    for (std::size_t end = path.find('/');; end = path.find('/', end + 1)) {
      std::string node = path.substr(0, end);
      auto [it, added] = spelling.emplace(fold(node), node);
      if (!added && it->second != node) {
        return unsafe(path, "differs from \"" + it->second + "\" only by letter case");
      }
      if (end == std::string::npos) break;
      folders.insert(std::move(node));
    }
  }
  for (const std::string& leaf : leaves) {
    if (folders.contains(leaf)) return unsafe(leaf, "is a file and a folder");
  }
  return ok_status();
}

}  // namespace tango::artifacts

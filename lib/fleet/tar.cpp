#include <algorithm>

#include "lib/artifacts/bundle.h"
#include "lib/fleet/agent_session.h"

namespace tango::fleet {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kMaxFiles = 8000;

Error invalid(std::string why) {
  return make_error(Code::kInvalid, "InvalidTar", "the tar archive " + std::move(why));
}

std::string_view field(std::string_view block, std::size_t at, std::size_t size) {
  std::string_view text = block.substr(at, size);
  return text.substr(0, std::min(text.find('\0'), text.size()));
}

std::optional<std::uint64_t> octal(std::string_view text) {
  std::uint64_t value = 0;
  bool any = false;
  for (char c : text) {
    if (c == ' ' && !any) continue;
    if (c == ' ') break;
    if (c < '0' || c > '7' || value > (1ull << 40)) return std::nullopt;
    value = value * 8 + static_cast<std::uint64_t>(c - '0');
    any = true;
  }
  return value;
}

bool checksum_fits(std::string_view block) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) {
    sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(block[i]);
  }
  return octal(field(block, 148, 8)) == sum;
}

}  // namespace

Result<std::vector<EvaluationFile>> read_tar(std::string_view tar) {
  std::vector<EvaluationFile> files;
  std::vector<std::string> paths;
  std::size_t at = 0;
  while (at + kBlock <= tar.size()) {
    std::string_view block = tar.substr(at, kBlock);
    if (std::all_of(block.begin(), block.end(), [](char c) { return c == '\0'; })) break;
    if (!checksum_fits(block)) return invalid("has a header with a wrong checksum");
    auto size = octal(field(block, 124, 12));
    if (!size) return invalid("has an entry without a readable size");
    at += kBlock;
    if (*size > tar.size() - at) return invalid("is cut off");
    std::string path(field(block, 0, 100));
    std::string_view prefix = field(block, 345, 155);
    if (block.substr(257, 5) == "ustar" && !prefix.empty()) path = std::string(prefix) + "/" + path;
    while (path.rfind("./", 0) == 0) path.erase(0, 2);
    char type = block[156];
    if (type == '0' || type == '\0') {
      if (files.size() >= kMaxFiles) return invalid("has more than 8000 files");
      paths.push_back(path);
      files.push_back(
          {std::move(path), std::string(tar.substr(at, static_cast<std::size_t>(*size)))});
    } else if (type != '5') {
      return invalid("has an entry of type '" + std::string(1, type) +
                     "': only files and folders in ustar format are read (tar --format=ustar)");
    }
    at += (static_cast<std::size_t>(*size) + kBlock - 1) / kBlock * kBlock;
  }
  TRY(artifacts::check_paths(paths));
  return files;
}

}  // namespace tango::fleet

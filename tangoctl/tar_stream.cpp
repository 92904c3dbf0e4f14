#include "tangoctl/tar_stream.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

namespace tango::ctl {
namespace {

constexpr std::size_t kBlock = 512;

// POSIX.1-1988 ustar header: offsets and widths are the format's.
std::string header_of(const std::string& name, std::size_t size) {
  std::array<char, kBlock> h{};
  std::memcpy(h.data(), name.data(), name.size());
  std::snprintf(h.data() + 100, 8, "%07o", 0644u);
  std::snprintf(h.data() + 108, 8, "%07o", 0u);
  std::snprintf(h.data() + 116, 8, "%07o", 0u);
  std::snprintf(h.data() + 124, 12, "%011llo", static_cast<unsigned long long>(size));
  std::snprintf(h.data() + 136, 12, "%011o", 0u);
  std::memset(h.data() + 148, ' ', 8);
  h[156] = '0';
  std::memcpy(h.data() + 257, "ustar\00000", 8);
  unsigned sum = 0;
  for (char c : h) sum += static_cast<unsigned char>(c);
  std::snprintf(h.data() + 148, 8, "%06o", sum);
  return std::string(h.data(), h.size());
}

}  // namespace

Result<std::string> make_tar(const std::vector<std::pair<std::string, fs::path>>& files) {
  constexpr std::size_t kMaxName = 100;
  std::string out;
  auto sorted = files;
  std::sort(sorted.begin(), sorted.end());
  for (const auto& [name, path] : sorted) {
    TRY(check_relative_path(name));
    if (name.size() > kMaxName) {
      return make_error(
          Code::kInvalid, "NameTooLong",
          "the file name " + name + " has more than 100 bytes; shorten it to send the set");
    }
    TRY_ASSIGN(std::string content, read_file(path, kMaxTarBytes));
    if (out.size() + content.size() > kMaxTarBytes) {
      return make_error(Code::kExhausted, "ArchiveTooLarge",
                        "the evaluation set is larger than 256 MiB; evaluate a part of it");
    }
    out += header_of(name, content.size());
    out += content;
    out.append((kBlock - content.size() % kBlock) % kBlock, '\0');
  }
  out.append(2 * kBlock, '\0');
  return out;
}

}  // namespace tango::ctl

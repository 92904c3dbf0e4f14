#include "image-builder/elf_closure.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <optional>

namespace tango::builder {
namespace {

constexpr std::uint64_t kMaxElfBytes = 1ull << 30;
constexpr std::size_t kMaxObjects = 512;
constexpr std::size_t kMaxNameBytes = 4096;

constexpr std::array<std::string_view, 14> kGlibc{"libc.so.6",         "libm.so.6",
                                                  "libmvec.so.1",      "libpthread.so.0",
                                                  "libdl.so.2",        "librt.so.1",
                                                  "libresolv.so.2",    "libutil.so.1",
                                                  "libanl.so.1",       "libnsl.so.1",
                                                  "libcrypt.so.1",     "libBrokenLocale.so.1",
                                                  "libthread_db.so.1", "libc_malloc_debug.so.0"};

Error invalid_elf(std::string_view why) {
  return make_error(Code::kInvalid, "InvalidElf",
                    "not a 64-bit little-endian ELF file: " + std::string(why));
}

template <typename T>
std::optional<T> read_at(std::string_view bytes, std::uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T out;
  std::memcpy(&out, bytes.data() + offset, sizeof(T));  // no alignment is promised
  return out;
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  Result<ElfInfo> parse() {
    const auto header = read_at<Elf64_Ehdr>(bytes_, 0);
    if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return invalid_elf("magic");
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB) {
      return invalid_elf("class");
    }
    ElfInfo info;
    info.machine = header->e_machine;
    std::optional<Elf64_Phdr> dynamic;
    for (std::uint64_t i = 0; i < header->e_phnum; ++i) {
      const auto segment = read_at<Elf64_Phdr>(bytes_, header->e_phoff + i * sizeof(Elf64_Phdr));
      if (!segment) return invalid_elf("program headers");
      if (segment->p_type == PT_LOAD) loads_.push_back(*segment);
      if (segment->p_type == PT_DYNAMIC) dynamic = *segment;
    }
    if (!dynamic) return info;  // static: needs nothing
    std::vector<Elf64_Dyn> entries;
    std::uint64_t string_table = 0;
    for (std::uint64_t at = 0; at + sizeof(Elf64_Dyn) <= dynamic->p_filesz;
         at += sizeof(Elf64_Dyn)) {
      const auto entry = read_at<Elf64_Dyn>(bytes_, dynamic->p_offset + at);
      if (!entry) return invalid_elf("dynamic section");
      if (entry->d_tag == DT_NULL) break;
      if (entry->d_tag == DT_STRTAB) string_table = entry->d_un.d_ptr;
      entries.push_back(*entry);
    }
    for (const auto& entry : entries) {
      if (entry.d_tag != DT_NEEDED && entry.d_tag != DT_SONAME && entry.d_tag != DT_RPATH &&
          entry.d_tag != DT_RUNPATH) {
        continue;
      }
      const auto text = string_at(string_table + entry.d_un.d_val);
      if (!text) return invalid_elf("string table");
      if (entry.d_tag == DT_NEEDED) {
        info.needed.push_back(*text);
      } else if (entry.d_tag == DT_SONAME) {
        info.soname = *text;
      } else {
        split_path(*text, info.search_path);
      }
    }
    return info;
  }

 private:
  std::optional<std::string> string_at(std::uint64_t address) const {
    for (const auto& load : loads_) {
      if (address < load.p_vaddr || address - load.p_vaddr >= load.p_filesz) continue;
      const std::uint64_t offset = address - load.p_vaddr + load.p_offset;
      if (offset >= bytes_.size()) return std::nullopt;
      const std::string_view rest = bytes_.substr(offset, kMaxNameBytes);
      const auto end = rest.find('\0');
      if (end == std::string_view::npos) return std::nullopt;
      return std::string(rest.substr(0, end));
    }
    return std::nullopt;
  }

  static void split_path(std::string_view text, std::vector<std::string>& out) {
    while (!text.empty()) {
      const auto colon = std::min(text.find(':'), text.size());
      if (colon > 0) out.emplace_back(text.substr(0, colon));
      text.remove_prefix(std::min(text.size(), colon + 1));
    }
  }

  std::string_view bytes_;
  std::vector<Elf64_Phdr> loads_;
};

std::string replace_origin(std::string text, const fs::path& origin) {
  for (const std::string_view token : {"${ORIGIN}", "$ORIGIN"}) {
    for (auto at = text.find(token); at != std::string::npos; at = text.find(token)) {
      text.replace(at, token.size(), origin.string());
    }
  }
  return text;
}

struct Loaded {
  fs::path path;  // real path
  ElfInfo info;
};

Result<Loaded> load(const fs::path& path) {
  std::error_code ec;
  Loaded out;
  out.path = fs::canonical(path, ec);
  if (ec) return errno_error(ec.value(), "cannot open " + path.string());
  TRY_ASSIGN(const std::string bytes, read_file(out.path, kMaxElfBytes));
  auto info = parse_elf(bytes);
  if (!info.ok()) return std::move(info).error().with_context("while reading " + path.string());
  out.info = std::move(*info);
  return out;
}

// The first file of that name with the right machine, where the loader would look.
Result<std::optional<Loaded>> find(const std::string& name, const Loaded& asker,
                                   const std::vector<fs::path>& search) {
  std::vector<fs::path> folders;
  for (const std::string& entry : asker.info.search_path) {
    folders.emplace_back(replace_origin(entry, asker.path.parent_path()));
  }
  folders.insert(folders.end(), search.begin(), search.end());
  std::error_code ec;
  for (const fs::path& folder : folders) {
    const fs::path candidate = name.find('/') == std::string::npos ? folder / name : fs::path(name);
    if (!fs::is_regular_file(candidate, ec)) continue;
    auto loaded = load(candidate);
    if (!loaded.ok()) continue;  // a linker script or another class of machine
    if (loaded->info.machine == asker.info.machine)
      return std::optional<Loaded>(std::move(*loaded));
  }
  return std::optional<Loaded>();
}

}  // namespace

Result<ElfInfo> parse_elf(std::string_view bytes) { return Reader(bytes).parse(); }

std::string_view architecture_of(const ElfInfo& info) {
  if (info.machine == EM_X86_64) return "amd64";
  if (info.machine == EM_AARCH64) return "arm64";
  return "";
}

ClosureOptions default_closure_options() {
  ClosureOptions options;
  for (const char* triple : {"x86_64-linux-gnu", "aarch64-linux-gnu"}) {
    const fs::path folder = fs::path("/usr/lib") / triple;
    for (const fs::path& path : {folder / "blas", folder / "lapack", folder}) {
      options.search.push_back(path);
    }
  }
  for (const char* folder : {"/usr/lib64", "/lib64", "/usr/lib", "/lib", "/usr/local/lib"}) {
    options.search.emplace_back(folder);
  }
  return options;
}

bool is_glibc(std::string_view soname) {
  return soname.starts_with("ld-linux") || soname.starts_with("linux-vdso") ||
         std::find(kGlibc.begin(), kGlibc.end(), soname) != kGlibc.end();
}

Result<std::vector<SharedObject>> shared_object_closure(const fs::path& program,
                                                        const ClosureOptions& options) {
  TRY_ASSIGN(Loaded root, load(program));
  std::map<std::string, fs::path> found;
  std::deque<Loaded> open;
  open.push_back(std::move(root));
  while (!open.empty()) {
    const Loaded current = std::move(open.front());
    open.pop_front();
    for (const std::string& name : current.info.needed) {
      if (is_glibc(name) || found.contains(name)) continue;
      TRY_ASSIGN(auto object, find(name, current, options.search));
      if (!object) {
        return make_error(Code::kNotFound, "LibraryNotFound",
                          "shared object " + name + ", which " + current.path.string() +
                              " needs, was not found on this machine");
      }
      found.emplace(name, object->path);
      if (found.size() > kMaxObjects) {
        return make_error(Code::kExhausted, "TooManyLibraries",
                          program.string() + " needs too many shared objects");
      }
      open.push_back(std::move(*object));
    }
  }
  std::vector<SharedObject> out;
  for (auto& [name, source] : found) out.push_back({name, source});
  return out;
}

}  // namespace tango::builder

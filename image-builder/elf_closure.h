// Which shared objects a program needs, found by reading ELF files: the builder puts them into the
// bundle, all but those of glibc, which belong to the device. Nothing is executed and no cache of
// the machine is asked, so the same files give the same answer.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::builder {

// The dynamic section of one ELF file, as far as it matters here.
struct ElfInfo {
  std::uint16_t machine = 0;  // EM_X86_64, EM_AARCH64
  std::string soname;
  std::vector<std::string> needed;       // DT_NEEDED, in order
  std::vector<std::string> search_path;  // DT_RPATH, then DT_RUNPATH, as written
};
// Little-endian ELF64. Every offset is checked. Errors: InvalidElf.
Result<ElfInfo> parse_elf(std::string_view bytes);
// "amd64", "arm64"; empty for others.
std::string_view architecture_of(const ElfInfo& info);

struct ClosureOptions {
  // Folders searched after those that a file names itself. BLAS comes first from the reference
  // packages: the optimised one is forty megabytes that inference never calls.
  std::vector<fs::path> search;
};
ClosureOptions default_closure_options();

// True for the parts of glibc (and the loader and vdso).
bool is_glibc(std::string_view soname);

struct SharedObject {
  std::string name;  // as it is asked for: the file name in the bundle's lib/
  fs::path source;   // where its bytes lie, links resolved
};
// Everything `program` needs, directly or not, without glibc, sorted by name. Errors: InvalidElf,
// LibraryNotFound (names who asks for it), IoError.
Result<std::vector<SharedObject>> shared_object_closure(
    const fs::path& program, const ClosureOptions& options = default_closure_options());

}  // namespace tango::builder

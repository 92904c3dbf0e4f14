// crdgen SOURCE_DIR OUTPUT_DIR: reads crds/*.yaml and writes the C++ types, the manifests and the
// reference pages. Runs at build time. Files that would not change are left alone, so that nothing
// is compiled again for a comment in another kind.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "crds/gen/schema.h"

namespace {

bool same(const std::filesystem::path& path, const std::string& text) {
  std::ifstream in(path);
  if (!in) return false;
  std::ostringstream old;
  old << in.rdbuf();
  return old.str() == text;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: crdgen SOURCE_DIR OUTPUT_DIR\n";
    return 2;
  }
  try {
    using namespace tango::crdgen;
    Input input = load(argv[1]);
    Files files;
    emit_cpp(input, files);
    emit_crds(input, files);
    emit_docs(input, files);
    for (const auto& [name, text] : files) {
      std::filesystem::path path = std::filesystem::path(argv[2]) / name;
      std::filesystem::create_directories(path.parent_path());
      if (same(path, text)) continue;
      std::ofstream out(path);
      out << text;
      if (!out.flush()) throw std::runtime_error(path.string() + ": cannot be written");
    }
  } catch (const std::exception& e) {
    std::cerr << "crdgen: " << e.what() << "\n";
    return 1;
  }
  return 0;
}

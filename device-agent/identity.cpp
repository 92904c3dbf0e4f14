#include "device-agent/identity.h"

#include <algorithm>

#include "lib/base/digest.h"

namespace tango::agent {

Result<artifacts::SigningKey> load_or_create_identity(const fs::path& file) {
  auto stored = read_file(file, 4096);
  if (!stored.ok() && stored.error().reason != "NotFound") return std::move(stored).error();
  if (!stored.ok()) {
    TRY(make_dirs(file.parent_path(), 0700));
    const artifacts::SigningKey key = artifacts::SigningKey::generate();
    TRY(write_file_atomic(file, to_base64(key.seed().reveal()) + "\n", 0600));
    return key;
  }
  while (!stored->empty() && stored->back() == '\n') stored->pop_back();
  const auto seed = from_base64(*stored);
  if (!seed.ok() || seed->size() != 32) {
    return make_error(Code::kInvalid, "KeyInvalid",
                      file.string() +
                          " holds no Ed25519 seed; restore it from a backup, or remove it to make "
                          "this a new device");
  }
  std::array<std::uint8_t, 32> bytes{};
  std::copy(seed->begin(), seed->end(), bytes.begin());
  return artifacts::SigningKey::from_seed(bytes);
}

}  // namespace tango::agent

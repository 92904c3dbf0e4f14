// Key files on disk: making, loading, rotating and signing offline (`tangoctl keys ...`, the
// signer). Private halves are only ever in files of mode 0600 and in Secret<>; the agent never
// links a use of this.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lib/artifacts/signature.h"
#include "lib/base/file.h"

namespace tango::artifacts {

// A folder of keys: <role>.key, <role>.pub for each role, root.json + root.sig.json (newest), and
// roots/<version>.json + .sig.json (the whole chain).
struct KeySet {
  fs::path dir;
  std::map<Role, SigningKey> keys;  // those whose private half is here
  Root root;
  SignedDocument signed_root;         // newest
  std::vector<SignedDocument> chain;  // all versions, oldest first
  const SigningKey* key(Role role) const;
};

// One key per role, threshold 1. Errors: KeysExist (nothing is ever overwritten), IoError.
Result<KeySet> init_keys(const fs::path& dir);
// Errors: NotFound, KeyInvalid, PermissionDenied (a private key readable by others), RootInvalid.
Result<KeySet> load_keys(const fs::path& dir);
Result<KeySet> load_or_init_keys(const fs::path& dir);
Result<SigningKey> load_key(const fs::path& file);
Status save_key(const fs::path& dir, Role role, const SigningKey& key);

// A new key for `role`; root version + 1, signed by the old and the new root set. Errors:
// KeyMissing when the private root key is not in the folder (offline roots: use make_next_root and
// sign_document by hand).
Result<KeySet> rotate_key(const fs::path& dir, Role role);

}  // namespace tango::artifacts

#include "lib/artifacts/keys.h"

#include <sys/stat.h>

#include <algorithm>

#include "lib/artifacts/strict.h"

namespace tango::artifacts {
namespace {

constexpr Role kRoles[] = {Role::kRoot, Role::kRelease, Role::kAssignment, Role::kAgent};

std::string_view view(const PublicKeyBytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

fs::path root_file(const fs::path& dir, std::uint64_t version) {
  return dir / "roots" / (std::to_string(version) + ".json");
}
fs::path root_signature(const fs::path& dir, std::uint64_t version) {
  return dir / "roots" / (std::to_string(version) + ".sig.json");
}

// The chain first, the newest copy last: a cut in between is repaired by doing it again.
Status save_root(const fs::path& dir, const Root& root, const SignedDocument& doc) {
  TRY(make_dirs(dir / "roots"));
  TRY(write_file_atomic(root_signature(dir, root.version), doc.envelope));
  TRY(write_file_atomic(root_file(dir, root.version), doc.document));
  TRY(write_file_atomic(dir / "root.sig.json", doc.envelope));
  return write_file_atomic(dir / "root.json", doc.document);
}

}  // namespace

const SigningKey* KeySet::key(Role role) const {
  auto it = keys.find(role);
  return it == keys.end() ? nullptr : &it->second;
}

Status save_key(const fs::path& dir, Role role, const SigningKey& key) {
  Json pub{{"alg", "ed25519"},
           {"keyid", key.id()},
           {"public", to_base64(view(key.public_key()))},
           {"role", to_string(role)}};
  Json priv = pub;
  priv["seed"] = to_base64(key.seed().reveal());
  TRY_ASSIGN(std::string pub_bytes, canonical_json(pub));
  TRY_ASSIGN(std::string priv_bytes, canonical_json(priv));
  std::string name(to_string(role));
  TRY(write_file_atomic(dir / (name + ".key"), priv_bytes + "\n", 0600));
  return write_file_atomic(dir / (name + ".pub"), pub_bytes + "\n");
}

Result<SigningKey> load_key(const fs::path& file) {
  auto invalid = [&](std::string why) {
    return make_error(Code::kInvalid, "KeyInvalid", "the key file " + file.string() + " " + why);
  };
  struct stat st {};
  if (::stat(file.c_str(), &st) != 0) return errno_error(errno, "reading key " + file.string());
  if ((st.st_mode & 077) != 0) {
    return make_error(
        Code::kDenied, "PermissionDenied",
        "the key file " + file.string() + " can be read by other accounts: set its mode to 0600");
  }
  TRY_ASSIGN(std::string bytes, read_file(file, 4096));
  auto json = parse_json(bytes);
  if (!json.ok()) return invalid("is not JSON");
  auto seed = from_base64(get_string(*json, "seed"));
  if (get_string(*json, "alg") != "ed25519" || !seed.ok() || seed->size() != 32) {
    return invalid("does not hold an ed25519 seed of 32 bytes");
  }
  std::array<std::uint8_t, 32> raw;
  std::copy(seed->begin(), seed->end(), raw.begin());
  SigningKey key = SigningKey::from_seed(raw);
  if (get_string(*json, "keyid") != key.id()) return invalid("has a key id of another key");
  return key;
}

Result<KeySet> init_keys(const fs::path& dir) {
  TRY(make_dirs(dir, 0700));
  for (Role role : kRoles) {
    if (fs::exists(dir / (std::string(to_string(role)) + ".key"))) {
      return make_error(Code::kExists, "KeysExist",
                        dir.string() + " already holds keys; nothing was changed");
    }
  }
  if (fs::exists(dir / "root.json")) {
    return make_error(Code::kExists, "KeysExist", dir.string() + " already holds a root.json");
  }
  Root root;
  std::map<Role, SigningKey> keys;
  for (Role role : kRoles) {
    SigningKey key = SigningKey::generate();
    root.keys[key.id()] = key.public_key();
    root.roles[role] = RoleKeys{{key.id()}, 1};
    keys.emplace(role, std::move(key));
  }
  TRY_ASSIGN(std::string bytes, encode_root(root));
  SignedDocument doc{bytes, encode_envelope(sign_document(bytes, kRootType, keys.at(Role::kRoot)))};
  for (const auto& [role, key] : keys) TRY(save_key(dir, role, key));
  TRY(save_root(dir, root, doc));
  return load_keys(dir);
}

Result<KeySet> load_keys(const fs::path& dir) {
  KeySet set;
  set.dir = dir;
  TRY_ASSIGN(set.signed_root.document, read_file(dir / "root.json", kMaxDocumentBytes));
  TRY_ASSIGN(set.signed_root.envelope, read_file(dir / "root.sig.json", kMaxDocumentBytes));
  TRY_ASSIGN(set.root, parse_root(set.signed_root.document));
  for (std::uint64_t v = 1; v <= set.root.version; ++v) {
    SignedDocument doc;
    auto document = read_file(root_file(dir, v), kMaxDocumentBytes);
    auto envelope = read_file(root_signature(dir, v), kMaxDocumentBytes);
    if (!document.ok() || !envelope.ok()) continue;  // a folder may keep the newest alone
    set.chain.push_back(SignedDocument{std::move(*document), std::move(*envelope)});
  }
  for (Role role : kRoles) {
    fs::path file = dir / (std::string(to_string(role)) + ".key");
    if (!fs::exists(file)) continue;
    TRY_ASSIGN(SigningKey key, load_key(file));
    const auto& ids = set.root.roles.at(role).keyids;
    auto listed = [&](const SigningKey& k) {
      return std::find(ids.begin(), ids.end(), k.id()) != ids.end();
    };
    // A rotation that was cut after it published the root left the new key in next/: finish it.
    fs::path next = dir / "next" / file.filename();
    if (!listed(key) && fs::exists(next)) {
      TRY_ASSIGN(key, load_key(next));
      if (listed(key)) {
        TRY(save_key(dir, role, key));
        TRY(tango::remove_all(dir / "next"));
      }
    }
    if (!listed(key)) {
      return make_error(Code::kInvalid, "KeyInvalid",
                        file.string() + " is not a key that root.json lists for its role");
    }
    set.keys.emplace(role, std::move(key));
  }
  return set;
}

Result<KeySet> load_or_init_keys(const fs::path& dir) {
  if (fs::exists(dir / "root.json")) return load_keys(dir);
  return init_keys(dir);
}

Result<KeySet> rotate_key(const fs::path& dir, Role role) {
  TRY_ASSIGN(KeySet set, load_keys(dir));
  const SigningKey* old_root = set.key(Role::kRoot);
  if (old_root == nullptr) {
    return make_error(
        Code::kNotFound, "KeyMissing",
        dir.string() + " does not hold the private root key; rotate where it is kept");
  }
  SigningKey fresh = SigningKey::generate();
  Root next = set.root;
  next.version += 1;
  next.roles[role] = RoleKeys{{fresh.id()}, 1};
  next.keys[fresh.id()] = fresh.public_key();
  std::erase_if(next.keys, [&](const auto& entry) {
    return std::none_of(next.roles.begin(), next.roles.end(), [&](const auto& r) {
      const auto& ids = r.second.keyids;
      return std::find(ids.begin(), ids.end(), entry.first) != ids.end();
    });
  });
  TRY_ASSIGN(std::string bytes, encode_root(next));
  Envelope envelope = sign_document(bytes, kRootType, *old_root);
  if (role == Role::kRoot) TRY(add_signature(envelope, bytes, fresh));
  // The key before the root that names it: a cut leaves an unused key, found by the check in
  // load_keys.
  fs::path staged = dir / "next";
  TRY(make_dirs(staged, 0700));
  TRY(save_key(staged, role, fresh));
  TRY(save_root(dir, next, SignedDocument{bytes, encode_envelope(envelope)}));
  TRY(save_key(dir, role, fresh));
  TRY(tango::remove_all(staged));
  return load_keys(dir);
}

}  // namespace tango::artifacts

#include "lib/artifacts/signature.h"

#include <sodium.h>

#include <algorithm>

#include "lib/artifacts/strict.h"

namespace tango::artifacts {
namespace {

void init_sodium() {
  static const int ready = sodium_init();
  if (ready < 0) std::abort();  // no entropy source: nothing here could be trusted
}

std::string_view view(const auto& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <std::size_t N>
std::optional<std::array<std::uint8_t, N>> fixed_base64(std::string_view text) {
  auto raw = from_base64(text);
  if (!raw.ok() || raw->size() != N || to_base64(*raw) != text) return std::nullopt;
  std::array<std::uint8_t, N> out;
  std::copy(raw->begin(), raw->end(), out.begin());
  return out;
}

bool is_key_id(std::string_view text) {
  auto d = Digest::from_hex(text);
  return d.ok() && d->hex() == text;
}

}  // namespace

std::string key_id(const PublicKeyBytes& key) { return sha256(view(key)).hex(); }

bool verify_bytes(const PublicKeyBytes& key, std::string_view message, const SignatureBytes& sig) {
  init_sodium();
  return crypto_sign_verify_detached(sig.data(),
                                     reinterpret_cast<const unsigned char*>(message.data()),
                                     message.size(), key.data()) == 0;
}

SigningKey SigningKey::generate() {
  init_sodium();
  std::array<std::uint8_t, 32> seed;
  randombytes_buf(seed.data(), seed.size());
  SigningKey key = from_seed(seed);
  sodium_memzero(seed.data(), seed.size());
  return key;
}

SigningKey SigningKey::from_seed(const std::array<std::uint8_t, 32>& seed) {
  init_sodium();
  SigningKey key;
  std::string secret(crypto_sign_SECRETKEYBYTES, '\0');
  crypto_sign_seed_keypair(key.public_.data(), reinterpret_cast<unsigned char*>(secret.data()),
                           seed.data());
  key.secret_ = Secret<std::string>(std::move(secret));
  return key;
}

SignatureBytes SigningKey::sign(std::string_view message) const {
  SignatureBytes out;
  crypto_sign_detached(out.data(), nullptr, reinterpret_cast<const unsigned char*>(message.data()),
                       message.size(),
                       reinterpret_cast<const unsigned char*>(secret_.reveal().data()));
  return out;
}

Secret<std::string> SigningKey::seed() const {
  return Secret<std::string>(secret_.reveal().substr(0, crypto_sign_SEEDBYTES));
}

// --- envelope -----------------------------------------------------------------------------------

std::string encode_envelope(const Envelope& envelope) {
  Json signatures = Json::array();
  for (const auto& s : envelope.signatures) {
    signatures.push_back(Json{{"keyid", s.keyid}, {"sig", to_base64(view(s.sig))}});
  }
  auto bytes = canonical_json(Json{{"payloadType", envelope.payload_type},
                                   {"digest", envelope.digest.to_string()},
                                   {"size", envelope.size},
                                   {"signatures", std::move(signatures)}});
  return bytes.ok() ? std::move(*bytes) : std::string();
}

Result<Envelope> parse_envelope(std::string_view bytes) {
  constexpr std::string_view reason = "SignatureInvalid";
  TRY_ASSIGN(Json json, parse_canonical(bytes, kMaxDocumentBytes, reason, "signature envelope"));
  StrictObject doc(json, "", reason);
  Envelope e;
  e.payload_type = doc.text("payloadType", 1, 128);
  e.digest = doc.digest("digest");
  e.size = doc.number("size");
  std::size_t i = 0;
  for (const Json& item : doc.array("signatures", kMaxSignatures)) {
    StrictObject o(item, "signatures[" + std::to_string(i++) + "]", reason);
    EnvelopeSignature s;
    s.keyid = o.text("keyid", 64, 64);
    if (!is_key_id(s.keyid)) o.fail("keyid", "must be 64 lower-case hexadecimal digits");
    auto sig = fixed_base64<64>(o.text("sig", 88, 88));
    if (sig) {
      s.sig = *sig;
    } else {
      o.fail("sig", "must be 64 bytes in base64");
    }
    doc.nest(o.finish());
    e.signatures.push_back(std::move(s));
  }
  if (e.signatures.empty()) doc.fail("signatures", "must not be empty");
  TRY(doc.finish());
  return e;
}

Envelope sign_document(std::string_view document, std::string_view payload_type,
                       const SigningKey& key) {
  return Envelope{std::string(payload_type),
                  sha256(document),
                  document.size(),
                  {EnvelopeSignature{key.id(), key.sign(document)}}};
}

Status add_signature(Envelope& envelope, std::string_view document, const SigningKey& key) {
  if (envelope.digest != sha256(document) || envelope.size != document.size()) {
    return make_error(Code::kInvalid, "SignatureInvalid",
                      "the envelope belongs to another document");
  }
  std::string id = key.id();
  std::erase_if(envelope.signatures, [&](const auto& s) { return s.keyid == id; });
  if (envelope.signatures.size() >= kMaxSignatures) {
    return make_error(Code::kExhausted, "SignatureInvalid",
                      "the envelope has 16 signatures already");
  }
  envelope.signatures.push_back(EnvelopeSignature{id, key.sign(document)});
  return ok_status();
}

Json encode(const SignedDocument& doc) {
  Json envelope = Json::parse(doc.envelope, nullptr, false);
  return Json{{"document", to_base64(doc.document)},
              {"envelope", envelope.is_discarded() ? Json() : std::move(envelope)}};
}

Result<SignedDocument> parse_signed_document(const Json& value) {
  auto bad = [](const char* why) {
    return make_error(Code::kInvalid, "InvalidRequest", std::string("a signed document ") + why);
  };
  if (!value.is_object()) return bad("must be an object");
  const Json& envelope = get(value, "envelope");
  if (!envelope.is_object()) return bad("must have an envelope");
  auto document = from_base64(get_string(value, "document"));
  if (!document.ok()) return bad("must have its document in base64");
  TRY_ASSIGN(std::string bytes, canonical_json(envelope));
  return SignedDocument{std::move(*document), std::move(bytes)};
}

// --- roles and root -----------------------------------------------------------------------------

std::string_view to_string(Role role) {
  switch (role) {
    case Role::kRoot:
      return "root";
    case Role::kRelease:
      return "release";
    case Role::kAssignment:
      return "assignment";
    case Role::kAgent:
      return "agent";
  }
  return "unknown";
}

Result<Role> parse_role(std::string_view text) {
  for (Role r : {Role::kRoot, Role::kRelease, Role::kAssignment, Role::kAgent}) {
    if (to_string(r) == text) return r;
  }
  return make_error(Code::kInvalid, "RootInvalid",
                    "the role \"" + std::string(text.substr(0, 64)) +
                        "\" is not one of root, release, assignment, agent");
}

Result<std::string> encode_root(const Root& root) {
  Json keys = Json::object();
  for (const auto& [id, key] : root.keys) {
    keys[id] = Json{{"alg", "ed25519"}, {"public", to_base64(view(key))}};
  }
  Json roles = Json::object();
  for (const auto& [role, rule] : root.roles) {
    roles[std::string(to_string(role))] =
        Json{{"keyids", rule.keyids}, {"threshold", rule.threshold}};
  }
  TRY_ASSIGN(std::string bytes, canonical_json(Json{{"type", kRootType},
                                                    {"version", root.version},
                                                    {"keys", std::move(keys)},
                                                    {"roles", std::move(roles)}}));
  TRY(parse_root(bytes));
  return bytes;
}

Result<Root> parse_root(std::string_view bytes) {
  constexpr std::string_view reason = "RootInvalid";
  TRY_ASSIGN(Json json, parse_canonical(bytes, kMaxDocumentBytes, reason, "root.json"));
  StrictObject doc(json, "", reason);
  doc.expect("type", kRootType);
  Root root;
  root.version = doc.number("version");
  if (root.version == 0) doc.fail("version", "must be at least 1");
  const Json& keys = doc.object("keys");
  if (keys.size() > 64) doc.fail("keys", "must be at most 64");
  for (const auto& [id, value] : keys.items()) {
    StrictObject o(value, "keys." + id.substr(0, 64), reason);
    o.expect("alg", "ed25519");
    auto key = fixed_base64<32>(o.text("public", 44, 44));
    if (!key || key_id(*key) != id) {
      o.fail("public", "must be 32 bytes in base64 whose SHA-256 is the key id");
    } else {
      root.keys[id] = *key;
    }
    doc.nest(o.finish());
    if (!doc.ok()) return doc.finish().error();
  }
  {
    StrictObject roles(doc.object("roles"), "roles", reason);
    for (Role role : {Role::kRoot, Role::kRelease, Role::kAssignment, Role::kAgent}) {
      StrictObject o(roles.object(to_string(role)), roles.path(to_string(role)), reason);
      RoleKeys rule{o.texts("keyids", 64, 64),
                    static_cast<std::uint32_t>(o.number("threshold", 64))};
      if (!std::is_sorted(rule.keyids.begin(), rule.keyids.end()) ||
          std::adjacent_find(rule.keyids.begin(), rule.keyids.end()) != rule.keyids.end()) {
        o.fail("keyids", "must be sorted and distinct");
      }
      for (const auto& id : rule.keyids) {
        if (!root.keys.contains(id)) o.fail("keyids", "names a key that is not in keys");
      }
      if (rule.threshold < 1 || rule.threshold > rule.keyids.size()) {
        o.fail("threshold", "must be from 1 to the number of keys");
      }
      roles.nest(o.finish());
      root.roles[role] = std::move(rule);
    }
    doc.nest(roles.finish());
  }
  TRY(doc.finish());
  return root;
}

// --- identity -----------------------------------------------------------------------------------

std::string device_id_of(const PublicKeyBytes& agent_key) {
  auto bytes = canonical_json(Json{{"alg", "ed25519"}, {"public", to_base64(view(agent_key))}});
  return sha256(bytes.ok() ? *bytes : std::string()).hex();
}

std::string hello_proof_message(std::string_view nonce, std::string_view device_id) {
  std::string out = "tango-hello-v1";
  out.push_back('\0');
  out.append(nonce);
  out.push_back('\0');
  out.append(device_id);
  return out;
}

}  // namespace tango::artifacts

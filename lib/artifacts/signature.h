// Ed25519 keys, detached envelopes, root.json, assignments (docs/formats/trust.md): the documents
// of trust and their exact bytes. The signer and tangoctl make them; trust_store.h alone decides
// whether to believe them. Nothing here reads a clock or a file.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/base/secret.h"

namespace tango::artifacts {

inline constexpr std::string_view kRootType = "root";
inline constexpr std::string_view kAssignmentType = "assignment";
inline constexpr std::string_view kFleetEpochType = "fleetEpoch";
inline constexpr std::string_view kAgentType = "agent";
inline constexpr std::size_t kMaxDocumentBytes = 64u << 10;  // root, assignment, envelope, config
inline constexpr std::size_t kMaxSignatures = 16;
inline constexpr std::string_view kEnvelopeMediaType = "application/vnd.ml-tango.envelope.v1+json";

using PublicKeyBytes = std::array<std::uint8_t, 32>;
using SignatureBytes = std::array<std::uint8_t, 64>;

std::string key_id(const PublicKeyBytes& key);  // lower-case hex SHA-256
bool verify_bytes(const PublicKeyBytes& key, std::string_view message,
                  const SignatureBytes& signature);

class SigningKey {
 public:
  static SigningKey generate();
  static SigningKey from_seed(const std::array<std::uint8_t, 32>& seed);
  SignatureBytes sign(std::string_view message) const;
  const PublicKeyBytes& public_key() const { return public_; }
  std::string id() const { return key_id(public_); }
  Secret<std::string> seed() const;  // 32 raw bytes

 private:
  SigningKey() = default;
  PublicKeyBytes public_{};
  Secret<std::string> secret_;  // libsodium's 64 bytes
};

struct EnvelopeSignature {
  std::string keyid;
  SignatureBytes sig{};
};
struct Envelope {
  std::string payload_type;
  Digest digest{Digest::Bytes{}};
  std::uint64_t size = 0;
  std::vector<EnvelopeSignature> signatures;
};
std::string encode_envelope(const Envelope& envelope);
Result<Envelope> parse_envelope(
    std::string_view bytes);  // errors: SignatureInvalid, DocumentTooLarge
Envelope sign_document(std::string_view document, std::string_view payload_type,
                       const SigningKey& key);
// Adds a signature (a second one by the same key replaces the first). Errors: SignatureInvalid when
// it is the envelope of other bytes.
Status add_signature(Envelope& envelope, std::string_view document, const SigningKey& key);

// Exact bytes plus their envelope, as they travel.
struct SignedDocument {
  std::string document;
  std::string envelope;  // encoded
};
Json encode(const SignedDocument& doc);
Result<SignedDocument> parse_signed_document(const Json& value);  // errors: InvalidRequest

enum class Role { kRoot, kRelease, kAssignment, kAgent };
std::string_view to_string(Role role);
Result<Role> parse_role(std::string_view text);

struct RoleKeys {
  std::vector<std::string> keyids;  // sorted, distinct
  std::uint32_t threshold = 1;
};
struct Root {
  std::uint64_t version = 1;
  std::map<std::string, PublicKeyBytes> keys;
  std::map<Role, RoleKeys> roles;
};
Result<std::string> encode_root(const Root& root);  // errors: RootInvalid
Result<Root> parse_root(std::string_view bytes);    // errors: RootInvalid, DocumentTooLarge

struct Assignment {
  std::string device_id;
  std::string slot = "main";
  std::string arch;
  Digest bundle{Digest::Bytes{}};  // of the index bytes
  std::string release;             // OCI manifest digest as text; a label
  std::uint64_t sequence = 0;
  TimePoint issued_at{};
  TimePoint expires{};
  std::uint64_t fleet_epoch = 0;
  std::string deployment_uid;
  std::uint64_t generation = 0;
  Digest config_digest{Digest::Bytes{}};
  std::string retry_token;
};
Result<std::string> encode_assignment(const Assignment& assignment);  // errors: AssignmentInvalid
Result<Assignment> parse_assignment(std::string_view bytes);          // errors: AssignmentInvalid

struct FleetEpoch {
  std::uint64_t epoch = 0;
  TimePoint issued_at{};
};
std::string encode_epoch(const FleetEpoch& epoch);
Result<FleetEpoch> parse_epoch(std::string_view bytes);

struct AgentRelease {
  std::string arch;
  std::string version;
  Digest sha256{Digest::Bytes{}};
  std::uint64_t size = 0;
};
std::string encode_agent_release(const AgentRelease& release);
Result<AgentRelease> parse_agent_release(std::string_view bytes);

// The device's identity: id = hex SHA-256 of the canonical JSON {"alg":"ed25519","public":...}.
std::string device_id_of(const PublicKeyBytes& agent_key);
// The bytes that `proof` of hello signs. `nonce` is 32 raw bytes.
std::string hello_proof_message(std::string_view nonce, std::string_view device_id);

}  // namespace tango::artifacts

// The embedded API server's own certificates (ECDSA P-256): a CA made at the first start, a server
// certificate for loopback and an administrator's client certificate. Keys never leave the state
// folder.
#pragma once

#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/base/secret.h"

namespace tango::standalone {

struct KeyPair {
  std::string cert_pem;
  Secret<std::string> key_pem;
};

struct CertificateRequest {
  std::string common_name;
  std::string organization;
  std::vector<std::string> dns_names;
  std::vector<std::string> ip_addresses;
  bool server = false;
  int days = 3650;
};

// Errors: PkiFailed.
Result<KeyPair> make_ca(const std::string& common_name);
Result<KeyPair> issue_certificate(const KeyPair& ca, const CertificateRequest& request);

struct Pki {
  std::string ca_pem;
  KeyPair server;
  KeyPair admin;
  Secret<std::string> token_key;
};
// Reads <dir>, making what is missing. Files with keys are 0600.
Result<Pki> load_or_make_pki(const fs::path& dir, const std::string& address);

std::string make_kubeconfig(const std::string& server, const std::string& ca_pem,
                            const KeyPair& client);

}  // namespace tango::standalone

#include <libssh/libssh.h>

#include "lib/fleet/ssh.h"

namespace tango::fleet {

Result<SshKeyPair> generate_ssh_key() {
  ssh_key key = nullptr;
  if (ssh_pki_generate(SSH_KEYTYPE_ED25519, 0, &key) != SSH_OK) {
    return make_error(Code::kInternal, "KeyInvalid", "libssh could not make an ed25519 key");
  }
  char* text = nullptr;
  int rc = ssh_pki_export_privkey_base64(key, nullptr, nullptr, nullptr, &text);
  ssh_key_free(key);
  if (rc != SSH_OK || text == nullptr) {
    return make_error(Code::kInternal, "KeyInvalid", "libssh could not write the key");
  }
  SshKeyPair pair;
  pair.private_key = Secret<std::string>(text);
  ssh_string_free_char(text);
  TRY_ASSIGN(pair.public_line, ssh_public_line(pair.private_key));
  return pair;
}

}  // namespace tango::fleet

// Who asks: client certificates of our own CA and signed tokens (JWT, HS256, issued by this server
// alone). Authorisation is one rule, not RBAC: members of system:masters and service accounts of
// tango-system may do everything, other identities may only ask about themselves and discover.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/base/secret.h"

namespace tango::standalone {

struct Identity {
  std::string user;
  std::string uid;
  std::vector<std::string> groups;
  bool in_group(std::string_view group) const;
  bool admin() const;
};

// "O=system:masters,CN=admin" as the HTTP server hands it over (RFC 2253, escapes resolved).
std::optional<Identity> identity_of_subject(std::string_view subject);

class TokenIssuer {
 public:
  TokenIssuer(Secret<std::string> key, std::string issuer)
      : key_(std::move(key)), issuer_(std::move(issuer)) {}
  struct Claims {
    std::string subject;  // "system:serviceaccount:ns:name" or a user name
    std::string uid;
    std::vector<std::string> groups;
    std::vector<std::string> audiences;
    TimePoint expires{};
  };
  std::string issue(const Claims& claims, TimePoint now) const;
  // Nothing when the signature or the time is wrong.
  std::optional<Claims> verify(std::string_view token, TimePoint now) const;
  const std::string& issuer() const { return issuer_; }

 private:
  std::string sign(std::string_view data) const;
  Secret<std::string> key_;
  std::string issuer_;
};

}  // namespace tango::standalone

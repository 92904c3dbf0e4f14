// Who calls the management API, and may they: bearer tokens are checked by TokenReview, requests by
// SubjectAccessReview, both at the API server that we serve; answers are kept for a short time.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/http.h"
#include "lib/base/result.h"
#include "lib/kube/client.h"

namespace tango::op {

struct AuthenticatorOptions {
  Nanos token_ttl = Seconds{60};
  Nanos allow_ttl = Seconds{60};
  Nanos deny_ttl = Seconds{10};
  std::size_t max_entries = 4096;  // of each cache; full: it is emptied
};

struct User {
  std::string name;
  std::string uid;
  std::vector<std::string> groups;
};

// What is done to what: `resource` is a plural of ml-tango.io ("devices"), `subresource` may be
// empty.
struct Access {
  std::string verb;  // get | list | create | update
  std::string resource;
  std::string subresource;
  std::string ns;  // empty: all namespaces
  std::string name;
};

class Authenticator {
 public:
  Authenticator(kube::KubeClient& client, Clock& clock, const AuthenticatorOptions& options = {})
      : client_(client), clock_(clock), options_(options) {}
  // From "Authorization: Bearer ...". Errors: Unauthenticated, and those of the API server.
  Result<User> authenticate(const HttpHeaders& headers);
  // Errors: Forbidden (says who may not do what), and those of the API server.
  Status authorize(const User& user, const Access& access);

 private:
  struct Entry {
    bool ok = false;
    User user;
    std::string message;
    Nanos until{0};
  };
  kube::KubeClient& client_;
  Clock& clock_;
  AuthenticatorOptions options_;
  std::mutex mutex_;
  std::map<Digest, Entry> tokens_;  // by the token's hash: the token itself is not kept
  std::map<std::string, Entry> rights_;
};

}  // namespace tango::op

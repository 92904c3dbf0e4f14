#include "standalone/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>

#include "lib/base/digest.h"
#include "lib/base/random.h"

namespace tango::standalone {

bool Identity::in_group(std::string_view group) const {
  return std::find(groups.begin(), groups.end(), group) != groups.end();
}
bool Identity::admin() const {
  return in_group("system:masters") || in_group("system:serviceaccounts:tango-system");
}

std::optional<Identity> identity_of_subject(std::string_view subject) {
  Identity id;
  std::string key, value;
  bool in_value = false;
  auto finish = [&] {
    if (key == "CN") id.user = value;
    if (key == "O") id.groups.push_back(value);
    key.clear();
    value.clear();
    in_value = false;
  };
  for (std::size_t i = 0; i < subject.size(); ++i) {
    char c = subject[i];
    if (c == '\\' && i + 1 < subject.size()) {
      (in_value ? value : key) += subject[++i];
    } else if (c == ',' || c == '+') {
      finish();
    } else if (c == '=' && !in_value) {
      in_value = true;
    } else {
      (in_value ? value : key) += c;
    }
  }
  finish();
  if (id.user.empty()) return std::nullopt;
  id.groups.emplace_back("system:authenticated");
  return id;
}

std::string TokenIssuer::sign(std::string_view data) const {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int n = 0;
  const std::string& key = key_.reveal();
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(data.data()), data.size(), out, &n);
  return to_base64url(std::string_view(reinterpret_cast<char*>(out), n));
}

std::string TokenIssuer::issue(const Claims& c, TimePoint now) const {
  auto seconds = [](TimePoint t) {
    return std::chrono::duration_cast<Seconds>(t.time_since_epoch()).count();
  };
  Json payload = {
      {"iss", issuer_},      {"sub", c.subject},    {"aud", c.audiences},
      {"iat", seconds(now)}, {"nbf", seconds(now)}, {"exp", seconds(c.expires)},
      {"uid", c.uid},        {"groups", c.groups},  {"jti", random_uuid(system_random())}};
  std::string head = to_base64url(R"({"alg":"HS256","typ":"JWT"})");
  std::string body = head + "." + to_base64url(payload.dump());
  return body + "." + sign(body);
}

std::optional<TokenIssuer::Claims> TokenIssuer::verify(std::string_view token,
                                                       TimePoint now) const {
  auto dot = token.rfind('.');
  if (dot == std::string_view::npos || token.size() > 16 * 1024) return std::nullopt;
  std::string expected = sign(token.substr(0, dot));
  std::string_view given = token.substr(dot + 1);
  if (given.size() != expected.size() ||
      CRYPTO_memcmp(given.data(), expected.data(), expected.size()) != 0)
    return std::nullopt;
  auto first = token.find('.');
  if (first >= dot) return std::nullopt;
  auto payload = from_base64url(token.substr(first + 1, dot - first - 1));
  if (!payload.ok()) return std::nullopt;
  Json j = Json::parse(*payload, nullptr, false);
  if (!j.is_object() || get_string(j, "iss") != issuer_) return std::nullopt;
  Claims c;
  c.subject = get_string(j, "sub");
  c.uid = get_string(j, "uid");
  c.expires = TimePoint{Seconds{get_int(j, "exp")}};
  for (const Json& g : get(j, "groups")) {
    if (g.is_string()) c.groups.push_back(g);
  }
  for (const Json& a : get(j, "aud")) {
    if (a.is_string()) c.audiences.push_back(a);
  }
  if (now >= c.expires || c.subject.empty()) return std::nullopt;
  return c;
}

}  // namespace tango::standalone

#include "operator/authenticator.h"

namespace tango::op {
namespace {

constexpr kube::KindInfo kTokenReview{"authentication.k8s.io", "v1", "TokenReview", "tokenreviews",
                                      false};
constexpr kube::KindInfo kAccessReview{"authorization.k8s.io", "v1", "SubjectAccessReview",
                                       "subjectaccessreviews", false};
constexpr std::string_view kGroup = "ml-tango.io";

Error unauthenticated(std::string message) {
  return make_error(Code::kDenied, "Unauthenticated", std::move(message));
}

}  // namespace

Result<User> Authenticator::authenticate(const HttpHeaders& headers) {
  std::string value = header(headers, "authorization");
  constexpr std::string_view kBearer = "Bearer ";
  if (!value.starts_with(kBearer) || value.size() == kBearer.size()) {
    return unauthenticated("a bearer token is needed: send \"Authorization: Bearer TOKEN\"");
  }
  std::string token = value.substr(kBearer.size());
  Digest key = sha256(token);
  {
    std::lock_guard lock(mutex_);
    auto it = tokens_.find(key);
    if (it != tokens_.end() && it->second.until > clock_.monotonic()) {
      if (it->second.ok) return it->second.user;
      return unauthenticated(it->second.message);
    }
  }
  Json review{{"apiVersion", kTokenReview.api_version()},
              {"kind", std::string(kTokenReview.kind)},
              {"metadata", Json::object()},
              {"spec", {{"token", token}}}};
  TRY_ASSIGN(Json answer, client_.create(kTokenReview, review));
  Entry entry;
  const Json& status = get(answer, "status");
  entry.ok = get_bool(status, "authenticated");
  entry.user.name = get_string(get(status, "user"), "username");
  entry.user.uid = get_string(get(status, "user"), "uid");
  for (const Json& group : get(get(status, "user"), "groups")) {
    if (group.is_string()) entry.user.groups.push_back(group.get<std::string>());
  }
  entry.message = "the bearer token is not valid (any more)";
  entry.until = clock_.monotonic() + (entry.ok ? options_.token_ttl : options_.deny_ttl);
  std::lock_guard lock(mutex_);
  if (tokens_.size() >= options_.max_entries) tokens_.clear();
  tokens_.insert_or_assign(key, entry);
  if (!entry.ok) return unauthenticated(entry.message);
  return entry.user;
}

Status Authenticator::authorize(const User& user, const Access& access) {
  Json attributes{
      {"group", std::string(kGroup)}, {"verb", access.verb}, {"resource", access.resource}};
  if (!access.subresource.empty()) attributes["subresource"] = access.subresource;
  if (!access.ns.empty()) attributes["namespace"] = access.ns;
  if (!access.name.empty()) attributes["name"] = access.name;
  Json spec{{"user", user.name}, {"groups", user.groups}, {"resourceAttributes", attributes}};
  if (!user.uid.empty()) spec["uid"] = user.uid;
  std::string key = dump_json(spec);
  auto refusal = [&](const std::string& why) {
    std::string what = access.verb + " " + access.resource +
                       (access.subresource.empty() ? "" : "/" + access.subresource);
    return make_error(
        Code::kDenied, "Forbidden",
        user.name + " may not " + what + " in " +
            (access.ns.empty() ? std::string("all namespaces") : "namespace " + access.ns) +
            (why.empty() ? "" : ": " + why));
  };
  {
    std::lock_guard lock(mutex_);
    auto it = rights_.find(key);
    if (it != rights_.end() && it->second.until > clock_.monotonic()) {
      if (it->second.ok) return Ok{};
      return refusal(it->second.message);
    }
  }
  Json review{{"apiVersion", kAccessReview.api_version()},
              {"kind", std::string(kAccessReview.kind)},
              {"metadata", Json::object()},
              {"spec", std::move(spec)}};
  TRY_ASSIGN(Json answer, client_.create(kAccessReview, review));
  Entry entry;
  entry.ok = get_bool(get(answer, "status"), "allowed");
  entry.message = get_string(get(answer, "status"), "reason");
  entry.until = clock_.monotonic() + (entry.ok ? options_.allow_ttl : options_.deny_ttl);
  std::lock_guard lock(mutex_);
  if (rights_.size() >= options_.max_entries) rights_.clear();
  rights_.insert_or_assign(std::move(key), entry);
  if (!entry.ok) return refusal(entry.message);
  return Ok{};
}

}  // namespace tango::op

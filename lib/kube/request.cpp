#include "lib/kube/request.h"

#include <charconv>

namespace tango::kube {
namespace {

constexpr std::int64_t kMaxRetryAfterSeconds = 60;

class Query {
 public:
  explicit Query(std::string path) : text_(std::move(path)) {}
  void add(std::string_view key, std::string_view value) {
    if (value.empty()) return;
    text_ += first_ ? '?' : '&';
    first_ = false;
    text_ += key;
    text_ += '=';
    text_ += url_encode(value);
  }
  void add(std::string_view key, std::int64_t value) { add(key, std::to_string(value)); }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  bool first_ = true;
};

std::string_view reason_of(int status) {
  switch (status) {
    case 400:
      return "BadRequest";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "NotFound";
    case 405:
      return "MethodNotAllowed";
    case 406:
      return "NotAcceptable";
    case 409:
      return "Conflict";
    case 410:
      return "Expired";
    case 413:
      return "RequestEntityTooLarge";
    case 415:
      return "UnsupportedMediaType";
    case 422:
      return "Invalid";
    case 429:
      return "TooManyRequests";
    case 500:
      return "InternalError";
    case 503:
      return "ServiceUnavailable";
    case 504:
      return "Timeout";
    default:
      return "UnexpectedAnswer";
  }
}

Code code_of(int status, std::string_view reason) {
  if (reason == "AlreadyExists") return Code::kExists;
  switch (status) {
    case 401:
    case 403:
      return Code::kDenied;
    case 404:
      return Code::kNotFound;
    case 405:
      return Code::kUnsupported;
    case 409:
    case 410:
      return Code::kConflict;  // both: read again
    case 429:
      return Code::kUnavailable;
    case 504:
      return Code::kTimeout;
    default:
      return status >= 500 ? Code::kUnavailable : Code::kInvalid;
  }
}

bool has_cause(const Json& status, std::string_view reason) {
  for (const Json& cause : at_path(status, "details.causes")) {
    if (get_string(cause, "reason") == reason) return true;
  }
  return false;
}

}  // namespace

std::string resource_path(const KindInfo& kind, std::string_view ns, std::string_view name,
                          std::string_view subresource) {
  std::string path = kind.group.empty() ? "/api/" : "/apis/" + std::string(kind.group) + "/";
  path += kind.version;
  if (kind.namespaced && !ns.empty()) path += "/namespaces/" + url_encode(ns);
  path += '/';
  path += kind.plural;
  if (!name.empty()) path += "/" + url_encode(name);
  if (!subresource.empty()) path += "/" + std::string(subresource);
  return path;
}

std::string list_target(const KindInfo& kind, const ListOptions& options,
                        std::string_view continue_token, std::int64_t limit) {
  Query query(resource_path(kind, options.ns));
  query.add("labelSelector", options.label_selector);
  query.add("fieldSelector", options.field_selector);
  if (limit > 0) query.add("limit", limit);
  if (continue_token.empty()) {
    query.add("resourceVersion", options.resource_version);
    query.add("resourceVersionMatch", options.resource_version_match);
  } else {
    query.add("continue", continue_token);  // the token fixes the version; naming one is an error
  }
  return query.take();
}

std::string watch_target(const KindInfo& kind, const ListOptions& options,
                         std::string_view resource_version, std::int64_t timeout_seconds) {
  Query query(resource_path(kind, options.ns));
  query.add("watch", "1");
  query.add("allowWatchBookmarks", "true");
  query.add("resourceVersion", resource_version);
  query.add("timeoutSeconds", timeout_seconds);
  query.add("labelSelector", options.label_selector);
  query.add("fieldSelector", options.field_selector);
  return query.take();
}

std::string write_query(const WriteOptions& options, bool apply) {
  Query query({});
  query.add("fieldManager", options.field_manager);
  if (apply && options.force) query.add("force", "true");
  if (options.dry_run) query.add("dryRun", "All");
  if (options.strict) query.add("fieldValidation", "Strict");
  return query.take();
}

Json delete_body(const DeleteOptions& options) {
  Json body = {{"apiVersion", "v1"}, {"kind", "DeleteOptions"}};
  if (!options.propagation.empty()) body["propagationPolicy"] = options.propagation;
  if (!options.uid.empty()) body["preconditions"]["uid"] = options.uid;
  if (!options.resource_version.empty()) {
    body["preconditions"]["resourceVersion"] = options.resource_version;
  }
  return body;
}

std::string_view content_type(PatchType type) {
  switch (type) {
    case PatchType::kMerge:
      return "application/merge-patch+json";
    case PatchType::kJson:
      return "application/json-patch+json";
    case PatchType::kStrategic:
      return "application/strategic-merge-patch+json";
    case PatchType::kApply:
      return "application/apply-patch+yaml";  // JSON is YAML
  }
  return "application/json";
}

Error error_from_status(const Json& status, int fallback_code, std::string_view what) {
  const int code = static_cast<int>(get_int(status, "code", fallback_code));
  std::string reason = get_string(status, "reason");
  if (reason.empty() || reason == "Unknown") reason = reason_of(code);
  if (reason == "Gone") reason = "Expired";  // servers use both for a version that is too old
  if (has_cause(status, "ResourceVersionTooLarge")) reason = "ResourceVersionTooLarge";
  std::string message = get_string(status, "message");
  if (message.empty()) message = "the API server answered " + std::to_string(code);
  Error error = make_error(code_of(code, reason), reason, std::move(message));
  return what.empty() ? error : std::move(error).with_context(std::string(what));
}

Error error_from_response(int status, std::string_view body, std::string_view what) {
  if (auto parsed = parse_json(body); parsed.ok() && get_string(*parsed, "kind") == "Status") {
    return error_from_status(*parsed, status, what);
  }
  Json plain = Json::object();
  plain["message"] = "the API server answered " + std::to_string(status);
  if (!body.empty()) {
    std::string excerpt(body.substr(0, 200));
    while (!excerpt.empty() && (excerpt.back() == '\n' || excerpt.back() == ' '))
      excerpt.pop_back();
    plain["message"] = plain["message"].get<std::string>() + ": " + excerpt;
  }
  return error_from_status(plain, status, what);
}

std::optional<Nanos> retry_after(const HttpHeaders& headers) {
  const std::string text = header(headers, "Retry-After");
  std::int64_t seconds = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (text.empty() || ec != std::errc() || end != text.data() + text.size() || seconds < 0)
    return std::nullopt;
  return Seconds{std::min(seconds, kMaxRetryAfterSeconds)};
}

std::optional<Nanos> should_retry(int status, const HttpHeaders& headers) {
  if (status != 429 && status < 500) return std::nullopt;
  return retry_after(headers);
}

std::vector<std::string> warnings(const HttpHeaders& headers) {
  std::vector<std::string> out;
  const auto [begin, end] = headers.equal_range("Warning");
  for (auto it = begin; it != end; ++it) {
    const std::string& value = it->second;
    const auto open = value.find('"');
    if (!value.starts_with("299 ") || open == std::string::npos) continue;
    std::string text;
    for (std::size_t i = open + 1; i < value.size() && value[i] != '"'; ++i) {
      if (value[i] == '\\' && i + 1 < value.size()) ++i;
      text += value[i];
    }
    out.push_back(std::move(text));
  }
  return out;
}

}  // namespace tango::kube

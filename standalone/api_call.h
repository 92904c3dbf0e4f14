// One API request, taken apart: shared by the files that make up ApiServer, and by nobody else.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "standalone/api_server.h"
#include "standalone/selectors.h"
#include "standalone/table.h"

namespace tango::standalone {

inline constexpr std::string_view kServerVersion = "v1.29.0+tango";

struct ApiServer::Call {
  const HttpRequest& request;
  UrlTarget target;
  std::vector<std::string> path;
  Identity identity;

  // Filled for resource requests.
  std::shared_ptr<const ResourceTable> table;
  ResourcePtr resource;
  std::string ns, name, sub;
  WriteContext context;
  std::vector<std::string> warnings;

  std::string query(std::string_view key) const { return target.get(key); }
  bool flag(std::string_view key) const {
    std::string v = target.get(key);
    return v == "true" || v == "1" || (v.empty() && target.query.contains(std::string(key)));
  }
};

HttpReply json_reply(int status, const Json& body);
HttpReply text_reply(int status, std::string body);
HttpReply error_reply(const ApiError& error);
// The request body as JSON (JSON or YAML by its content type). Throws 400 or 415.
Json parse_body(const HttpRequest& request);
// Set when the client asked for a Table.
std::optional<TableRequest> table_request(const HttpRequest& request, const UrlTarget& target);
bool wants_partial_metadata(const HttpRequest& request);
struct Filters {
  Selector labels, fields;
  bool matches(const Json& object) const {
    return labels.matches_labels(object) && fields.matches_fields(object);
  }
};
// Throws 400 for selectors that cannot be parsed or fields that the kind does not index.
Filters parse_filters(const UrlTarget& target, const ResourceInfo& r, const std::string& name);
std::int64_t parse_revision(const std::string& text);
// 504 when a client asks for a revision that does not exist yet.
ApiError too_large_revision(std::int64_t asked, std::int64_t current);

}  // namespace tango::standalone

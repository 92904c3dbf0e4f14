#include "standalone/api_error.h"

namespace tango::standalone {
namespace {

std::string qualified(std::string_view group, std::string_view word) {
  return group.empty() ? std::string(word) : std::string(word) + "." + std::string(group);
}

ApiError about(int code, std::string_view reason, std::string message, std::string_view group,
               std::string_view kind, std::string_view name) {
  ApiError e(code, reason, std::move(message));
  e.group = group;
  e.kind = kind;
  e.name = name;
  return e;
}

}  // namespace

Json ApiError::status() const {
  Json s = {{"kind", "Status"},    {"apiVersion", "v1"}, {"metadata", Json::object()},
            {"status", "Failure"}, {"message", message}, {"reason", reason},
            {"code", code}};
  Json details = Json::object();
  if (!name.empty()) details["name"] = name;
  if (!group.empty()) details["group"] = group;
  if (!kind.empty()) details["kind"] = kind;
  if (!uid.empty()) details["uid"] = uid;
  if (!causes.empty()) {
    Json list = Json::array();
    for (const Cause& c : causes) {
      Json item = {{"reason", c.reason}, {"message", c.message}};
      if (!c.field.empty()) item["field"] = c.field;
      list.push_back(std::move(item));
    }
    details["causes"] = std::move(list);
  }
  if (retry_after_seconds > 0) details["retryAfterSeconds"] = retry_after_seconds;
  if (!details.empty()) s["details"] = std::move(details);
  return s;
}

ApiError bad_request(std::string message) { return {400, "BadRequest", std::move(message)}; }

ApiError not_found(std::string_view group, std::string_view plural, std::string_view name) {
  return about(404, "NotFound",
               qualified(group, plural) + " \"" + std::string(name) + "\" not found", group, plural,
               name);
}

ApiError already_exists(std::string_view group, std::string_view plural, std::string_view name) {
  return about(409, "AlreadyExists",
               qualified(group, plural) + " \"" + std::string(name) + "\" already exists", group,
               plural, name);
}

ApiError conflict(std::string_view group, std::string_view plural, std::string_view name,
                  std::string_view why) {
  return about(409, "Conflict",
               "Operation cannot be fulfilled on " + qualified(group, plural) + " \"" +
                   std::string(name) + "\": " + std::string(why),
               group, plural, name);
}

ApiError modified(std::string_view group, std::string_view plural, std::string_view name) {
  return conflict(group, plural, name,
                  "the object has been modified; please apply your changes to the latest version "
                  "and try again");
}

ApiError invalid(std::string_view group, std::string_view kind, std::string_view name,
                 std::vector<Cause> causes) {
  std::string list;
  for (const Cause& c : causes) {
    if (!list.empty()) list += ", ";
    list += c.field.empty() ? c.message : c.field + ": " + c.message;
  }
  if (causes.size() > 1) list = "[" + list + "]";
  ApiError e = about(422, "Invalid",
                     qualified(group, kind) + " \"" + std::string(name) + "\" is invalid: " + list,
                     group, kind, name);
  e.causes = std::move(causes);
  return e;
}

ApiError forbidden(std::string_view group, std::string_view plural, std::string_view name,
                   std::string_view why) {
  std::string what =
      qualified(group, plural) + (name.empty() ? "" : " \"" + std::string(name) + "\"");
  return about(403, "Forbidden", what + " is forbidden: " + std::string(why), group, plural, name);
}

ApiError expired(std::string message) { return {410, "Expired", std::move(message)}; }

ApiError method_not_allowed(std::string message) {
  return {405, "MethodNotAllowed", std::move(message)};
}

Json success_status(std::string_view group, std::string_view plural, std::string_view name,
                    std::string_view uid) {
  Json details = {{"name", name}, {"kind", plural}, {"uid", uid}};
  if (!group.empty()) details["group"] = group;
  return {{"kind", "Status"},
          {"apiVersion", "v1"},
          {"metadata", Json::object()},
          {"status", "Success"},
          {"details", std::move(details)}};
}

}  // namespace tango::standalone

// How the embedded API server refuses: metav1.Status with its causes. Thrown inside this room only
// and turned into an answer at its wall (ApiServer::handle, LocalApi); never leaves it.
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json.h"

namespace tango::standalone {

struct Cause {
  std::string reason;  // FieldValueInvalid, FieldManagerConflict, ...
  std::string message;
  std::string field;  // "spec.targets[0].name"
};

struct ApiError : std::exception {
  int code = 500;
  std::string reason;  // NotFound, AlreadyExists, Conflict, Invalid, ...
  std::string message;
  std::string name, group, kind, uid;  // details
  std::vector<Cause> causes;
  int retry_after_seconds = 0;

  ApiError(int code_in, std::string_view reason_in, std::string message_in)
      : code(code_in), reason(reason_in), message(std::move(message_in)) {}
  const char* what() const noexcept override { return message.c_str(); }
  Json status() const;  // metav1.Status
};

ApiError bad_request(std::string message);
ApiError not_found(std::string_view group, std::string_view plural, std::string_view name);
ApiError already_exists(std::string_view group, std::string_view plural, std::string_view name);
ApiError conflict(std::string_view group, std::string_view plural, std::string_view name,
                  std::string_view why);
ApiError modified(std::string_view group, std::string_view plural, std::string_view name);
ApiError invalid(std::string_view group, std::string_view kind, std::string_view name,
                 std::vector<Cause> causes);
ApiError forbidden(std::string_view group, std::string_view plural, std::string_view name,
                   std::string_view why);
ApiError expired(std::string message);
ApiError method_not_allowed(std::string message);
Json success_status(std::string_view group, std::string_view plural, std::string_view name,
                    std::string_view uid);

}  // namespace tango::standalone

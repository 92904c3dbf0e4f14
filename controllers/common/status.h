// Reading and writing typed statuses of generated kinds, and the rule set at the reconciler's gate.
#pragma once

#include "crds/validate.h"
#include "lib/kube-types/reader.h"
#include "lib/kube-types/writer.h"

namespace tango::controllers {

// Takes `value` over when it reads as a status of this kind; an executor's words that do not fit
// change nothing. Returns whether they fitted.
template <typename S>
bool replace_status(S& status, const Json& value) {
  auto parsed = kube::read_object<S>(dump_json(value));
  if (!parsed.ok()) return false;
  status = std::move(*parsed);
  return true;
}

// The rules of validate(kind) for an object that came past the webhook.
template <typename T>
Status check_object(const T& object) {
  const auto violations = crds::validate(object);
  if (violations.empty()) return ok_status();
  const bool unsupported = crds::only_unsupported(violations);
  return make_error(unsupported ? Code::kUnsupported : Code::kInvalid,
                    unsupported ? "Unsupported" : "Invalid", crds::summary(violations));
}

inline int attempt_of(const std::optional<std::int32_t>& attempt) { return attempt.value_or(0); }
inline int attempt_of(std::int32_t attempt) { return attempt; }
inline void set_attempt(std::optional<std::int32_t>& field, int attempt) { field = attempt; }
inline void set_attempt(std::int32_t& field, int attempt) { field = attempt; }

}  // namespace tango::controllers

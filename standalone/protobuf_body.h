// Protobuf request bodies of the few kinds that newer kubectl sends that way:
// SelfSubjectAccessReview, SelfSubjectReview and TokenRequest. Everything else stays 415; answers
// are always JSON.
#pragma once

#include <optional>
#include <string_view>

#include "lib/base/json.h"

namespace tango::standalone {

// Nothing when the bytes are malformed or name another kind.
std::optional<Json> protobuf_body(std::string_view bytes);

}  // namespace tango::standalone

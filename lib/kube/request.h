// The Kubernetes API as text, without a socket: paths, queries, bodies and what an answer means.
// Used by KubeClient and the reflector; every function is pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/http.h"
#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/kube-types/meta.h"
#include "lib/kube/client.h"

namespace tango::kube {

// "<path>?limit=500&continue=..."; limit 0 asks for everything at once.
std::string list_target(const KindInfo& kind, const ListOptions& options,
                        std::string_view continue_token, std::int64_t limit);
std::string watch_target(const KindInfo& kind, const ListOptions& options,
                         std::string_view resource_version, std::int64_t timeout_seconds);
// "?fieldManager=...&force=true" or "".
std::string write_query(const WriteOptions& options, bool apply);
Json delete_body(const DeleteOptions& options);
std::string_view content_type(PatchType type);

// The error that a status >= 400 stands for. The body's Status, when there is one, gives reason and
// message; two 409s differ by reason only (AlreadyExists is Code::kExists, others kConflict).
Error error_from_response(int status, std::string_view body, std::string_view what);
Error error_from_status(const Json& status, int fallback_code, std::string_view what);

// Whole seconds of a Retry-After header (a date form is ignored, as client-go does).
std::optional<Nanos> retry_after(const HttpHeaders& headers);
// Whether an answer may be sent again as it is: 429 or 5xx with Retry-After.
std::optional<Nanos> should_retry(int status, const HttpHeaders& headers);
// The texts of Warning headers (RFC 7234: 299 agent "text").
std::vector<std::string> warnings(const HttpHeaders& headers);

}  // namespace tango::kube

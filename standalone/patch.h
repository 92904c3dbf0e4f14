// The patch types of the API: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge for
// built-in kinds. Pure; errors are ApiError as a server answers them.
#pragma once

#include "lib/base/json.h"
#include "standalone/schema.h"

namespace tango::standalone {

// Throws ApiError 422 when a test fails or a path is absent, 400 when the patch is malformed.
Json json_patch(const Json& target, const Json& patch);
// Strategic merge: lists of objects merge by the schema's merge key; the directives $patch,
// $deleteFromPrimitiveList, $setElementOrder and $retainKeys are obeyed.
Json strategic_merge(const Json& target, const Json& patch, const Schema& schema);

}  // namespace tango::standalone

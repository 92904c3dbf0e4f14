// What is special about each built-in kind on its way into the store: derived fields, defaults that
// depend on others, and rules beyond the schema. Pure.
#pragma once

#include <vector>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "standalone/resources.h"

namespace tango::standalone {

// Another spelling of the same content (stringData of a Secret): before ownership is recorded.
void normalise(const ResourceInfo& r, Json& object);
// What the server itself fills in, owned by nobody. After schema defaults; metadata.uid is set.
// `old` is null on create.
void apply_strategy(const ResourceInfo& r, Json& object, const Json* old, TimePoint now);
void check_strategy(const ResourceInfo& r, const Json& object, const Json* old,
                    std::vector<Cause>& causes);
void check_metadata(const ResourceInfo& r, const Json& object, std::vector<Cause>& causes);

}  // namespace tango::standalone

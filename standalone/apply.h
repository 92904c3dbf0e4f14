// Server-side apply and field ownership (KEP-555): merging an applied manifest into the live
// object, conflicts between managers, dropping fields the applier gave up, and the bookkeeping of
// every other write. Pure.
#pragma once

#include <string>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "standalone/schema.h"

namespace tango::standalone {

struct FieldWriter {
  std::string manager;
  std::string api_version;
  std::string subresource;
};

// Records that `writer` changed `before` (null: created) into `after` by create, update or patch.
// Sets after.metadata.managedFields.
void track_update(const Json& before, Json& after, const Schema& schema, const FieldWriter& writer,
                  TimePoint now);

// The object after applying `config` to `live` (null: it will be created), with managedFields.
// Throws ApiError 409 with FieldManagerConflict causes unless `force`.
Json apply_config(const Json& live, const Json& config, const Schema& schema,
                  const FieldWriter& writer, bool force, TimePoint now);

// Merge of an applied value into a live one by the schema's list and map types.
Json merge_typed(const Json& live, const Json& config, const Schema& schema);

}  // namespace tango::standalone

// meta.k8s.io Tables: what `kubectl get` prints. Columns of custom resources come from their
// definition, those of built-in kinds follow kubectl's habits.
#pragma once

#include <vector>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "standalone/resources.h"

namespace tango::standalone {

struct TableColumn {
  std::string name, type, format, description;
  int priority = 0;
};

enum class IncludeObject { kMetadata, kObject, kNone };

struct TableRequest {
  std::string api_version = "meta.k8s.io/v1";  // or v1beta1
  IncludeObject include = IncludeObject::kMetadata;
};

std::vector<TableColumn> table_columns(const ResourceInfo& r);
// One cell per column; null cells print empty.
Json table_cells(const ResourceInfo& r, const Json& object, TimePoint now);
// `list_meta` becomes the table's metadata. `with_columns` is false for all but the first event of
// a watch.
Json make_table(const ResourceInfo& r, const std::vector<Json>& objects, const Json& list_meta,
                const TableRequest& request, TimePoint now, bool with_columns = true);

// PartialObjectMetadata of an object.
Json partial_metadata(const Json& object);

// Rows of the built-in kinds (table_builtin.cpp); false: no special columns for this kind.
bool builtin_columns(const ResourceInfo& r, std::vector<TableColumn>& columns);
Json builtin_cells(const ResourceInfo& r, const Json& object, TimePoint now);
// kubectl's age of an RFC 3339 stamp: "5m", "<unknown>" when absent.
std::string age_of(const Json& stamp, TimePoint now);

}  // namespace tango::standalone

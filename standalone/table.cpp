#include "standalone/table.h"

namespace tango::standalone {
namespace {

const TableColumn kName{
    "Name", "string", "name",
    "Name must be unique within a namespace and is set by whoever creates the object.", 0};
const TableColumn kAge{"Age", "date", "", "Time since the object was created.", 0};

Json custom_cell(const PrinterColumn& column, const Json& object, TimePoint now) {
  auto found = column.path.find(object);
  if (found.empty() || found.front()->is_null()) return nullptr;
  const Json& v = *found.front();
  if (column.type == "integer") {
    if (v.is_number_integer()) return v;
    if (v.is_number()) return static_cast<std::int64_t>(v.get<double>());
    return nullptr;
  }
  if (column.type == "number") return v.is_number() ? v : Json();
  if (column.type == "boolean") return v.is_boolean() ? v : Json();
  if (column.type == "date") {
    if (!v.is_string() || !parse_time(v.get<std::string>()).ok()) return "<invalid>";
    return age_of(v, now);
  }
  if (v.is_string()) return v;
  return dump_json(v);
}

}  // namespace

std::string age_of(const Json& stamp, TimePoint now) {
  if (!stamp.is_string()) return "<unknown>";
  auto t = parse_time(stamp.get<std::string>());
  if (!t.ok()) return "<unknown>";
  return human_age(now > *t ? now - *t : Nanos{0});
}

std::vector<TableColumn> table_columns(const ResourceInfo& r) {
  std::vector<TableColumn> out;
  if (!r.custom && builtin_columns(r, out)) return out;
  out.push_back(kName);
  if (!r.custom || r.columns.empty()) {
    out.push_back(kAge);
    return out;
  }
  for (const PrinterColumn& c : r.columns)
    out.push_back({c.name, c.type, c.format, c.description, c.priority});
  return out;
}

Json table_cells(const ResourceInfo& r, const Json& object, TimePoint now) {
  std::vector<TableColumn> unused;
  if (!r.custom && builtin_columns(r, unused)) return builtin_cells(r, object, now);
  const Json& meta = get(object, "metadata");
  Json cells = Json::array({get_string(meta, "name")});
  if (!r.custom || r.columns.empty()) {
    cells.push_back(age_of(get(meta, "creationTimestamp"), now));
    return cells;
  }
  for (const PrinterColumn& c : r.columns) cells.push_back(custom_cell(c, object, now));
  return cells;
}

Json partial_metadata(const Json& object) {
  return {{"kind", "PartialObjectMetadata"},
          {"apiVersion", "meta.k8s.io/v1"},
          {"metadata", get(object, "metadata")}};
}

Json make_table(const ResourceInfo& r, const std::vector<Json>& objects, const Json& list_meta,
                const TableRequest& q, TimePoint now, bool with_columns) {
  Json table = {{"kind", "Table"},
                {"apiVersion", q.api_version},
                {"metadata", list_meta},
                {"columnDefinitions", Json::array()},
                {"rows", Json::array()}};
  if (with_columns) {
    for (const TableColumn& c : table_columns(r)) {
      table["columnDefinitions"].push_back({{"name", c.name},
                                            {"type", c.type},
                                            {"format", c.format},
                                            {"description", c.description},
                                            {"priority", c.priority}});
    }
  }
  for (const Json& object : objects) {
    Json row = {{"cells", table_cells(r, object, now)}};
    if (q.include == IncludeObject::kObject) {
      row["object"] = object;
    } else if (q.include == IncludeObject::kMetadata) {
      row["object"] = partial_metadata(object);
      row["object"]["apiVersion"] = q.api_version;
    }
    table["rows"].push_back(std::move(row));
  }
  return table;
}

}  // namespace tango::standalone

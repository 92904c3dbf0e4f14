// dataset import and dataset stats.
#include "lib/data/dataset.h"

#include <ostream>
#include <thread>

#include "crds/types.h"
#include "lib/base/file.h"
#include "lib/base/yaml.h"
#include "tangoctl/verbs.h"

namespace tango::ctl {
namespace {

Result<Json> report_of(const DatasetOptions& options) {
  data::OpenOptions open;
  TRY_ASSIGN(open.format, data::parse_format(options.format));
  open.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return data::dataset_report(options.path, open);
}

void print_report(Session& session, const Json& report) {
  session.out() << "format    " << get_string(report, "format") << "\n"
                << "classes   " << get_int(report, "classCount") << "\n"
                << "digest    " << get_string(report, "digest") << "\n";
  TextTable splits({"SPLIT", "IMAGES", "LABELS", "MISSING", "EMPTY", "CORRUPT", "UNLABELLED"});
  // The report counts findings as {count, names}; Dataset.status as plain numbers.
  auto count = [](const Json& s, const char* key, const char* counted) {
    const Json& v = get(s, key);
    if (v.is_object()) return std::to_string(get_int(v, "count"));
    if (v.is_number()) return v.dump();
    if (s.contains(counted)) return get(s, counted).dump();
    return std::to_string(v.is_array() ? v.size() : 0);
  };
  for (const auto& [name, s] : get(report, "splits").items()) {
    splits.row({name, count(s, "images", ""), count(s, "labels", ""), count(s, "missing", ""),
                count(s, "empty", ""), count(s, "corrupt", "corruptCount"),
                count(s, "unlabelled", "")});
  }
  if (!splits.empty()) {
    session.out() << "\n";
    splits.print(session);
  }
  // The report of a folder says how many of each split; Dataset.status only the sum.
  const Json& per_class = get(report, "perClass");
  TextTable divided({"CLASS", "TRAIN", "VAL", "TEST"});
  TextTable sums({"CLASS", "IMAGES"});
  if (per_class.is_object()) {
    for (const auto& [name, n] : per_class.items()) sums.row({name, n.dump()});
  } else if (per_class.is_array()) {
    for (const auto& row : per_class) {
      auto number = [&](const char* key) { return std::to_string(get_int(row, key)); };
      divided.row({get_string(row, "class"), number("train"), number("val"), number("test")});
    }
  }
  for (const TextTable* table : {&divided, &sums}) {
    if (table->empty()) continue;
    session.out() << "\n";
    table->print(session);
  }
  for (const auto& w : get(report, "warnings")) {
    session.out() << "warning: "
                  << (w.is_string() ? w.get<std::string>()
                                    : get_string(w, "reason") + ": " + get_string(w, "message"))
                  << "\n";
  }
}

int print(Session& session, const Json& report, const std::string& output) {
  if (output == "json") {
    session.out() << dump_json(report, 2) << "\n";
  } else if (output == "yaml") {
    session.out() << to_yaml(report);
  } else {
    print_report(session, report);
  }
  return kOk;
}

}  // namespace

int dataset_import(Session& session, const DatasetOptions& options) {
  std::error_code ec;
  fs::path root = fs::canonical(options.path, ec);
  if (ec || !fs::is_directory(root)) {
    return session.fail(make_error(Code::kNotFound, "NotFound", options.path + " is not a folder"));
  }
  // Looking first costs seconds and saves a failed Job.
  auto report = report_of(options);
  if (!report.ok()) return session.fail(report.error());
  print_report(session, *report);
  auto ns = session.ns();
  if (!ns.ok()) return session.fail(ns.error());
  Json object{{"apiVersion", "ml-tango.io/v1alpha1"},
              {"kind", "Dataset"},
              {"metadata", {{"name", options.name}, {"namespace", *ns}}},
              {"spec",
               {{"source", {{"hostPath", {{"path", root.string()}}}}},
                {"format", get_string(*report, "format")}}}};
  session.out() << "\n";
  if (options.dry_run) {
    session.out() << to_yaml(object);
    return kOk;
  }
  auto client = session.kube();
  if (!client.ok()) return session.fail(client.error());
  kube::WriteOptions write;
  write.field_manager = "tangoctl";
  auto made = (*client)->apply(crds::Dataset::kKind, object, write);
  if (!made.ok()) return session.fail(made.error());
  session.out() << "dataset.ml-tango.io/" << options.name << " applied\n";
  return kOk;
}

int dataset_stats(Session& session, const DatasetOptions& options) {
  std::error_code ec;
  if (options.path.find('/') != std::string::npos || fs::is_directory(options.path, ec)) {
    auto report = report_of(options);
    if (!report.ok()) return session.fail(report.error());
    return print(session, *report, options.output);
  }
  auto client = session.kube();
  if (!client.ok()) return session.fail(client.error());
  auto ns = session.ns();
  if (!ns.ok()) return session.fail(ns.error());
  auto object = (*client)->get(crds::Dataset::kKind, *ns, options.path);
  if (!object.ok()) return session.fail(object.error());
  const Json& status = get(*object, "status");
  if (get_string(status, "digest").empty()) {
    return session.fail(make_error(Code::kUnavailable, "NotValidated",
                                   "dataset " + options.path +
                                       " is not validated yet; see `tangoctl describe dataset " +
                                       options.path + "`"));
  }
  return print(session, status, options.output);
}

}  // namespace tango::ctl

// keys init and keys show: the signing keys of an installation, offline.
#include "lib/artifacts/keys.h"

#include <ostream>

#include "tangoctl/verbs.h"

namespace tango::ctl {
namespace {

using artifacts::KeySet;
using artifacts::Role;

int print(Session& session, const KeySet& keys, const std::string& output) {
  Json roles = Json::object();
  TextTable table({"ROLE", "THRESHOLD", "KEY", "PRIVATE"});
  bool single = true;
  for (const auto& [role, row] : keys.root.roles) {
    std::string name(to_string(role));
    roles[name] = {{"threshold", row.threshold}, {"keyIds", row.keyids}};
    single = single && row.threshold == 1;
    const auto* held = keys.key(role);
    for (const auto& id : row.keyids) {
      bool here = held != nullptr && held->id() == id;
      table.row(
          {name, std::to_string(row.threshold), id.substr(0, 16), here ? "here" : "elsewhere"});
    }
  }
  if (output == "json") {
    session.out() << dump_json(Json{{"version", keys.root.version}, {"roles", roles}}, 2) << "\n";
    return kOk;
  }
  session.out() << "root version " << keys.root.version << " in " << keys.dir.string() << "\n";
  table.print(session);
  if (single) {
    session.err()
        << "note: threshold 1, all keys in one folder: right for one machine, not for production\n";
  }
  return kOk;
}

}  // namespace

int keys_init(Session& session, const std::string& dir) {
  auto keys = artifacts::init_keys(dir);
  if (!keys.ok()) return session.fail(keys.error());
  return print(session, *keys, "");
}

int keys_show(Session& session, const std::string& dir, const std::string& output) {
  auto keys = artifacts::load_keys(dir);
  if (!keys.ok()) return session.fail(keys.error());
  return print(session, *keys, output);
}

}  // namespace tango::ctl

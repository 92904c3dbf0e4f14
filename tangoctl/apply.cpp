// apply, delete and wait.
#include <chrono>
#include <ostream>
#include <thread>

#include "crds/validate.h"
#include "lib/kube/request.h"
#include "tangoctl/resources.h"
#include "tangoctl/verbs.h"

namespace tango::ctl {
namespace {

// Says what is wrong with a manifest, with file and line. True when it may be sent.
bool check(Session& session, const Manifest& manifest) {
  const Json& object = manifest.document.value;
  if (get_string(object, "apiVersion").rfind("ml-tango.io/", 0) != 0) return true;
  auto found = crds::validate_object(object);
  bool good = true;
  for (const auto& v : found) {
    int line = manifest.document.line_of(v.path);
    bool warning = v.reason == "Unsupported";
    good = good && warning;
    session.err() << (warning ? "warning: " : "error: ") << manifest.file;
    if (line > 0) session.err() << ":" << line;
    session.err() << ": " << v.to_string() << "\n";
  }
  return good;
}

struct Prepared {
  ResourceType type;
  std::string ns;
  std::string name;
  Json object;
  std::string printed() const { return type.printed() + "/" + name; }
};

Result<Prepared> prepare(Session& session, const Manifest& manifest) {
  Prepared out;
  out.object = manifest.document.value;
  std::string version = get_string(out.object, "apiVersion"), kind = get_string(out.object, "kind");
  if (version.empty() || kind.empty()) {
    return make_error(Code::kInvalid, "InvalidManifest",
                      manifest.file + ":" + std::to_string(manifest.document.line_of("")) +
                          ": an object needs apiVersion and kind");
  }
  TRY_ASSIGN(out.type, type_of(session, version, kind));
  out.name = get_string(get(out.object, "metadata"), "name");
  if (out.name.empty()) {
    return make_error(Code::kInvalid, "InvalidManifest",
                      manifest.file + ": a " + kind + " has no metadata.name");
  }
  if (out.type.info.namespaced) {
    out.ns = get_string(out.object["metadata"], "namespace");
    if (!out.ns.empty() && !session.globals().ns.empty() && out.ns != session.globals().ns) {
      return make_error(Code::kInvalid, "NamespaceMismatch",
                        manifest.file + ": the namespace " + out.ns + " of " + out.printed() +
                            " is not the namespace " + session.globals().ns + " of -n");
    }
    if (out.ns.empty()) {
      TRY_ASSIGN(out.ns, session.ns());
      out.object["metadata"]["namespace"] = out.ns;
    }
  }
  return out;
}

Result<std::string> send(kube::KubeClient& client, const Prepared& p, const ApplyOptions& options,
                         Json& result) {
  auto before = client.get(p.type.info, p.ns, p.name);
  if (!before.ok() && before.error().code != Code::kNotFound) return std::move(before).error();
  kube::WriteOptions write;
  write.field_manager = "tangoctl";
  write.force = options.force_conflicts;
  write.dry_run = options.dry_run == "server";
  auto after = client.apply(p.type.info, p.object, write);
  if (!after.ok()) {
    Error error = std::move(after).error();
    if (error.code == Code::kConflict)
      error.message += " (take the fields over with --force-conflicts)";
    return error;
  }
  result = std::move(*after);
  if (!before.ok()) return std::string("created");
  // Old servers bump the version of an object although nothing but bookkeeping changed.
  auto content = [](Json o) {
    for (const char* key : {"resourceVersion", "managedFields"}) o["metadata"].erase(key);
    return o;
  };
  return std::string(content(*before) == content(result) ? "unchanged" : "configured");
}

bool finished_badly(const Json& object, std::string_view wanted, std::string& why) {
  for (const auto& c : get(get(object, "status"), "conditions")) {
    std::string type = get_string(c, "type"), status = get_string(c, "status"),
                reason = get_string(c, "reason");
    if (type == wanted && status == "True") return false;
    bool bad =
        (type == "Accepted" && status == "False") || (type == "Failed" && status == "True") ||
        (type == "Succeeded" && status == "False") || (type == "Ready" && reason == "Failed");
    if (!bad) continue;
    why = type + "=" + status + ", " + reason;
    if (std::string message = get_string(c, "message"); !message.empty()) why += ": " + message;
    return true;
  }
  return false;
}

struct WaitFor {
  bool deletion = false;
  std::string type;
  std::string status = "True";
};

Result<WaitFor> parse_condition_flag(const std::string& text) {
  WaitFor out;
  if (text == "delete") {
    out.deletion = true;
    return out;
  }
  constexpr std::string_view kPrefix = "condition=";
  if (text.rfind(kPrefix, 0) != 0 || text.size() == kPrefix.size()) {
    return make_error(
        Code::kInvalid, "InvalidArgument",
        "--for must be condition=NAME, condition=NAME=VALUE or delete, not \"" + text + "\"");
  }
  out.type = text.substr(kPrefix.size());
  if (std::size_t eq = out.type.find('='); eq != std::string::npos) {
    out.status = out.type.substr(eq + 1);
    out.type.resize(eq);
  }
  return out;
}

constexpr auto kPoll = std::chrono::milliseconds(300);

// kOk, kWaitTimeout, kFinishedFailed or kError.
int wait_one(Session& session, kube::KubeClient& client, const Target& t, const WaitFor& what,
             TimePoint deadline, bool bounded) {
  std::string last = "it does not exist";
  while (true) {
    auto object = client.get(t.type.info, t.ns, t.name);
    if (object.ok()) {
      if (!what.deletion) {
        for (const auto& c : get(get(*object, "status"), "conditions")) {
          if (get_string(c, "type") != what.type) continue;
          last = what.type + "=" + get_string(c, "status") + ", " + get_string(c, "reason");
          std::int64_t seen = get_int(c, "observedGeneration");
          bool fresh = seen == 0 || seen >= get_int(get(*object, "metadata"), "generation");
          if (get_string(c, "status") == what.status && fresh) {
            session.out() << t.type.printed() << "/" << t.name << " condition met\n";
            return kOk;
          }
        }
        if (last == "it does not exist") last = "condition " + what.type + " is not set";
        std::string why;
        if (what.status == "True" && finished_badly(*object, what.type, why)) {
          session.err() << "error: " << t.type.printed() << "/" << t.name
                        << " finished but failed: " << why << "\n";
          return kFinishedFailed;
        }
      } else {
        last = "it still exists";
      }
    } else if (object.error().code == Code::kNotFound) {
      if (what.deletion) {
        session.out() << t.type.printed() << "/" << t.name << " deleted\n";
        return kOk;
      }
    } else if (object.error().code != Code::kUnavailable && object.error().code != Code::kTimeout) {
      return session.fail(object.error());
    }
    if (bounded && system_clock().now() >= deadline) {
      session.err() << "error: timed out waiting for " << t.type.printed() << "/" << t.name << " ("
                    << last << ")\n";
      return kWaitTimeout;
    }
    std::this_thread::sleep_for(kPoll);
  }
}

Result<std::vector<Target>> expand(kube::KubeClient& client, const std::vector<Target>& targets,
                                   const std::string& selector) {
  std::vector<Target> out;
  for (const auto& t : targets) {
    if (!t.name.empty()) {
      out.push_back(t);
      continue;
    }
    kube::ListOptions list;
    list.ns = t.ns;
    list.label_selector = selector;
    TRY_ASSIGN(auto found, client.list(t.type.info, list));
    for (const auto& item : found.items) {
      const Json& meta = get(item, "metadata");
      out.push_back({t.type, get_string(meta, "namespace"), get_string(meta, "name")});
    }
  }
  return out;
}

}  // namespace

int apply_files(Session& session, const ApplyOptions& options) {
  if (options.files.empty()) return session.usage("apply needs -f FILE");
  if (options.dry_run != "none" && options.dry_run != "client" && options.dry_run != "server") {
    return session.usage("--dry-run must be none, client or server");
  }
  auto manifests = read_manifests(session, options.files);
  if (!manifests.ok()) return session.fail(manifests.error());
  bool good = true;
  for (const auto& m : *manifests) good = check(session, m) && good;
  if (!good) return kError;  // nothing is sent when anything is wrong
  auto client = session.kube();
  if (!client.ok()) return session.fail(client.error());
  int code = kOk;
  for (const auto& m : *manifests) {
    auto prepared = prepare(session, m);
    if (!prepared.ok()) {
      code = session.fail(prepared.error());
      continue;
    }
    std::string verb = "applied", suffix;
    Json result = prepared->object;
    if (options.dry_run == "client") {
      suffix = " (dry run)";
    } else {
      auto sent = send(**client, *prepared, options, result);
      if (!sent.ok()) {
        code = session.fail(std::move(sent).error().with_context(
            "while applying " + prepared->printed() + " of " + m.file));
        continue;
      }
      verb = *sent;
      if (options.dry_run == "server") suffix = " (server dry run)";
    }
    if (options.output == "json") {
      session.out() << dump_json(result, 4) << "\n";
    } else if (options.output == "yaml") {
      session.out() << "---\n" << to_yaml(result);
    } else if (options.output == "name") {
      session.out() << prepared->printed() << "\n";
    } else {
      session.out() << prepared->printed() << " " << verb << suffix << "\n";
    }
  }
  return code;
}

int delete_objects(Session& session, const DeleteOptions& options) {
  auto client = session.kube();
  if (!client.ok()) return session.fail(client.error());
  std::vector<Target> targets;
  if (!options.files.empty()) {
    auto manifests = read_manifests(session, options.files);
    if (!manifests.ok()) return session.fail(manifests.error());
    for (const auto& m : *manifests) {
      auto p = prepare(session, m);
      if (!p.ok()) return session.fail(p.error());
      targets.push_back({p->type, p->ns, p->name});
    }
  } else {
    auto parsed = parse_targets(session, options.args);
    if (!parsed.ok()) return session.usage(parsed.error().message);
    for (const auto& t : *parsed) {
      if (t.name.empty() && options.selector.empty() && !options.all) {
        return session.usage("name what to delete, or give -l SELECTOR or --all");
      }
    }
    auto expanded = expand(**client, *parsed, options.selector);
    if (!expanded.ok()) return session.fail(expanded.error());
    targets = std::move(*expanded);
    if (targets.empty()) session.err() << "No resources found.\n";
  }
  auto timeout = parse_duration(options.timeout);
  if (!timeout.ok()) return session.usage(timeout.error().message);
  int code = kOk;
  std::vector<Target> removed;
  for (const auto& t : targets) {
    auto status = (*client)->remove(t.type.info, t.ns, t.name);
    if (!status.ok()) {
      if (options.ignore_not_found && status.error().code == Code::kNotFound) continue;
      code = session.fail(status.error());
      continue;
    }
    session.out() << t.type.printed() << " \"" << t.name << "\" deleted\n";
    removed.push_back(t);
  }
  if (!options.wait) return code;
  TimePoint deadline = system_clock().now() + *timeout;
  for (const auto& t : removed) {
    while (true) {
      auto object = (*client)->get(t.type.info, t.ns, t.name);
      if (!object.ok() && object.error().code == Code::kNotFound) break;
      if (timeout->count() > 0 && system_clock().now() >= deadline) {
        session.err() << "error: timed out waiting for " << t.type.printed() << "/" << t.name
                      << " to go; held by "
                      << (object.ok() ? get(get(*object, "metadata"), "finalizers").dump()
                                      : std::string("?"))
                      << "\n";
        return kWaitTimeout;
      }
      std::this_thread::sleep_for(kPoll);
    }
  }
  return code;
}

int wait_for(Session& session, const WaitOptions& options) {
  auto what = parse_condition_flag(options.condition);
  if (!what.ok()) return session.usage(what.error().message);
  auto timeout = parse_duration(options.timeout);
  if (!timeout.ok()) return session.usage(timeout.error().message);
  auto parsed = parse_targets(session, options.args);
  if (!parsed.ok()) return session.usage(parsed.error().message);
  auto client = session.kube();
  if (!client.ok()) return session.fail(client.error());
  auto targets = expand(**client, *parsed, options.selector);
  if (!targets.ok()) return session.fail(targets.error());
  if (targets->empty())
    return session.fail(make_error(Code::kNotFound, "NotFound", "no matching resources found"));
  TimePoint deadline = system_clock().now() + *timeout;
  for (const auto& t : *targets) {
    int code = wait_one(session, **client, t, *what, deadline, timeout->count() >= 0);
    if (code != kOk) return code;
  }
  return kOk;
}

}  // namespace tango::ctl

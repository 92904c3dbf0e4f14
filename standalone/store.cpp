#include "standalone/store.h"

#include <sqlite3.h>

#include "lib/base/log.h"

namespace tango::standalone {
namespace {

constexpr int kSchemaVersion = 1;
constexpr std::int64_t kFirstRevision = 1;
constexpr std::int64_t kTrimEvery = 256;  // writes between two deletions from the log

std::string column(sqlite3_stmt* s, int i) {
  const auto* p = static_cast<const char*>(sqlite3_column_blob(s, i));
  return p == nullptr ? std::string()
                      : std::string(p, static_cast<std::size_t>(sqlite3_column_bytes(s, i)));
}
void bind(sqlite3_stmt* s, int i, const std::string& v) {
  sqlite3_bind_text(s, i, v.data(), static_cast<int>(v.size()), SQLITE_STATIC);
}

}  // namespace

const Json& StoredObject::body() const {
  std::call_once(parsed_, [this] {
    body_ = Json::parse(text, nullptr, false);
    if (body_.is_discarded()) body_ = Json::object();
  });
  return body_;
}

Error Store::failure(const char* what) const {
  return make_error(Code::kIo, sqlite3_errcode(db_) == SQLITE_FULL ? "DiskFull" : "StoreFailed",
                    std::string("API store could not ") + what + ": " + sqlite3_errmsg(db_));
}

Status Store::exec(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK)
    return failure("run a statement");
  return ok_status();
}

Result<std::unique_ptr<Store>> Store::open(const fs::path& path, const StoreOptions& options) {
  sqlite3* db = nullptr;
  int rc =
      sqlite3_open_v2(path.c_str(), &db,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  std::unique_ptr<Store> store(new Store(db, options));
  if (rc != SQLITE_OK) return store->failure(("open " + path.string()).c_str());
  sqlite3_busy_timeout(db, 5000);
  TRY(store->exec(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=1000;"));
  TRY(
      store->exec("CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
                  "CREATE TABLE IF NOT EXISTS objects(resource TEXT, ns TEXT, name TEXT, revision "
                  "INTEGER, body TEXT,"
                  " PRIMARY KEY(resource, ns, name)) WITHOUT ROWID;"
                  "CREATE TABLE IF NOT EXISTS events(revision INTEGER PRIMARY KEY, type INTEGER, "
                  "resource TEXT, ns TEXT,"
                  " name TEXT, body TEXT, previous TEXT, previous_revision INTEGER);"));
  std::string version = store->meta("schema");
  if (version.empty()) {
    TRY(store->set_meta("schema", std::to_string(kSchemaVersion)));
  } else if (version != std::to_string(kSchemaVersion)) {
    return make_error(Code::kUnsupported, "StoreVersion",
                      path.string() + " has format " + version + "; this program reads " +
                          std::to_string(kSchemaVersion));
  }
  TRY(store->load());
  const char* kPut = "INSERT OR REPLACE INTO objects VALUES(?1,?2,?3,?4,?5)";
  const char* kDelete = "DELETE FROM objects WHERE resource=?1 AND ns=?2 AND name=?3";
  const char* kLog = "INSERT INTO events VALUES(?1,?2,?3,?4,?5,?6,?7,?8)";
  if (sqlite3_prepare_v2(db, kPut, -1, &store->put_, nullptr) != SQLITE_OK ||
      sqlite3_prepare_v2(db, kDelete, -1, &store->delete_, nullptr) != SQLITE_OK ||
      sqlite3_prepare_v2(db, kLog, -1, &store->log_, nullptr) != SQLITE_OK) {
    return store->failure("prepare");
  }
  return store;
}

Store::~Store() {
  sqlite3_finalize(put_);
  sqlite3_finalize(delete_);
  sqlite3_finalize(log_);
  sqlite3_close(db_);
}

Status Store::load() {
  sqlite3_stmt* s = nullptr;
  if (sqlite3_prepare_v2(db_, "SELECT resource, ns, name, revision, body FROM objects", -1, &s,
                         nullptr) != SQLITE_OK) {
    return failure("read objects");
  }
  revision_ = kFirstRevision;
  while (sqlite3_step(s) == SQLITE_ROW) {
    auto o = std::make_shared<const StoredObject>(column(s, 0), column(s, 1), column(s, 2),
                                                  sqlite3_column_int64(s, 3), column(s, 4));
    revision_ = std::max(revision_, o->revision);
    objects_[o->resource][{o->ns, o->name}] = o;
  }
  sqlite3_finalize(s);
  if (sqlite3_prepare_v2(db_,
                         "SELECT revision, type, resource, ns, name, body, previous, "
                         "previous_revision FROM events ORDER BY revision DESC LIMIT ?1",
                         -1, &s, nullptr) != SQLITE_OK) {
    return failure("read the event log");
  }
  sqlite3_bind_int64(s, 1, static_cast<std::int64_t>(options_.history));
  while (sqlite3_step(s) == SQLITE_ROW) {
    StoreEvent e;
    e.revision = sqlite3_column_int64(s, 0);
    e.type = static_cast<EventType>(sqlite3_column_int(s, 1));
    e.object = std::make_shared<const StoredObject>(column(s, 2), column(s, 3), column(s, 4),
                                                    e.revision, column(s, 5));
    if (e.type != EventType::kAdded) {
      e.previous = std::make_shared<const StoredObject>(column(s, 2), column(s, 3), column(s, 4),
                                                        sqlite3_column_int64(s, 7), column(s, 6));
    }
    revision_ = std::max(revision_, e.revision);
    history_.push_front(std::move(e));
  }
  sqlite3_finalize(s);
  // Nothing before the first logged event can be replayed (a fresh store: nothing was before).
  compacted_ = history_.empty() ? revision_ : history_.front().revision - 1;
  return ok_status();
}

std::int64_t Store::revision() const {
  std::shared_lock lock(data_mutex_);
  return revision_;
}
std::int64_t Store::oldest_resumable() const {
  std::shared_lock lock(data_mutex_);
  return compacted_;
}

ObjectPtr Store::get(std::string_view resource, std::string_view ns, std::string_view name) const {
  std::shared_lock lock(data_mutex_);
  auto r = objects_.find(resource);
  if (r == objects_.end()) return nullptr;
  auto o = r->second.find(Key(ns, name));
  return o == r->second.end() ? nullptr : o->second;
}

Store::Snapshot Store::list(std::string_view resource, std::string_view ns) const {
  std::shared_lock lock(data_mutex_);
  Snapshot out;
  out.revision = revision_;
  auto r = objects_.find(resource);
  if (r == objects_.end()) return out;
  auto it = ns.empty() ? r->second.begin() : r->second.lower_bound(Key(ns, ""));
  for (; it != r->second.end() && (ns.empty() || it->first.first == ns); ++it)
    out.objects.push_back(it->second);
  return out;
}

Result<Store::Snapshot> Store::list_at(std::string_view resource, std::string_view ns,
                                       std::int64_t revision) const {
  std::shared_lock lock(data_mutex_);
  if (revision < compacted_) {
    return make_error(
        Code::kConflict, "Expired",
        "The provided continue parameter is too old to display a consistent list result.");
  }
  std::map<Key, ObjectPtr> objects;
  if (auto r = objects_.find(resource); r != objects_.end()) objects = r->second;
  // Undo what happened since, newest first.
  for (auto it = history_.rbegin(); it != history_.rend() && it->revision > revision; ++it) {
    if (it->object->resource != resource) continue;
    Key key(it->object->ns, it->object->name);
    if (it->previous) {
      objects[key] = it->previous;
    } else {
      objects.erase(key);
    }
  }
  Snapshot out;
  out.revision = revision;
  for (auto& [key, object] : objects) {
    if (ns.empty() || key.first == ns) out.objects.push_back(std::move(object));
  }
  return out;
}

std::vector<ObjectPtr> Store::everything() const {
  std::shared_lock lock(data_mutex_);
  std::vector<ObjectPtr> out;
  for (const auto& [resource, objects] : objects_) {
    for (const auto& [key, object] : objects) out.push_back(object);
  }
  return out;
}

Status Store::commit(const StoreEvent& e) {
  TRY(exec("BEGIN IMMEDIATE"));
  const StoredObject& o = *e.object;
  sqlite3_stmt* s = e.type == EventType::kDeleted ? delete_ : put_;
  bind(s, 1, o.resource);
  bind(s, 2, o.ns);
  bind(s, 3, o.name);
  if (e.type != EventType::kDeleted) {
    sqlite3_bind_int64(s, 4, o.revision);
    bind(s, 5, o.text);
  }
  bool good = sqlite3_step(s) == SQLITE_DONE;
  sqlite3_reset(s);
  sqlite3_bind_int64(log_, 1, e.revision);
  sqlite3_bind_int(log_, 2, static_cast<int>(e.type));
  bind(log_, 3, o.resource);
  bind(log_, 4, o.ns);
  bind(log_, 5, o.name);
  bind(log_, 6, o.text);
  static const std::string kNone;
  bind(log_, 7, e.previous ? e.previous->text : kNone);
  sqlite3_bind_int64(log_, 8, e.previous ? e.previous->revision : 0);
  good = good && sqlite3_step(log_) == SQLITE_DONE;
  sqlite3_reset(log_);
  std::int64_t keep_from = e.revision - static_cast<std::int64_t>(options_.history);
  if (good && keep_from > trimmed_ + kTrimEvery) {
    good = exec(("DELETE FROM events WHERE revision <= " + std::to_string(keep_from)).c_str()).ok();
    if (good) trimmed_ = keep_from;
  }
  if (!good || sqlite3_exec(db_, "COMMIT", nullptr, nullptr, nullptr) != SQLITE_OK) {
    Error error = failure("commit");
    sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
    return error;
  }
  return ok_status();
}

void Store::publish(StoreEvent event) {
  std::lock_guard listeners(listeners_mutex_);
  {
    std::unique_lock lock(data_mutex_);
    auto& objects = objects_[event.object->resource];
    Key key(event.object->ns, event.object->name);
    if (event.type == EventType::kDeleted) {
      objects.erase(key);
    } else {
      objects[key] = event.object;
    }
    revision_ = event.revision;
    history_.push_back(event);
    while (history_.size() > options_.history) {
      compacted_ = history_.front().revision;
      history_.pop_front();
    }
  }
  for (auto& [id, entry] : listeners_) {
    if (entry.first.empty() || entry.first == event.object->resource) entry.second(event);
  }
}

Result<ObjectPtr> Store::put(const std::string& resource, const std::string& ns,
                             const std::string& name, Json body) {
  StoreEvent e;
  e.revision = revision() + 1;
  e.previous = get(resource, ns, name);
  e.type = e.previous ? EventType::kModified : EventType::kAdded;
  body["metadata"]["resourceVersion"] = std::to_string(e.revision);
  e.object = std::make_shared<const StoredObject>(resource, ns, name, e.revision, dump_json(body));
  TRY(commit(e));
  ObjectPtr out = e.object;
  publish(std::move(e));
  return out;
}

Result<ObjectPtr> Store::remove(const std::string& resource, const std::string& ns,
                                const std::string& name) {
  StoreEvent e;
  e.previous = get(resource, ns, name);
  if (!e.previous)
    return make_error(Code::kNotFound, "NotFound", resource + " " + name + " does not exist");
  e.revision = revision() + 1;
  e.type = EventType::kDeleted;
  Json last = e.previous->body();
  last["metadata"]["resourceVersion"] = std::to_string(e.revision);
  e.object = std::make_shared<const StoredObject>(resource, ns, name, e.revision, dump_json(last));
  TRY(commit(e));
  ObjectPtr out = e.object;
  publish(std::move(e));
  return out;
}

Result<std::uint64_t> Store::subscribe(std::string resource, std::int64_t from, Listener listener) {
  std::lock_guard listeners(listeners_mutex_);
  std::vector<StoreEvent> backlog;
  {
    std::shared_lock lock(data_mutex_);
    if (from < compacted_) {
      return make_error(Code::kConflict, "Expired",
                        "too old resource version: " + std::to_string(from) + " (" +
                            std::to_string(compacted_) + ")");
    }
    for (const StoreEvent& e : history_) {
      if (e.revision > from && (resource.empty() || e.object->resource == resource))
        backlog.push_back(e);
    }
  }
  for (const StoreEvent& e : backlog) listener(e);
  std::uint64_t id = next_listener_++;
  listeners_[id] = {std::move(resource), std::move(listener)};
  return id;
}

void Store::unsubscribe(std::uint64_t id) {
  std::lock_guard lock(listeners_mutex_);
  listeners_.erase(id);
}

void Store::in_order(const std::function<void(std::int64_t revision)>& visit) {
  std::lock_guard lock(listeners_mutex_);
  visit(revision());
}

std::string Store::meta(const std::string& key) const {
  sqlite3_stmt* s = nullptr;
  std::string out;
  if (sqlite3_prepare_v2(db_, "SELECT value FROM meta WHERE key=?1", -1, &s, nullptr) != SQLITE_OK)
    return out;
  bind(s, 1, key);
  if (sqlite3_step(s) == SQLITE_ROW) out = column(s, 0);
  sqlite3_finalize(s);
  return out;
}

Status Store::set_meta(const std::string& key, const std::string& value) {
  sqlite3_stmt* s = nullptr;
  if (sqlite3_prepare_v2(db_, "INSERT OR REPLACE INTO meta VALUES(?1,?2)", -1, &s, nullptr) !=
      SQLITE_OK)
    return failure("prepare");
  bind(s, 1, key);
  bind(s, 2, value);
  int rc = sqlite3_step(s);
  sqlite3_finalize(s);
  if (rc != SQLITE_DONE) return failure("write metadata");
  return ok_status();
}

}  // namespace tango::standalone

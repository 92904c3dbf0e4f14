#include "operator/run_store.h"

#include <sqlite3.h>

#include <algorithm>
#include <mutex>

#include "lib/base/log.h"

namespace tango::op {
namespace {

constexpr int kBusyTimeoutMs = 5000;
constexpr int kSchema = 1;

class Statement {
 public:
  Statement(sqlite3* db, const char* sql) { sqlite3_prepare_v2(db, sql, -1, &stmt_, nullptr); }
  ~Statement() { sqlite3_finalize(stmt_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  Statement& text(int at, std::string_view v) {
    sqlite3_bind_text(stmt_, at, v.data(), static_cast<int>(v.size()), SQLITE_TRANSIENT);
    return *this;
  }
  Statement& integer(int at, std::int64_t v) {
    sqlite3_bind_int64(stmt_, at, v);
    return *this;
  }
  int step() { return stmt_ ? sqlite3_step(stmt_) : SQLITE_ERROR; }
  void reset() { sqlite3_reset(stmt_); }
  std::int64_t integer(int column) const { return sqlite3_column_int64(stmt_, column); }
  std::string text(int column) const {
    auto* p = reinterpret_cast<const char*>(sqlite3_column_text(stmt_, column));
    return p ? std::string(p, static_cast<std::size_t>(sqlite3_column_bytes(stmt_, column)))
             : std::string();
  }

 private:
  sqlite3_stmt* stmt_ = nullptr;
};

class SqliteRunStore : public RunStore {
 public:
  SqliteRunStore(sqlite3* db, const RunStoreOptions& options) : db_(db), options_(options) {}
  ~SqliteRunStore() override { sqlite3_close(db_); }

  Status append(const std::vector<run::Event>& events) override {
    if (events.empty()) return Ok{};
    std::lock_guard lock(mutex_);
    TRY(exec("BEGIN IMMEDIATE"));
    auto result = insert(events);
    if (!result.ok()) {
      (void)exec("ROLLBACK").ok();
      return result;
    }
    TRY(exec("COMMIT"));
    return forget_old_runs();
  }

  Result<Page> events(std::string_view run_id, std::string_view type, std::int64_t after_row,
                      std::size_t limit) const override {
    std::lock_guard lock(mutex_);
    Statement select(
        db_,
        "SELECT row, line FROM event WHERE run = ?1 AND row > ?2 AND (?3 = '' OR type = ?3) "
        "ORDER BY row LIMIT ?4");
    select.text(1, run_id)
        .integer(2, after_row)
        .text(3, type)
        .integer(4, static_cast<std::int64_t>(limit) + 1);
    Page page;
    page.last_row = after_row;
    int rc = SQLITE_DONE;
    while ((rc = select.step()) == SQLITE_ROW) {
      if (page.events.size() == limit) {
        page.more = true;
        break;
      }
      page.last_row = select.integer(0);
      auto event = run::parse_event(select.text(1));
      if (event.ok()) page.events.push_back(std::move(*event));
    }
    if (rc != SQLITE_DONE && rc != SQLITE_ROW) return failure("read events");
    page.events = run::drop_rewound(std::move(page.events));
    return page;
  }

  Result<std::optional<RunProgress>> progress(std::string_view run_id) const override {
    std::lock_guard lock(mutex_);
    // The newest event of each type says everything; older ones are history.
    Statement select(db_,
                     "SELECT line FROM event WHERE run = ?1 AND row IN "
                     "(SELECT MAX(row) FROM event WHERE run = ?1 GROUP BY type) ORDER BY row");
    select.text(1, run_id);
    std::optional<RunProgress> out;
    int rc = SQLITE_DONE;
    while ((rc = select.step()) == SQLITE_ROW) {
      auto event = run::parse_event(select.text(0));
      if (!event.ok()) continue;
      if (!out) out.emplace();
      take(*event, *out);
    }
    if (rc != SQLITE_DONE) return failure("read the progress");
    return out;
  }

  Status create_schema() {
    return exec(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        "CREATE TABLE IF NOT EXISTS event (row INTEGER PRIMARY KEY, run TEXT NOT NULL, attempt "
        "INTEGER NOT NULL,"
        " seq INTEGER NOT NULL, type TEXT NOT NULL, line TEXT NOT NULL, UNIQUE (run, attempt, "
        "seq));"
        "CREATE INDEX IF NOT EXISTS event_by_run ON event (run, type, row);"
        "PRAGMA user_version=1;");
  }

  int schema() const {
    Statement select(db_, "PRAGMA user_version");
    return select.step() == SQLITE_ROW ? static_cast<int>(select.integer(0)) : -1;
  }

 private:
  Error failure(std::string_view what) const {
    return make_error(Code::kIo, "StoreFailed",
                      "the run store cannot " + std::string(what) + ": " + sqlite3_errmsg(db_));
  }
  Status exec(const char* sql) {
    if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK)
      return failure("carry out a statement");
    return Ok{};
  }

  Status insert(const std::vector<run::Event>& events) {
    Statement count(db_, "SELECT COUNT(*) FROM event WHERE run = ?1");
    count.text(1, events.front().run_id);
    auto stored = count.step() == SQLITE_ROW ? static_cast<std::size_t>(count.integer(0)) : 0;
    if (stored + events.size() > options_.max_events_per_run) {
      return make_error(Code::kExhausted, "RunTooLong",
                        "the run " + events.front().run_id + " has more than " +
                            std::to_string(options_.max_events_per_run) + " events");
    }
    Statement add(
        db_,
        "INSERT OR IGNORE INTO event (run, attempt, seq, type, line) VALUES (?1, ?2, ?3, ?4, ?5)");
    for (const run::Event& e : events) {
      add.reset();
      add.text(1, e.run_id)
          .integer(2, e.attempt)
          .integer(3, e.seq)
          .text(4, e.type)
          .text(5, run::encode_line(e));
      if (add.step() != SQLITE_DONE) return failure("store an event");
    }
    return Ok{};
  }

  Status forget_old_runs() {
    Statement count(db_, "SELECT COUNT(DISTINCT run) FROM event");
    if (count.step() != SQLITE_ROW) return failure("count runs");
    auto extra = count.integer(0) - static_cast<std::int64_t>(options_.max_runs);
    if (extra <= 0) return Ok{};
    Statement drop(db_,
                   "DELETE FROM event WHERE run IN "
                   "(SELECT run FROM event GROUP BY run ORDER BY MAX(row) LIMIT ?1)");
    drop.integer(1, extra);
    if (drop.step() != SQLITE_DONE) return failure("forget old runs");
    return Ok{};
  }

  static void take(const run::Event& e, RunProgress& p) {
    p.run_id = e.run_id;
    p.attempt = std::max(p.attempt, e.attempt);
    auto integer = [&](const char* key, std::optional<std::int64_t>& into) {
      if (get(e.fields, key).is_number_integer()) into = get_int(e.fields, key);
    };
    auto number = [&](const char* key, std::optional<double>& into) {
      if (get(e.fields, key).is_number()) into = get_double(e.fields, key);
    };
    if (e.type == "phase") p.phase = get_string(e.fields, "phase");
    if (e.type == "step" || e.type == "epoch") {
      integer("epoch", p.epoch);
      integer("epochs", p.epochs);
      integer("step", p.step);
      integer("steps", p.steps);
      number("imagesPerSecond", p.images_per_second);
      number("etaSeconds", p.eta_seconds);
      number("loss", p.loss);
      number("top1", p.top1);
    }
    if (e.type == "failed") p.failed = get_string(e.fields, "reason", "Failed");
    if (e.type == "resumed") p.failed.clear();
    if (e.type == "done") p.done = true;
  }

  sqlite3* db_;
  RunStoreOptions options_;
  mutable std::mutex mutex_;
};

std::unique_ptr<SqliteRunStore> try_open(const fs::path& path, const RunStoreOptions& options,
                                         std::string& why) {
  sqlite3* db = nullptr;
  if (sqlite3_open_v2(path.c_str(), &db,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                      nullptr) != SQLITE_OK) {
    why = db ? sqlite3_errmsg(db) : "out of memory";
    sqlite3_close(db);
    return nullptr;
  }
  sqlite3_busy_timeout(db, kBusyTimeoutMs);
  auto store = std::make_unique<SqliteRunStore>(db, options);
  if (auto made = store->create_schema(); !made.ok()) {
    why = made.error().message;
    return nullptr;
  }
  if (store->schema() != kSchema) {
    why = "it was written by another version";
    return nullptr;
  }
  return store;
}

}  // namespace

Result<std::unique_ptr<RunStore>> RunStore::open(const fs::path& path,
                                                 const RunStoreOptions& options) {
  std::string why;
  auto store = try_open(path, options, why);
  if (!store) {
    std::error_code ec;
    fs::rename(path, path.string() + ".broken", ec);
    for (const char* part : {"-wal", "-shm"}) fs::remove(path.string() + part, ec);
    log_warn("Run store was unreadable and is made anew", {{"path", path.string()}, {"why", why}});
    store = try_open(path, options, why);
  }
  if (!store)
    return make_error(Code::kIo, "StoreFailed",
                      "the run store " + path.string() + " cannot be opened: " + why);
  return std::unique_ptr<RunStore>(std::move(store));
}

}  // namespace tango::op

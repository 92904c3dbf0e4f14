#include "lib/kube/work_table.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "lib/base/log.h"

namespace tango::kube {

struct WorkTable::Shared {
  struct Entry {
    Work work;
    std::shared_ptr<const WorkState> state;
    std::set<WorkOwner> owners;
    std::uint64_t run = 0;  // callbacks of an older run are ignored
    Nanos deadline{};       // of running work
    Nanos forget_at{};      // zero: not planned
    Nanos last_wake{};
    bool progress_held = false;
    bool running() const { return state->phase == WorkState::Phase::kRunning; }
  };

  Shared(Clock& c, std::function<void(const WorkOwner&)> w, const WorkTableOptions& o)
      : clock(c), wake(std::move(w)), options(o) {}

  void progressed(const std::string& key, std::uint64_t run, Json output) {
    std::set<WorkOwner> owners;
    {
      std::lock_guard lock(mutex);
      Entry* entry = current(key, run);
      if (!entry) return;
      auto state = std::make_shared<WorkState>(*entry->state);
      state->output = std::move(output);
      entry->state = std::move(state);
      const Nanos now = clock.monotonic();
      if (now - entry->last_wake < options.progress_interval) {
        if (!std::exchange(entry->progress_held, true)) {
          timers.emplace(entry->last_wake + options.progress_interval, key);
        }
        return;
      }
      entry->last_wake = now;
      owners = entry->owners;
    }
    wake_all(owners);
  }

  void finished(const std::string& key, std::uint64_t run, Result<Json> result) {
    std::set<WorkOwner> owners;
    {
      std::lock_guard lock(mutex);
      Entry* entry = current(key, run);
      if (!entry) return;
      finish(*entry, std::move(result));
      owners = entry->owners;
    }
    wake_all(owners);
  }

  // A callback may come while the table's owner goes away: after that, nobody is woken.
  void wake_all(const std::set<WorkOwner>& owners) {
    std::lock_guard lock(gate);
    if (closed) return;
    for (const WorkOwner& owner : owners) wake(owner);
  }
  // With the lock held.
  Entry* current(const std::string& key, std::uint64_t run) {
    const auto it = entries.find(key);
    if (it == entries.end() || it->second.run != run || !it->second.running()) return nullptr;
    return &it->second;
  }
  void finish(Entry& entry, Result<Json> result) {
    auto state = std::make_shared<WorkState>(*entry.state);
    state->finished = clock.now();
    entry.progress_held = false;
    if (result.ok()) {
      state->phase = WorkState::Phase::kSucceeded;
      state->output = std::move(result).value();
    } else {
      state->phase = WorkState::Phase::kFailed;
      state->error = std::move(result).error();
    }
    entry.state = std::move(state);
    if (entry.owners.empty()) unwatch(entry);
  }
  void unwatch(Entry& entry) {
    entry.forget_at = clock.monotonic() + options.keep_unwatched;
    timers.emplace(entry.forget_at, entry.work.key);
  }
  void own(Entry& entry, const WorkOwner& owner) {
    entry.owners.insert(owner);
    entry.forget_at = Nanos{};
    owned[owner].insert(entry.work.key);
  }
  Executor* executor(const std::string& name) {
    for (Executor* e : executors) {
      if (e->name() == name) return e;
    }
    return nullptr;
  }

  Clock& clock;
  const std::function<void(const WorkOwner&)> wake;
  const WorkTableOptions options;
  std::vector<Executor*> executors;
  std::mutex gate;
  bool closed = false;
  std::mutex mutex;
  std::map<std::string, Entry, std::less<>> entries;
  std::map<WorkOwner, std::set<std::string>> owned;
  std::multimap<Nanos, std::string> timers;  // when to look at an entry again; may be out of date
  std::uint64_t last_run = 0;
};

WorkTable::WorkTable(Clock& clock, std::function<void(const WorkOwner&)> wake,
                     const WorkTableOptions& options)
    : shared_(std::make_shared<Shared>(clock, std::move(wake), options)) {}

WorkTable::~WorkTable() {
  cancel_all();
  std::lock_guard gate(shared_->gate);
  shared_->closed = true;
}

void WorkTable::add_executor(std::unique_ptr<Executor> executor) {
  shared_->executors.push_back(executor.get());
  executors_.push_back(std::move(executor));
}

void WorkTable::request(const Work& work, const WorkOwner& owner) {
  std::uint64_t run = 0;
  Executor* executor = nullptr;
  {
    std::lock_guard lock(shared_->mutex);
    const auto [it, fresh] = shared_->entries.try_emplace(work.key);
    Shared::Entry& entry = it->second;
    if (fresh) entry.work = work;
    shared_->own(entry, owner);
    if (!fresh) return;
    const Nanos now = shared_->clock.monotonic();
    auto state = std::make_shared<WorkState>();
    state->started = shared_->clock.now();
    entry.state = std::move(state);
    entry.run = run = ++shared_->last_run;
    entry.deadline = now + work.deadline;
    shared_->timers.emplace(entry.deadline, work.key);
    executor = shared_->executor(work.executor);
  }
  // The executor may keep the callbacks longer than the table lives.
  std::weak_ptr<Shared> weak = shared_;
  Executor::Callbacks callbacks;
  callbacks.progress = [weak, key = work.key, run](Json output) {
    if (auto shared = weak.lock()) shared->progressed(key, run, std::move(output));
  };
  callbacks.done = [weak, key = work.key, run](Result<Json> result) {
    if (auto shared = weak.lock()) shared->finished(key, run, std::move(result));
  };
  if (!executor) {
    callbacks.done(make_error(Code::kUnsupported, "UnknownExecutor",
                              "no executor \"" + work.executor + "\" is part of this process"));
    return;
  }
  log_debug("Work started", {{"executor", work.executor}, {"key", work.key}});
  try {
    executor->start(work, callbacks);
  } catch (const std::exception& e) {
    callbacks.done(make_error(Code::kInternal, "ExecutorThrew", e.what()));
  }
}

std::shared_ptr<const WorkState> WorkTable::state(std::string_view key) const {
  std::lock_guard lock(shared_->mutex);
  const auto it = shared_->entries.find(key);
  return it == shared_->entries.end() ? nullptr : it->second.state;
}

void WorkTable::set_interest(const WorkOwner& owner, const std::set<std::string>& keys) {
  std::lock_guard lock(shared_->mutex);
  std::set<std::string>& owned = shared_->owned[owner];
  for (auto it = owned.begin(); it != owned.end();) {
    const auto found = shared_->entries.find(*it);
    if (found == shared_->entries.end()) {
      it = owned.erase(it);
    } else if (!keys.contains(*it) && !found->second.running()) {
      found->second.owners.erase(owner);
      if (found->second.owners.empty()) shared_->unwatch(found->second);
      it = owned.erase(it);
    } else {
      ++it;
    }
  }
  for (const std::string& key : keys) {
    if (const auto found = shared_->entries.find(key); found != shared_->entries.end()) {
      shared_->own(found->second, owner);
    }
  }
  if (owned.empty()) shared_->owned.erase(owner);
}

void WorkTable::drop(const WorkOwner& owner) {
  std::vector<std::pair<Executor*, std::string>> to_cancel;
  {
    std::lock_guard lock(shared_->mutex);
    const auto node = shared_->owned.extract(owner);
    if (node.empty()) return;
    for (const std::string& key : node.mapped()) {
      const auto it = shared_->entries.find(key);
      if (it == shared_->entries.end()) continue;
      it->second.owners.erase(owner);
      if (!it->second.owners.empty()) continue;
      if (it->second.running())
        to_cancel.emplace_back(shared_->executor(it->second.work.executor), key);
      shared_->entries.erase(it);
    }
  }
  for (const auto& [executor, key] : to_cancel) {
    if (executor) executor->cancel(key);
  }
}

void WorkTable::tick() {
  std::set<WorkOwner> to_wake;
  std::vector<std::pair<Executor*, std::string>> to_cancel;
  {
    std::lock_guard lock(shared_->mutex);
    const Nanos now = shared_->clock.monotonic();
    while (!shared_->timers.empty() && shared_->timers.begin()->first <= now) {
      const std::string key = std::move(shared_->timers.extract(shared_->timers.begin()).mapped());
      const auto it = shared_->entries.find(key);
      if (it == shared_->entries.end()) continue;
      Shared::Entry& entry = it->second;
      if (entry.running() && now >= entry.deadline) {
        to_cancel.emplace_back(shared_->executor(entry.work.executor), key);
        shared_->finish(entry, make_error(Code::kTimeout, "DeadlineExceeded",
                                          "the work did not end within " +
                                              format_duration(entry.work.deadline)));
        to_wake.insert(entry.owners.begin(), entry.owners.end());
      } else if (entry.progress_held &&
                 now - entry.last_wake >= shared_->options.progress_interval) {
        entry.progress_held = false;
        entry.last_wake = now;
        to_wake.insert(entry.owners.begin(), entry.owners.end());
      } else if (!entry.running() && entry.forget_at != Nanos{} && now >= entry.forget_at) {
        shared_->entries.erase(it);
      }
    }
  }
  for (const auto& [executor, key] : to_cancel) {
    if (executor) executor->cancel(key);
  }
  shared_->wake_all(to_wake);
}

void WorkTable::cancel_all() {
  std::vector<std::pair<Executor*, std::string>> to_cancel;
  {
    std::lock_guard lock(shared_->mutex);
    for (auto& [key, entry] : shared_->entries) {
      if (entry.running()) to_cancel.emplace_back(shared_->executor(entry.work.executor), key);
    }
    shared_->entries.clear();
    shared_->owned.clear();
    shared_->timers.clear();
  }
  for (const auto& [executor, key] : to_cancel) {
    if (executor) executor->cancel(key);
  }
}

}  // namespace tango::kube

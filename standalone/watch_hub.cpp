#include "standalone/watch_hub.h"

#include <vector>

namespace tango::standalone {
namespace {

constexpr auto kTick = std::chrono::milliseconds(250);

}  // namespace

struct WatchHub::Watch {
  WatchSpec spec;
  std::shared_ptr<HttpStream> stream;
  Clock* clock = nullptr;
  std::uint64_t subscription = 0;
  std::chrono::steady_clock::time_point ends, next_bookmark;
  bool first_row = true;  // under the store's listener lock

  std::string line(const char* type, const StoredObject& o) {
    if (spec.table) {
      Json meta = {{"resourceVersion", std::to_string(o.revision)}};
      Json table = make_table(*spec.resource, {Operations::present(o.body(), *spec.resource)}, meta,
                              *spec.table, clock->now(), first_row);
      first_row = false;
      return dump_json({{"type", type}, {"object", std::move(table)}}) + "\n";
    }
    if (spec.partial)
      return dump_json({{"type", type}, {"object", partial_metadata(o.body())}}) + "\n";
    std::string out = std::string("{\"type\":\"") + type + "\",\"object\":";
    out += spec.resource->version == spec.resource->storage_version
               ? o.text
               : dump_json(Operations::present(o.body(), *spec.resource));
    return out + "}\n";
  }

  void deliver(const StoreEvent& e) {
    if (!spec.ns.empty() && e.object->ns != spec.ns) return;
    const bool now_in = e.type != EventType::kDeleted && spec.filters.matches(e.object->body());
    const bool was_in = e.previous && spec.filters.matches(e.previous->body());
    if (now_in) {
      stream->send(line(was_in ? "MODIFIED" : "ADDED", *e.object));
    } else if (was_in) {
      // Leaving the selection is a deletion for this watcher: its last matching state, at this
      // revision.
      if (e.type == EventType::kDeleted) {
        stream->send(line("DELETED", *e.object));
      } else {
        Json last = e.previous->body();
        last["metadata"]["resourceVersion"] = std::to_string(e.revision);
        stream->send(line("DELETED", StoredObject(e.object->resource, e.object->ns, e.object->name,
                                                  e.revision, dump_json(last))));
      }
    }
  }

  void bookmark(std::int64_t revision) {
    Json meta = {{"resourceVersion", std::to_string(revision)}, {"creationTimestamp", nullptr}};
    Json object;
    if (spec.table) {
      object = make_table(*spec.resource, {}, meta, *spec.table, clock->now(), false);
    } else {
      object = {{"kind", spec.resource->kind},
                {"apiVersion", spec.resource->api_version()},
                {"metadata", meta}};
    }
    stream->send(dump_json({{"type", "BOOKMARK"}, {"object", object}}) + "\n");
  }
};

WatchHub::WatchHub(Store& store, Nanos bookmark_interval)
    : store_(store), bookmark_interval_(bookmark_interval) {
  thread_ = std::thread([this] { run(); });
}

WatchHub::~WatchHub() { stop(); }

void WatchHub::open(WatchSpec spec, std::shared_ptr<HttpStream> stream, Clock& clock) {
  auto watch = std::make_shared<Watch>();
  auto now = std::chrono::steady_clock::now();
  watch->ends = now + spec.timeout;
  watch->next_bookmark = now + bookmark_interval_;
  watch->spec = std::move(spec);
  watch->stream = stream;
  watch->clock = &clock;
  for (const ObjectPtr& o : watch->spec.initial) stream->send(watch->line("ADDED", *o));
  watch->spec.initial.clear();
  std::uint64_t id = 0;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return stream->close();
    id = next_++;
    watches_[id] = watch;
  }
  auto subscription = store_.subscribe(watch->spec.resource->store_key(), watch->spec.from,
                                       [watch](const StoreEvent& e) { watch->deliver(e); });
  if (!subscription.ok()) {
    stream->send(
        dump_json({{"type", "ERROR"}, {"object", expired(subscription.error().message).status()}}) +
        "\n");
    stream->close();
    drop(id);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    watch->subscription = *subscription;
    if (!watches_.contains(id)) store_.unsubscribe(*subscription);  // stopped meanwhile
  }
  stream->on_close([this, id] { drop(id); });
}

void WatchHub::drop(std::uint64_t id) {
  std::shared_ptr<Watch> watch;
  std::uint64_t subscription = 0;
  {
    std::lock_guard lock(mutex_);
    auto it = watches_.find(id);
    if (it == watches_.end()) return;
    watch = it->second;
    subscription = watch->subscription;
    watches_.erase(it);
  }
  if (subscription != 0) store_.unsubscribe(subscription);
}

void WatchHub::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    wake_.wait_for(lock, kTick);
    auto now = std::chrono::steady_clock::now();
    std::vector<std::pair<std::uint64_t, std::shared_ptr<Watch>>> due;
    for (auto& [id, w] : watches_) {
      if (w->subscription != 0 &&
          (now >= w->ends || (w->spec.bookmarks && now >= w->next_bookmark) || w->stream->closed()))
        due.emplace_back(id, w);
    }
    lock.unlock();
    for (auto& [id, w] : due) {
      const bool over = now >= w->ends || w->stream->closed();
      // A bookmark promises that every event up to its revision was sent: it goes through the
      // store's own order, between two events.
      if (w->spec.bookmarks)
        store_.in_order([&, watch = w](std::int64_t revision) { watch->bookmark(revision); });
      w->next_bookmark = now + bookmark_interval_;
      if (over) {
        w->stream->close();
        drop(id);
      }
    }
    lock.lock();
  }
}

void WatchHub::stop() {
  std::vector<std::shared_ptr<Watch>> all;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    for (auto& [id, w] : watches_) all.push_back(w);
    watches_.clear();
  }
  wake_.notify_all();
  thread_.join();
  for (auto& w : all) {
    if (w->subscription != 0) store_.unsubscribe(w->subscription);
    w->stream->close();
  }
}

std::size_t WatchHub::size() const {
  std::lock_guard lock(mutex_);
  return watches_.size();
}

}  // namespace tango::standalone

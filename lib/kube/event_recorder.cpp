#include "lib/kube/event_recorder.h"

#include <algorithm>
#include <cstdio>

#include "lib/base/log.h"
#include "lib/kube-types/core.h"

namespace tango::kube {

std::optional<EventCorrelator::Write> EventCorrelator::correlate(const InvolvedObject& about,
                                                                 EventNote note, TimePoint wall,
                                                                 Nanos now) {
  // Memory is bounded by starting afresh: at worst an event is created that could have been
  // counted.
  if (seen_.size() >= options_.remembered) seen_.clear();
  if (similar_.size() >= options_.remembered) similar_.clear();
  if (spam_.size() >= options_.remembered) spam_.clear();

  Bucket& bucket =
      spam_.try_emplace(about.uid + about.ns + "/" + about.name, Bucket{options_.burst, now})
          .first->second;
  const double refilled =
      static_cast<double>((now - bucket.at).count()) / static_cast<double>(options_.refill.count());
  bucket.tokens = std::min(options_.burst, bucket.tokens + refilled);
  bucket.at = now;
  if (bucket.tokens < 1) return std::nullopt;
  bucket.tokens -= 1;

  if (note.message.size() > options_.max_message) {
    note.message.resize(options_.max_message - 3);
    note.message += "...";
  }
  const std::string group = about.uid + '\n' + note.type + '\n' + note.reason;
  Similar& similar = similar_[group];
  if (similar.messages.empty() || now - similar.since > options_.aggregate_window)
    similar = {{}, now};
  if (similar.messages.size() <= options_.aggregate_after) similar.messages.insert(note.message);
  const bool combined = similar.messages.size() > options_.aggregate_after;
  if (combined) note.message = "(combined from similar events): " + note.message;

  const std::string key = combined ? group + "\ncombined" : group + '\n' + note.message;
  Seen& seen = seen_[key];
  const std::string time = format_time(wall);
  ++seen.count;
  Write write;
  write.ns = about.ns.empty() ? "default" : about.ns;
  if (seen.count > 1) {
    write.create = false;
    write.name = seen.name;
    write.body = {{"count", seen.count}, {"lastTimestamp", time}, {"message", note.message}};
    return write;
  }
  char suffix[40];
  std::snprintf(suffix, sizeof suffix, ".%llx%04llx",
                static_cast<unsigned long long>(wall.time_since_epoch().count()),
                static_cast<unsigned long long>(++number_ & 0xffff));
  seen.name = about.name.substr(0, 200) + suffix;
  seen.first = wall;
  write.name = seen.name;
  Json involved = {{"apiVersion", about.api_version},
                   {"kind", about.kind},
                   {"name", about.name},
                   {"uid", about.uid}};
  if (!about.ns.empty()) involved["namespace"] = about.ns;
  if (!about.resource_version.empty()) involved["resourceVersion"] = about.resource_version;
  write.body = {{"apiVersion", "v1"},
                {"kind", "Event"},
                {"metadata", {{"name", seen.name}, {"namespace", write.ns}}},
                {"involvedObject", std::move(involved)},
                {"type", note.type},
                {"reason", note.reason},
                {"message", note.message},
                {"source", {{"component", component_}}},
                {"reportingComponent", component_},
                {"reportingInstance", ""},
                {"firstTimestamp", time},
                {"lastTimestamp", time},
                {"count", 1}};
  return write;
}

void EventCorrelator::forget(const std::string& event_name) {
  std::erase_if(seen_, [&](const auto& entry) { return entry.second.name == event_name; });
}

EventRecorder::EventRecorder(KubeClient& client, std::string component, Clock& clock,
                             const EventOptions& options)
    : client_(client),
      clock_(clock),
      options_(options),
      correlator_(std::move(component), options) {
  thread_ = std::thread([this] { run(); });
}

EventRecorder::~EventRecorder() { stop(); }

void EventRecorder::record(const InvolvedObject& about, const EventNote& note) {
  std::lock_guard lock(mutex_);
  if (stopping_ || queue_.size() >= options_.queue) return;  // events are a courtesy, not a record
  queue_.emplace_back(about, note);
  changed_.notify_all();
}

void EventRecorder::stop(Nanos limit) {
  if (!thread_.joinable()) return;
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    changed_.wait_for(lock, limit, [&] { return ended_; });
    abandon_ = true;
  }
  thread_.join();
}

void EventRecorder::run() {
  for (;;) {
    std::pair<InvolvedObject, EventNote> next;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty() || abandon_) {
        ended_ = true;
        changed_.notify_all();
        return;
      }
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    auto write = correlator_.correlate(next.first, next.second, clock_.now(), clock_.monotonic());
    if (!write) continue;
    const WriteOptions options{.strict = false};
    auto done = write->create ? client_.create(Event::kKind, write->body, options)
                              : client_.patch(Event::kKind, write->ns, write->name,
                                              PatchType::kMerge, write->body, options);
    if (!done.ok() && !write->create && done.error().code == Code::kNotFound) {
      correlator_.forget(write->name);  // it outlived its time on the server
      write = correlator_.correlate(next.first, next.second, clock_.now(), clock_.monotonic());
      if (write) done = client_.create(Event::kKind, write->body, options);
    }
    if (!done.ok()) log_debug("Event was not written", {{"object", next.first.name}, done.error()});
  }
}

}  // namespace tango::kube

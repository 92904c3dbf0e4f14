#include "lib/kube/queue.h"

#include <algorithm>

#include "lib/kube/runtime_metrics.h"

namespace tango::kube {
namespace {
constexpr Nanos kFakeClockPoll = Millis{5};
double seconds(Nanos d) { return std::chrono::duration<double>(d).count(); }
}  // namespace

void KeyQueue::add(const ObjectKey& key) {
  if (!dirty_.insert(key).second) return;
  if (!working_.contains(key)) ready_.push_back(key);
}

void KeyQueue::add_after(const ObjectKey& key, Nanos delay, Nanos now) {
  if (delay <= Nanos::zero()) return add(key);
  const Nanos when = now + delay;
  const auto [it, fresh] = delayed_.try_emplace(key, when);
  if (!fresh) {
    if (it->second <= when) return;
    due_.erase({it->second, key});
    it->second = when;
  }
  due_.emplace(when, key);
}

Nanos KeyQueue::add_failed(const ObjectKey& key, Nanos now) {
  const int n = failures_[key]++;
  Nanos delay = options_.max_delay;
  // 2^n overflows long before the delay matters.
  if (n < 40) delay = std::min(options_.max_delay, options_.first_delay * (std::int64_t{1} << n));
  add_after(key, delay, now);
  return delay;
}

void KeyQueue::ripen(Nanos now) {
  while (!due_.empty() && due_.begin()->first <= now) {
    const ObjectKey key = due_.begin()->second;
    due_.erase(due_.begin());
    delayed_.erase(key);
    add(key);
  }
}

std::optional<ObjectKey> KeyQueue::take(Nanos now) {
  ripen(now);
  if (ready_.empty()) return std::nullopt;
  ObjectKey key = std::move(ready_.front());
  ready_.pop_front();
  dirty_.erase(key);
  working_.insert(key);
  if (const auto it = delayed_.find(key); it != delayed_.end()) {
    due_.erase({it->second, key});
    delayed_.erase(it);
  }
  return key;
}

void KeyQueue::done(const ObjectKey& key) {
  working_.erase(key);
  if (dirty_.contains(key)) ready_.push_back(key);
}

std::optional<Nanos> KeyQueue::next_due() const {
  if (due_.empty()) return std::nullopt;
  return due_.begin()->first;
}

int KeyQueue::failures(const ObjectKey& key) const {
  const auto it = failures_.find(key);
  return it == failures_.end() ? 0 : it->second;
}

WorkQueue::WorkQueue(std::string name, Clock& clock, MetricsRegistry& metrics,
                     const QueueOptions& options)
    : labels_{{"name", name}, {"controller", name}},
      clock_(clock),
      metrics_(metrics),
      queue_(options) {
  declare_queue_metrics(metrics_, name);
}

void WorkQueue::add(const ObjectKey& key) {
  std::lock_guard lock(mutex_);
  metrics_.add(metric::kQueueAdds, labels_);
  added_.try_emplace(key, clock_.monotonic());
  queue_.add(key);
  publish_depth();
  changed_.notify_one();
}

void WorkQueue::add_after(const ObjectKey& key, Nanos delay) {
  std::lock_guard lock(mutex_);
  metrics_.add(metric::kQueueAdds, labels_);
  queue_.add_after(key, delay, clock_.monotonic());
  changed_.notify_one();
}

Nanos WorkQueue::add_failed(const ObjectKey& key) {
  std::lock_guard lock(mutex_);
  metrics_.add(metric::kQueueRetries, labels_);
  const Nanos delay = queue_.add_failed(key, clock_.monotonic());
  changed_.notify_one();
  return delay;
}

void WorkQueue::forget_failures(const ObjectKey& key) {
  std::lock_guard lock(mutex_);
  queue_.forget_failures(key);
}

std::optional<ObjectKey> WorkQueue::take() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (stopping_) return std::nullopt;
    const Nanos now = clock_.monotonic();
    if (auto key = queue_.take(now)) {
      if (const auto node = added_.extract(*key); !node.empty()) {
        metrics_.observe(metric::kQueueDuration, labels_, seconds(now - node.mapped()));
      }
      started_[*key] = now;
      publish_depth();
      return key;
    }
    Nanos limit = Seconds{10};
    if (const auto due = queue_.next_due()) limit = std::min(limit, *due - now);
    if (&clock_ != &system_clock()) limit = std::min(limit, kFakeClockPoll);
    changed_.wait_for(lock, limit);
  }
}

void WorkQueue::done(const ObjectKey& key) {
  std::lock_guard lock(mutex_);
  if (const auto node = started_.extract(key); !node.empty()) {
    metrics_.observe(metric::kWorkDuration, labels_, seconds(clock_.monotonic() - node.mapped()));
  }
  queue_.done(key);
  publish_depth();
  changed_.notify_one();
}

void WorkQueue::shut_down() {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

bool WorkQueue::idle() const {
  std::lock_guard lock(mutex_);
  return queue_.idle();
}

void WorkQueue::publish_depth() {
  metrics_.set(metric::kQueueDepth, labels_, static_cast<double>(queue_.depth()));
  const Nanos now = clock_.monotonic();
  double total = 0, longest = 0;
  for (const auto& [key, start] : started_) {
    total += seconds(now - start);
    longest = std::max(longest, seconds(now - start));
  }
  metrics_.set(metric::kUnfinishedWork, labels_, total);
  metrics_.set(metric::kLongestRunning, labels_, longest);
}

}  // namespace tango::kube

#include "operator/task_pool.h"

#include <exception>

#include "lib/base/log.h"

namespace tango::op {

TaskPool::TaskPool(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

TaskPool::~TaskPool() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    for (Task& t : waiting_) t.stop.request_stop();
    for (auto& [key, stop] : running_) stop.request_stop();
  }
  wake_.notify_all();
  for (auto& t : threads_) t.join();
}

void TaskPool::submit(std::string key, Job job) {
  const std::lock_guard lock(mutex_);
  waiting_.push_back({std::move(key), std::move(job), std::stop_source{}});
  if (closing_) waiting_.back().stop.request_stop();
  wake_.notify_one();
}

void TaskPool::cancel(std::string_view key) {
  const std::lock_guard lock(mutex_);
  for (Task& t : waiting_) {
    if (t.key == key) t.stop.request_stop();
  }
  auto [begin, end] = running_.equal_range(key);
  for (auto it = begin; it != end; ++it) it->second.request_stop();
}

void TaskPool::work() {
  while (true) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return closing_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      task = std::move(waiting_.front());
      waiting_.pop_front();
      running_.emplace(task.key, task.stop);
    }
    try {
      task.job(task.stop.get_token());
    } catch (const std::exception& e) {
      log_error("An executor's job threw", {{"key", task.key}, {"error", e.what()}});
    }
    const std::lock_guard lock(mutex_);
    auto [begin, end] = running_.equal_range(task.key);
    for (auto it = begin; it != end; ++it) {
      if (it->second == task.stop) {
        running_.erase(it);
        break;
      }
    }
  }
}

}  // namespace tango::op

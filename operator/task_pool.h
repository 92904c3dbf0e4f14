// Threads of the executors: runs jobs that may block (a registry, a device) under a key, with a
// stop token, and never more at once than it has threads. Used by executors only.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace tango::op {

class TaskPool {
 public:
  using Job = std::function<void(std::stop_token)>;
  explicit TaskPool(int threads);
  // Stops all jobs and waits for them.
  ~TaskPool();
  TaskPool(const TaskPool&) = delete;
  TaskPool& operator=(const TaskPool&) = delete;

  void submit(std::string key, Job job);
  // Asks the job of this key to stop; a waiting one still runs, with its token stopped.
  void cancel(std::string_view key);

 private:
  struct Task {
    std::string key;
    Job job;
    std::stop_source stop;
  };
  void work();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> waiting_;
  std::multimap<std::string, std::stop_source, std::less<>> running_;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tango::op

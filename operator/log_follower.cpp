#include "operator/log_follower.h"

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "lib/base/log.h"
#include "lib/kube-types/core.h"

namespace tango::op {
namespace {

constexpr std::string_view kRunAnnotation = "ml-tango.io/run-id";

class Follower : public LogFollower {
 public:
  Follower(kube::KubeClient& client,
           std::function<std::shared_ptr<const kube::Observed>()> observed, RunStore& store,
           const LogFollowerOptions& options)
      : client_(client), observed_(std::move(observed)), store_(store), options_(options) {
    thread_ = std::thread([this] { run(); });
  }

  ~Follower() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
    std::vector<std::uint64_t> open;
    {
      std::lock_guard lock(mutex_);
      for (const auto& [uid, stream] : streams_) {
        if (!stream->ended) open.push_back(stream->id);
      }
    }
    for (std::uint64_t id : open) client_.cancel(id);
    // Callbacks of cancelled streams come on the client's thread and hold their own Stream.
    std::unique_lock lock(mutex_);
    ended_.wait_for(lock, Seconds{5}, [this] { return live_ == 0; });
  }

 private:
  struct Stream {
    std::uint64_t id = 0;
    bool ended = false;
    bool complete = false;  // the log was read to its end after the pod had ended
    int status = 0;
    EventSplitter splitter;
    explicit Stream(std::size_t max_line) : splitter(max_line) {}
  };

  void run() {
    while (true) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait_for(lock, options_.interval, [this] { return stopping_; });
        if (stopping_) return;
      }
      if (auto world = observed_()) look(*world);
    }
  }

  void look(const kube::Observed& world) {
    std::map<std::string, const kube::Pod*> wanted;
    for (const kube::Pod* pod : world.list<kube::Pod>("")) {
      if (pod->metadata.annotation(kRunAnnotation).empty()) continue;
      if (pod->status.phase == "Running" || pod->status.phase == "Succeeded" ||
          pod->status.phase == "Failed") {
        wanted.emplace(pod->metadata.uid, pod);
      }
    }
    std::vector<const kube::Pod*> to_open;
    {
      std::lock_guard lock(mutex_);
      std::erase_if(streams_,
                    [&](const auto& s) { return s.second->ended && !wanted.contains(s.first); });
      for (const auto& [uid, pod] : wanted) {
        auto it = streams_.find(uid);
        if (it != streams_.end() && !it->second->ended) continue;
        if (it != streams_.end() && it->second->complete) continue;
        if (live_ + to_open.size() >= options_.max_streams) break;
        to_open.push_back(pod);
      }
    }
    for (const kube::Pod* pod : to_open) open(*pod);
  }

  void open(const kube::Pod& pod) {
    auto stream = std::make_shared<Stream>(options_.max_line);
    bool over = pod.status.phase != "Running";
    std::string path =
        "/api/v1/namespaces/" + pod.metadata.ns + "/pods/" + pod.metadata.name + "/log";
    if (!over) path += "?follow=true";
    {
      std::lock_guard lock(mutex_);
      streams_[pod.metadata.uid] = stream;
      ++live_;
    }
    StreamCallbacks callbacks;
    callbacks.on_head = [stream](int status, const HttpHeaders&) { stream->status = status; };
    callbacks.on_data = [this, stream](std::string_view bytes) {
      if (stream->status != 200) return;
      std::vector<run::Event> events = stream->splitter.feed(bytes);
      // One bad run must not stop the others, so each run's events are stored apart.
      std::map<std::string, std::vector<run::Event>> by_run;
      for (run::Event& e : events) by_run[e.run_id].push_back(std::move(e));
      for (const auto& [run_id, list] : by_run) {
        if (auto stored = store_.append(list); !stored.ok() && !warned_.exchange(true)) {
          log_warn("Run events were not stored", {{"run", run_id}, stored.error()});
        }
      }
    };
    callbacks.on_end = [this, stream, over](Status) {
      std::lock_guard lock(mutex_);
      stream->ended = true;
      stream->complete = over && stream->status == 200;
      --live_;
      ended_.notify_all();
    };
    std::uint64_t id = client_.stream(path, std::move(callbacks));
    std::lock_guard lock(mutex_);
    stream->id = id;
  }

  kube::KubeClient& client_;
  std::function<std::shared_ptr<const kube::Observed>()> observed_;
  RunStore& store_;
  LogFollowerOptions options_;
  std::mutex mutex_;
  std::condition_variable wake_, ended_;
  bool stopping_ = false;
  std::size_t live_ = 0;
  std::map<std::string, std::shared_ptr<Stream>> streams_;  // by pod uid
  std::atomic<bool> warned_{false};
  std::thread thread_;
};

}  // namespace

std::vector<run::Event> EventSplitter::feed(std::string_view bytes) {
  std::vector<run::Event> out;
  while (!bytes.empty()) {
    auto end = bytes.find('\n');
    std::string_view piece = bytes.substr(0, end);
    if (!skipping_) partial_ += piece;
    if (partial_.size() > max_line_) {
      partial_.clear();
      skipping_ = true;
    }
    if (end == std::string_view::npos) return out;
    bytes.remove_prefix(end + 1);
    if (!skipping_ && !partial_.empty() && partial_.front() == '{') {
      if (auto event = run::parse_event(partial_); event.ok()) out.push_back(std::move(*event));
    }
    partial_.clear();
    skipping_ = false;
  }
  return out;
}

std::unique_ptr<LogFollower> LogFollower::start(
    kube::KubeClient& client, std::function<std::shared_ptr<const kube::Observed>()> observed,
    RunStore& store, const LogFollowerOptions& options) {
  return std::make_unique<Follower>(client, std::move(observed), store, options);
}

}  // namespace tango::op

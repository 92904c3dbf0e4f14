// Forwards run events to the operator's run API while a stage runs: at most one request a second,
// from its own thread. The network being down never slows or fails the stage; what was not
// delivered is in events.jsonl, which ends up in the registry.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>

#include "lib/base/http.h"
#include "lib/base/secret.h"

namespace tango::autonn {

class EventPoster {
 public:
  // Posts the lines of `file` from its beginning to `url`; `http` outlives the poster.
  EventPoster(HttpClient& http, std::string url, Secret<std::string> token,
              std::filesystem::path file);
  // Tries once more to deliver the rest, for two seconds at most.
  ~EventPoster();
  EventPoster(const EventPoster&) = delete;
  EventPoster& operator=(const EventPoster&) = delete;

 private:
  void loop();
  void post(Nanos timeout);

  HttpClient& http_;
  std::string url_;
  Secret<std::string> token_;
  std::filesystem::path file_;
  std::uint64_t sent_ = 0;  // bytes of the file that were delivered
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace tango::autonn

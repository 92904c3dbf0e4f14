// Open watches: each is a store subscription that filters, encodes and sends into a bounded HTTP
// stream. One timer thread sends bookmarks and ends watches at their timeoutSeconds.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "lib/base/http.h"
#include "standalone/api_call.h"
#include "standalone/store.h"

namespace tango::standalone {

struct WatchSpec {
  ResourcePtr resource;
  std::string ns;
  Filters filters;
  std::optional<TableRequest> table;
  bool partial = false;
  bool bookmarks = false;
  std::int64_t from = 0;           // events after this revision
  std::vector<ObjectPtr> initial;  // sent as ADDED first
  Nanos timeout{};
};

class WatchHub {
 public:
  WatchHub(Store& store, Nanos bookmark_interval);
  ~WatchHub();
  // Takes over the stream. An expired revision is answered inside the stream, as a watch cache
  // does.
  void open(WatchSpec spec, std::shared_ptr<HttpStream> stream, Clock& clock);
  void stop();
  std::size_t size() const;

 private:
  struct Watch;
  void run();
  void drop(std::uint64_t id);

  Store& store_;
  const Nanos bookmark_interval_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::map<std::uint64_t, std::shared_ptr<Watch>> watches_;
  std::uint64_t next_ = 1;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tango::standalone

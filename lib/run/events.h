// Run events (trainer, builder -> operator): JSON lines with a schema version and a per-run
// sequence, written to stdout and to $TANGO_RUN_DIR/events.jsonl. Writing never fails the run.
#pragma once

#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::run {

// {"v":1,"seq":n,"time":"...Z","run":"...","attempt":k,"type":"epoch", ...fields}
struct Event {
  std::int64_t seq = 0;
  std::string time;
  std::string run_id;
  int attempt = 1;
  std::string type;  // phase, dataset, autobatch, step, epoch, trial, checkpoint, artifact,
                     // warning, failed, resumed, done
  Json fields = Json::object();
};
std::string encode_line(const Event& event);  // without the newline
// Errors: InvalidEvent (schema, type).
Result<Event> parse_event(std::string_view line);
// Keeps, for every run, what the newest attempt says: drops events of older attempts whose `step`
// or `epoch` was rewound, and exact duplicates.
std::vector<Event> drop_rewound(std::vector<Event> events);

class EventWriter {
 public:
  // Appends to `file`, going on after the last complete line that is there. fd < 0: no copy.
  EventWriter(std::filesystem::path file, std::string run_id, int attempt, Clock& clock,
              int fd = 1);
  void emit(std::string_view type, Json fields = Json::object());
  std::int64_t next_seq() const { return seq_; }
  const std::filesystem::path& file() const { return file_; }

 private:
  std::filesystem::path file_;
  std::string run_id_;
  int attempt_;
  Clock& clock_;
  int fd_;
  std::int64_t seq_ = 0;
  std::mutex mutex_;
};

}  // namespace tango::run

// Run events as the management API answers them: a cache on SQLite, filled from the pods' logs,
// from events.jsonl of finished runs and from POSTs. Losing the file loses no truth (the events are
// in the registry); every event is stored once, whatever way and however often it came.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/run/events.h"

namespace tango::op {

struct RunStoreOptions {
  std::size_t max_events_per_run = 200'000;  // further ones are refused with RunTooLong
  std::size_t max_runs = 5'000;              // the runs written least recently are forgotten first
};

// Where a run stands, from its newest events.
struct RunProgress {
  std::string run_id;
  int attempt = 0;
  std::string phase;  // of the last `phase` event
  std::optional<std::int64_t> epoch, epochs;
  std::optional<std::int64_t> step, steps;
  std::optional<double> images_per_second, eta_seconds, loss, top1;
  std::string failed;  // reason of a `failed` event after the last `resumed`
  bool done = false;
};

class RunStore {
 public:
  // Creates the file if needed. A file that SQLite cannot read is renamed to *.broken and replaced:
  // it is a cache. Errors: StoreFailed.
  static Result<std::unique_ptr<RunStore>> open(const fs::path& path,
                                                const RunStoreOptions& options = {});
  virtual ~RunStore() = default;

  // Idempotent by (run, attempt, seq). Events of one call are stored together or not at all.
  // Errors: RunTooLong, StoreFailed.
  virtual Status append(const std::vector<run::Event>& events) = 0;
  // Events with rewound steps dropped, oldest first; `type` empty: all. Position counts from 0 in
  // that filtered order only within one call: page by `after_row`, which append order defines.
  struct Page {
    std::vector<run::Event> events;
    std::int64_t last_row = 0;
    bool more = false;
  };
  virtual Result<Page> events(std::string_view run_id, std::string_view type,
                              std::int64_t after_row, std::size_t limit) const = 0;
  virtual Result<std::optional<RunProgress>> progress(std::string_view run_id) const = 0;
};

}  // namespace tango::op

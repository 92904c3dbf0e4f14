#include "lib/run/events.h"

#include <unistd.h>

#include <map>

#include "lib/base/file.h"

namespace tango::run {
namespace {

constexpr int kSchemaVersion = 1;
constexpr std::uint64_t kMaxEventsBytes = 256u << 20;
const std::vector<std::string_view> kEnvelope = {"v", "seq", "time", "run", "attempt", "type"};

}  // namespace

std::string encode_line(const Event& event) {
  Json out = event.fields.is_object() ? event.fields : Json::object();
  out["v"] = kSchemaVersion;
  out["seq"] = event.seq;
  out["time"] = event.time;
  out["run"] = event.run_id;
  out["attempt"] = event.attempt;
  out["type"] = event.type;
  return dump_json(out);
}

Result<Event> parse_event(std::string_view line) {
  auto bad = [](std::string why) {
    return make_error(Code::kInvalid, "InvalidEvent", "a run event " + std::move(why));
  };
  auto json = parse_json(line);
  if (!json.ok()) return bad("is not JSON: " + json.error().message);
  if (!json->is_object()) return bad("is not an object");
  if (get_int(*json, "v") != kSchemaVersion) return bad("has an unknown schema version");
  Event e;
  e.seq = get_int(*json, "seq", -1);
  e.time = get_string(*json, "time");
  e.run_id = get_string(*json, "run");
  e.attempt = static_cast<int>(get_int(*json, "attempt", 0));
  e.type = get_string(*json, "type");
  if (e.seq < 0 || e.attempt < 1 || e.type.empty() || e.run_id.empty()) {
    return bad("lacks seq, run, attempt or type");
  }
  for (std::string_view key : kEnvelope) json->erase(std::string(key));
  e.fields = std::move(*json);
  return e;
}

std::vector<Event> drop_rewound(std::vector<Event> events) {
  // What a later attempt says again about a step or an epoch replaces what an earlier attempt said
  // about it and about everything after it.
  std::map<std::pair<std::string, std::string>, std::map<int, std::int64_t>>
      first;  // (run, type) -> attempt -> least position
  auto position = [](const Event& e) -> std::int64_t {
    if (e.type == "step") return get_int(e.fields, "step", -1);
    if (e.type == "epoch") return get_int(e.fields, "epoch", -1);
    return -1;
  };
  for (const Event& e : events) {
    std::int64_t p = position(e);
    if (p < 0) continue;
    auto& by_attempt = first[{e.run_id, e.type}];
    auto [it, fresh] = by_attempt.emplace(e.attempt, p);
    if (!fresh && p < it->second) it->second = p;
  }
  std::vector<Event> out;
  std::map<std::pair<std::string, int>, std::map<std::int64_t, bool>> seen;
  for (Event& e : events) {
    if (!seen[{e.run_id, e.attempt}].emplace(e.seq, true).second) continue;  // delivered twice
    std::int64_t p = position(e);
    bool rewound = false;
    if (p >= 0) {
      for (const auto& [attempt, least] : first[{e.run_id, e.type}]) {
        rewound = rewound || (attempt > e.attempt && p >= least);
      }
    }
    if (!rewound) out.push_back(std::move(e));
  }
  return out;
}

EventWriter::EventWriter(std::filesystem::path file, std::string run_id, int attempt, Clock& clock,
                         int fd)
    : file_(std::move(file)),
      run_id_(std::move(run_id)),
      attempt_(attempt),
      clock_(clock),
      fd_(fd) {
  auto existing = read_file(file_, kMaxEventsBytes);
  if (!existing.ok() || existing->empty()) return;
  std::string text = std::move(*existing);
  // A line cut by a crash is dropped; the sequence goes on after the last complete one.
  auto end = text.rfind('\n');
  std::size_t keep = end == std::string::npos ? 0 : end + 1;
  if (keep != text.size()) {
    [[maybe_unused]] int r = ::truncate(file_.c_str(), static_cast<off_t>(keep));
  }
  text.resize(keep);
  while (!text.empty()) {
    text.pop_back();
    auto start = text.rfind('\n');
    std::size_t from = start == std::string::npos ? 0 : start + 1;
    auto last = parse_event(std::string_view(text).substr(from));
    if (last.ok()) {
      seq_ = last->seq + 1;
      return;
    }
    text.resize(from);
  }
}

void EventWriter::emit(std::string_view type, Json fields) {
  std::lock_guard lock(mutex_);
  Event event{
      seq_++,           format_time_micro(clock_.now()), run_id_, attempt_, std::string(type),
      std::move(fields)};
  std::string line = encode_line(event) + "\n";
  // A full disk or a closed pipe must not stop training: the event is lost, the run goes on.
  (void)append_file(file_, line).ok();
  if (fd_ >= 0) (void)write_all(fd_, line).ok();
}

}  // namespace tango::run

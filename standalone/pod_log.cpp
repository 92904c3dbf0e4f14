// GET pods/<name>/log: bounded reads and following of a container's log file.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <thread>

#include "standalone/api_call.h"

namespace tango::standalone {
namespace {

constexpr int kMaxFollowers = 64;
constexpr std::int64_t kMaxLogAnswer = 64 << 20;
constexpr auto kPoll = std::chrono::milliseconds(100);

std::atomic<int> followers{0};

struct LogQuery {
  std::int64_t tail = -1, limit = -1;
  TimePoint since{};
  bool timestamps = false;
};

struct LogLine {
  std::string_view stamp, text;
  bool whole = true;
};
LogLine take_apart(std::string_view line) {
  LogLine out;
  auto a = line.find(' ');
  auto b = a == std::string_view::npos ? a : line.find(' ', a + 1);
  auto c = b == std::string_view::npos ? b : line.find(' ', b + 1);
  if (c == std::string_view::npos) return {"", line, true};
  out.stamp = line.substr(0, a);
  out.whole = line.substr(b + 1, c - b - 1) != "P";
  out.text = line.substr(c + 1);
  return out;
}

bool shown(const LogLine& line, const LogQuery& q) {
  if (q.since == TimePoint{}) return true;
  auto t = parse_time(line.stamp);
  return !t.ok() || *t >= q.since;
}

std::string formatted(const LogLine& line, const LogQuery& q) {
  std::string out;
  if (q.timestamps) out = std::string(line.stamp) + " ";
  out.append(line.text);
  if (line.whole) out += '\n';
  return out;
}

// Complete lines of the file so far; `rest` keeps an unfinished one, `offset` moves on.
class LogReader {
 public:
  LogReader(const fs::path& file, LogQuery q)
      : fd_(::open(file.c_str(), O_RDONLY | O_CLOEXEC)), query_(q) {}
  // Text to send, cut at the query's byte limit.
  std::string read(bool first) {
    std::deque<std::string> lines;
    char block[65536];
    while (fd_.valid()) {
      ssize_t n = ::read(fd_.get(), block, sizeof block);
      if (n <= 0) break;
      rest_.append(block, static_cast<std::size_t>(n));
      std::size_t from = 0;
      for (auto end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n', from)) {
        LogLine line = take_apart(std::string_view(rest_).substr(from, end - from));
        if (shown(line, query_)) lines.push_back(formatted(line, query_));
        if (first && query_.tail >= 0 && static_cast<std::int64_t>(lines.size()) > query_.tail)
          lines.pop_front();
        from = end + 1;
      }
      rest_.erase(0, from);
    }
    std::string out;
    for (std::string& l : lines) {
      if (sent_ + static_cast<std::int64_t>(out.size()) > kMaxLogAnswer) break;
      out += l;
    }
    if (query_.limit >= 0 && sent_ + static_cast<std::int64_t>(out.size()) > query_.limit) {
      out.resize(static_cast<std::size_t>(std::max<std::int64_t>(0, query_.limit - sent_)));
    }
    sent_ += static_cast<std::int64_t>(out.size());
    return out;
  }
  bool full() const { return query_.limit >= 0 && sent_ >= query_.limit; }

 private:
  Fd fd_;
  LogQuery query_;
  std::string rest_;
  std::int64_t sent_ = 0;
};

void follow(LogReader& reader, const LogSource& source, HttpStream& stream) {
  bool first = true;
  while (!stream.closed()) {
    // Asked before reading: what is written up to the end is still read afterwards.
    const bool more = source.running();
    std::string text = reader.read(first);
    first = false;
    if (!text.empty() && !stream.send(std::move(text))) return;
    if (!more || reader.full()) break;
    std::this_thread::sleep_for(kPoll);
  }
  stream.close();
}

}  // namespace

HttpReply ApiServer::pod_log(Call& call) {
  Json pod = operations_->get(*call.resource, call.ns, call.name);
  std::string container = call.query("container");
  const Json& containers = get(get(pod, "spec"), "containers");
  if (container.empty()) {
    if (containers.size() != 1) {
      std::string names;
      for (const Json& c : containers) names += (names.empty() ? "" : " ") + get_string(c, "name");
      throw bad_request("a container name must be specified for pod " + call.name +
                        ", choose one of: [" + names + "]");
    }
    container = get_string(containers[0], "name");
  }
  if (std::none_of(containers.begin(), containers.end(),
                   [&](const Json& c) { return get_string(c, "name") == container; })) {
    throw bad_request("container " + container + " is not valid for pod " + call.name);
  }
  LogQuery q;
  if (std::string v = call.query("tailLines"); !v.empty()) q.tail = parse_revision(v);
  if (std::string v = call.query("limitBytes"); !v.empty()) q.limit = parse_revision(v);
  if (std::string v = call.query("sinceSeconds"); !v.empty())
    q.since = clock_.now() - Seconds{parse_revision(v)};
  if (std::string v = call.query("sinceTime"); !v.empty()) {
    auto t = parse_time(v);
    if (!t.ok()) throw bad_request("sinceTime: " + t.error().message);
    q.since = *t;
  }
  q.timestamps = call.flag("timestamps");
  if (!log_finder_)
    throw ApiError(501, "NotImplemented", "no pod runner is attached to this server");
  auto source = log_finder_(pod, container, call.flag("previous"));
  if (!source.ok()) throw bad_request(source.error().message);
  auto reader = std::make_shared<LogReader>(source->file, q);
  if (!call.flag("follow")) return text_reply(200, reader->read(true));
  if (followers >= kMaxFollowers)
    throw ApiError(429, "TooManyRequests", "too many logs are being followed");
  HttpReply reply;
  reply.response = HttpResponse{200, {{"Content-Type", "text/plain"}}, ""};
  reply.stream = [reader, source = std::move(source).value()](std::shared_ptr<HttpStream> stream) {
    ++followers;
    // The thread holds nothing of the server but the stream, which ends when the server stops.
    std::thread([reader, source, stream] {
      follow(*reader, source, *stream);
      --followers;
    }).detach();
  };
  return reply;
}

}  // namespace tango::standalone

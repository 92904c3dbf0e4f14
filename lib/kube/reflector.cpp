#include "lib/kube/reflector.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "lib/base/log.h"
#include "lib/kube/request.h"

namespace tango::kube {
namespace {

constexpr std::size_t kMaxRefusalBytes = 64 * 1024;
// Bytes of a watch that wait for the reflector's thread. Streams are never paused (a paused HTTP/2
// stream holds up its connection), so beyond this the watch is dropped and the kind listed again.
constexpr std::size_t kMaxQueuedBytes = 64u << 20;
constexpr Nanos kFakeClockPoll = Millis{5};

}  // namespace

ReflectorCore::ReflectorCore(Store& store, ReflectorPort& port, const ReflectorOptions& options,
                             Random& random, ChangeHandler on_change)
    : store_(store),
      port_(port),
      options_(options),
      scope_{.ns = options.ns},
      metrics_(options.metrics ? *options.metrics : default_metrics()),
      machine_(options.watch, random),
      on_change_(std::move(on_change)) {
  metrics_.declare_counter("tango_reflector_failures_total",
                           "Lists and watches that failed, by kind and reason.");
}

void ReflectorCore::start(Nanos now) { step(Started{}, now); }
void ReflectorCore::on_timer(Nanos now) { step(TimerFired{}, now); }

void ReflectorCore::on_list(Result<HttpResponse> response, Nanos now) {
  const std::string doing = "listing " + std::string(store_.kind().info.plural);
  if (!response.ok()) return step(ListFailed{std::move(response).error().with_context(doing)}, now);
  if (response->status != 200) {
    return step(ListFailed{error_from_response(response->status, response->body, doing),
                           retry_after(response->headers).value_or(Nanos{})},
                now);
  }
  auto page = parse_page(response->body);
  if (!page.ok()) return step(ListFailed{std::move(page).error().with_context(doing)}, now);
  buffer_.reserve(buffer_.size() + page->items.size());
  for (std::string& item : page->items) {
    auto object = parse_stored(store_.kind(), std::move(item));
    if (object.ok()) {
      buffer_.push_back(std::move(*object));
    } else {
      report("UnreadableObject", object.error().to_string());
    }
  }
  step(PageReceived{page->resource_version, page->continue_token}, now);
}

void ReflectorCore::on_watch_head(int status, const HttpHeaders& headers, Nanos now) {
  head_status_ = status;
  head_ = headers;
  if (status == 200) step(WatchOpened{}, now);
}

void ReflectorCore::on_watch_data(std::string_view chunk, Nanos now) {
  if (head_status_ != 200) {
    refusal_.append(
        chunk.substr(0, kMaxRefusalBytes - std::min(kMaxRefusalBytes, refusal_.size())));
    return;
  }
  const Status fed = splitter_.feed(chunk, [&](std::string_view line) -> Status {
    // A frame may end the watch; what is left of the chunk then belongs to nobody.
    if (machine_.state() != WatchMachine::State::kWatching) return ok_status();
    TRY_ASSIGN(Frame frame, parse_frame(line));
    FrameReceived event{frame.type, frame.resource_version};
    if (frame.type == FrameType::kError)
      event.error = error_from_response(500, frame.object, "watching");
    step(event, now, &frame);
    return ok_status();
  });
  if (!fed.ok()) step(WatchBroken{fed.error()}, now);
}

void ReflectorCore::on_watch_end(const Status& end, Nanos now) {
  const std::string doing = "watching " + std::string(store_.kind().info.plural);
  if (head_status_ == 200) return step(WatchEnded{}, now);
  if (head_status_ != 0) {
    return step(WatchRefused{error_from_response(head_status_, refusal_, doing),
                             retry_after(head_).value_or(Nanos{})},
                now);
  }
  Error error = end.ok() ? make_error(Code::kUnavailable, "ConnectionLost",
                                      "the watch ended before its answer")
                         : end.error();
  step(WatchRefused{std::move(error).with_context(doing)}, now);
}

void ReflectorCore::on_watch_overflow(Nanos now) {
  step(WatchBroken{make_error(Code::kExhausted, "WatchOverflow",
                              "the watch of " + std::string(store_.kind().info.plural) +
                                  " outran its reader and was dropped")},
       now);
}

void ReflectorCore::step(const WatchEvent& event, Nanos now, Frame* frame) {
  for (const WatchAction& action : machine_.step(event, now)) {
    if (const auto* list = std::get_if<ListPage>(&action)) {
      if (list->continue_token.empty()) buffer_.clear();
      port_.list(list_target(store_.kind().info, scope_, list->continue_token, list->limit));
    } else if (const auto* commit = std::get_if<CommitList>(&action)) {
      pass_on(store_.replace(std::exchange(buffer_, {})));
      store_.set_version(commit->resource_version);
      store_.set_synced();  // only now: whoever waits for it may rely on the handlers' work
      last_report_.clear();
    } else if (const auto* open = std::get_if<OpenWatch>(&action)) {
      splitter_ = FrameSplitter();
      head_status_ = 0;
      head_.clear();
      refusal_.clear();
      port_.open_watch(
          watch_target(store_.kind().info, scope_, open->resource_version, open->timeout_seconds),
          Seconds{open->timeout_seconds} + options_.silence_margin);
    } else if (std::holds_alternative<CancelWatch>(action)) {
      port_.cancel_watch();
    } else if (std::holds_alternative<DeliverFrame>(action)) {
      deliver(*frame);
    } else if (const auto* advance = std::get_if<AdvanceVersion>(&action)) {
      store_.set_version(advance->resource_version);
    } else if (const auto* wait = std::get_if<Wait>(&action)) {
      port_.wait(wait->delay);
    } else if (const auto* said = std::get_if<Report>(&action)) {
      report(said->reason, said->message);
    }
  }
}

void ReflectorCore::deliver(Frame& frame) {
  auto object = parse_stored(store_.kind(), std::move(frame.object));
  if (!object.ok()) {
    // The last readable state stays: taking the object for deleted could tear down what it owns.
    report("UnreadableObject", object.error().to_string());
  } else if (frame.type == FrameType::kDeleted) {
    pass_on(store_.erase((*object)->key()));
  } else {
    pass_on(store_.put(std::move(*object)));
  }
  if (!frame.resource_version.empty()) store_.set_version(frame.resource_version);
}

void ReflectorCore::pass_on(const std::vector<Change>& changes) {
  for (const Change& change : changes) on_change_(change);
}

void ReflectorCore::report(std::string_view reason, std::string_view message) {
  const std::string kind(store_.kind().info.kind);
  metrics_.add("tango_reflector_failures_total", {{"kind", kind}, {"reason", std::string(reason)}});
  // The same complaint once, not with every try.
  if (message == last_report_) return;
  last_report_ = message;
  if (reason == "Expired") {
    log_debug("Watched version expired", {{"kind", kind}});
  } else {
    log_warn("List or watch failed", {{"kind", kind}, {"reason", reason}, {"message", message}});
  }
}

struct Reflector::Impl : ReflectorPort {
  Impl(KubeClient& c, Store& store, const ReflectorOptions& options, Clock& k, Random& random,
       ReflectorCore::ChangeHandler on_change)
      : client(c), clock(k), core(store, *this, options, random, std::move(on_change)) {
    thread = std::thread([this] { run(); });
  }

  // Of the thread alone.
  void list(std::string target) override { to_list = std::move(target); }
  void open_watch(std::string target, Nanos limit) override {
    const std::uint64_t number = ++watch_number;
    silence_limit = limit;
    deadline = clock.monotonic() + limit;
    StreamCallbacks callbacks;
    callbacks.on_head = [this, number](int status, const HttpHeaders& headers) {
      post({.watch = number, .kind = Message::Kind::kHead, .status = status, .headers = headers});
    };
    callbacks.on_data = [this, number](std::string_view chunk) {
      post({.watch = number, .kind = Message::Kind::kData, .data = std::string(chunk)});
    };
    callbacks.on_end = [this, number](Status end) {
      post({.watch = number, .kind = Message::Kind::kEnd, .end = std::move(end)});
    };
    {
      std::lock_guard lock(mutex);
      ++open_streams;
    }
    stream = client.stream(target, std::move(callbacks));
  }
  void cancel_watch() override {
    ++watch_number;  // whatever is still on its way is of an older watch
    deadline.reset();
    client.cancel(stream);
  }
  void wait(Nanos delay) override { timer = clock.monotonic() + delay; }

  struct Message {
    enum class Kind { kHead, kData, kEnd };
    std::uint64_t watch = 0;
    Kind kind = Kind::kHead;
    int status = 0;
    HttpHeaders headers = {};
    std::string data = {};
    Status end = ok_status();
  };
  void post(Message message) {
    std::lock_guard lock(mutex);
    if (message.kind == Message::Kind::kEnd) --open_streams;
    queued_bytes += message.data.size();
    if (queued_bytes > kMaxQueuedBytes) {
      overflowed = true;
      message.data.clear();
    }
    messages.push_back(std::move(message));
    changed.notify_all();
  }

  void run() {
    core.start(clock.monotonic());
    for (;;) {
      if (to_list) {
        const std::string target = *std::exchange(to_list, std::nullopt);
        auto response = client.raw("GET", target, {}, "application/json");
        if (stopped()) break;
        core.on_list(std::move(response), clock.monotonic());
        continue;
      }
      std::deque<Message> batch;
      bool flooded = false;
      {
        std::unique_lock lock(mutex);
        const Nanos now = clock.monotonic();
        const auto due = timer ? timer : deadline;
        if (messages.empty() && !stopping && (!due || *due > now)) {
          const Nanos limit = due ? std::min<Nanos>(*due - now, Seconds{1}) : Seconds{1};
          changed.wait_for(lock,
                           &clock == &system_clock() ? limit : std::min(limit, kFakeClockPoll));
        }
        if (stopping) break;
        batch.swap(messages);
        queued_bytes = 0;
        flooded = std::exchange(overflowed, false);
      }
      for (Message& message : batch) {
        // Behind a gap, events prove nothing; heads and ends still count.
        if (!flooded || message.kind != Message::Kind::kData) handle(message);
      }
      if (flooded) {
        core.on_watch_overflow(clock.monotonic());
        continue;
      }
      if (timer && *timer <= clock.monotonic()) {
        timer.reset();
        core.on_timer(clock.monotonic());
      } else if (deadline && *deadline <= clock.monotonic()) {
        deadline.reset();
        ++watch_number;
        client.cancel(stream);
        core.on_watch_end(ok_status(), clock.monotonic());
      }
    }
    client.cancel(stream);
    // Callbacks hold `this`: wait for the end of every stream.
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return open_streams == 0; });
  }

  void handle(Message& message) {
    if (message.watch != watch_number) return;
    const Nanos now = clock.monotonic();
    switch (message.kind) {
      case Message::Kind::kHead:
        core.on_watch_head(message.status, message.headers, now);
        break;
      case Message::Kind::kData:
        core.on_watch_data(message.data, now);
        break;
      case Message::Kind::kEnd:
        deadline.reset();
        core.on_watch_end(message.end, now);
        break;
    }
  }

  bool stopped() {
    std::lock_guard lock(mutex);
    return stopping;
  }

  KubeClient& client;
  Clock& clock;
  ReflectorCore core;
  std::optional<std::string> to_list;
  std::optional<Nanos> timer, deadline;
  Nanos silence_limit{};
  std::uint64_t watch_number = 0;
  std::uint64_t stream = 0;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Message> messages;
  std::size_t queued_bytes = 0;
  bool overflowed = false;
  bool stopping = false;
  int open_streams = 0;
  std::thread thread;
};

Reflector::Reflector(KubeClient& client, Store& store, const ReflectorOptions& options,
                     Clock& clock, Random& random, ReflectorCore::ChangeHandler on_change)
    : impl_(std::make_unique<Impl>(client, store, options, clock, random, std::move(on_change))) {}

Reflector::~Reflector() { stop(); }

void Reflector::stop() {
  if (!impl_->thread.joinable()) return;
  {
    std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
    impl_->changed.notify_all();
  }
  impl_->thread.join();
}

}  // namespace tango::kube

#include "device-agent/session.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "lib/artifacts/failure.h"
#include "lib/base/log.h"

namespace tango::agent {
namespace {

namespace code = artifacts::code;
using artifacts::Frame;
using artifacts::FrameType;

constexpr Nanos kBodySilence = Seconds{60};
constexpr std::uint64_t kWindow = artifacts::kDefaultWindow;

Error cancelled_error() {
  return make_error(Code::kCancelled, code::kCancelled, "the request was cancelled");
}

std::string phase_of(const std::string& op) {
  for (const char* known :
       {"hello", "plan", "transfer", "activate", "remove", "rollback", "evaluate", "relay"}) {
    if (op == known) return op;
  }
  return op == "rotateRoot" ? "hello" : "run";
}

}  // namespace

Session::Session(Device& device, Fd socket, bool local, const SessionLimits& limits)
    : device_(device), socket_(std::move(socket)), local_(local), limits_(limits) {}

Session::~Session() { stop(); }

void Session::stop() {
  closing_ = true;
  ::shutdown(socket_.get(), SHUT_RDWR);
  write_changed_.notify_all();
}

void Session::run() {
  writer_ = std::thread([this] { write_loop(); });
  artifacts::FrameDecoder decoder;
  const Nanos begun = system_clock().monotonic();
  Nanos heard = begun;
  std::string buffer(64u << 10, '\0');
  while (!closing_) {
    pollfd p{socket_.get(), POLLIN, 0};
    const int n = ::poll(&p, 1, 1000);
    const Nanos now = system_clock().monotonic();
    reap(false);
    if (n == 0) {
      if (!local_ && !hello_done_ && now - begun > limits_.hello_within) break;
      if (now - heard > limits_.silence) break;
      continue;
    }
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) break;
    heard = now;
    decoder.feed(std::string_view(buffer).substr(0, static_cast<std::size_t>(got)));
    bool broken = false;
    while (!broken) {
      auto frame = decoder.next();
      if (!frame.ok()) {
        log_warn("A channel was closed", {frame.error()});
        broken = true;
      } else if (!frame->has_value()) {
        break;
      } else if (auto taken = on_frame(std::move(**frame)); !taken.ok()) {
        log_warn("A channel was closed", {taken.error()});
        broken = true;
      }
    }
    if (broken) break;
  }
  closing_ = true;
  for (auto& [id, call] : calls_) {
    call->cancelled = true;
    call->changed.notify_all();
  }
  // What is still queued gets a moment to go out (the reply that explains a refusal).
  {
    std::unique_lock lock(write_mutex_);
    write_changed_.wait_for(lock, Millis{200}, [&] { return outgoing_.empty(); });
  }
  ::shutdown(socket_.get(), SHUT_RDWR);
  write_changed_.notify_all();
  reap(true);
  writer_.join();
}

void Session::reap(bool all) {
  for (auto it = calls_.begin(); it != calls_.end();) {
    if (!all && !it->second->done) {
      ++it;
      continue;
    }
    it->second->thread.join();
    it = calls_.erase(it);
  }
}

void Session::send(FrameType type, std::uint32_t id, std::string_view payload) {
  std::string bytes = artifacts::encode_frame(type, id, payload);
  std::unique_lock lock(write_mutex_);
  // Requests wait for room; the reader (Pong) never does.
  if (type != FrameType::kPong) {
    write_changed_.wait(lock, [&] { return closing_ || outgoing_bytes_ < limits_.queued_bytes; });
  }
  outgoing_bytes_ += bytes.size();
  outgoing_.push_back(std::move(bytes));
  write_changed_.notify_all();
}

void Session::write_loop() {
  std::unique_lock lock(write_mutex_);
  while (true) {
    write_changed_.wait(lock, [&] { return closing_ || !outgoing_.empty(); });
    if (outgoing_.empty()) return;
    const std::string bytes = std::move(outgoing_.front());
    outgoing_.pop_front();
    lock.unlock();
    std::string_view rest = bytes;
    bool lost = false;
    while (!rest.empty() && !lost) {
      const ssize_t n = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (n > 0) {
        rest.remove_prefix(static_cast<std::size_t>(n));
      } else if (errno != EINTR) {
        lost = true;
      }
    }
    lock.lock();
    outgoing_bytes_ -= bytes.size();
    if (lost) {
      closing_ = true;
      outgoing_.clear();
      ::shutdown(socket_.get(), SHUT_RDWR);
    }
    write_changed_.notify_all();
  }
}

Status Session::on_frame(Frame frame) {
  const auto broken = [](std::string why) {
    return make_error(Code::kInvalid, code::kProtocolError, std::move(why));
  };
  switch (frame.type) {
    case FrameType::kRequest:
      return on_request(frame);
    case FrameType::kPing:
      send(FrameType::kPong, frame.id, frame.payload);
      return ok_status();
    case FrameType::kPong:
      return ok_status();
    case FrameType::kReply:
    case FrameType::kEvent:
      return broken("the operator sent a Reply or an Event");
    case FrameType::kData:
    case FrameType::kCredit:
    case FrameType::kCancel:
      break;
  }
  const auto it = calls_.find(frame.id);
  if (it == calls_.end()) return ok_status();  // of a request that has ended
  Call& call = *it->second;
  const std::lock_guard lock(call.mutex);
  if (frame.type == FrameType::kCancel) {
    call.cancelled = true;
  } else if (frame.type == FrameType::kCredit) {
    TRY_ASSIGN(const artifacts::Credit credit, artifacts::parse_credit(frame.payload));
    call.credit = std::max(call.credit, credit.received);
  } else if (!call.done) {
    call.queued += frame.payload.size();
    // One frame of grace beyond the window that the Credits have opened.
    if (call.queued > kWindow + artifacts::kMaxFramePayload)
      return broken("Data beyond the window");
    call.data.push_back(std::move(frame.payload));
  }
  call.changed.notify_all();
  return ok_status();
}

Status Session::on_request(const Frame& frame) {
  reap(false);
  if (frame.id == 0 || calls_.contains(frame.id)) {
    return make_error(Code::kInvalid, code::kProtocolError, "a request id is 0 or in use");
  }
  const auto refuse = [&](std::string_view reason, std::string message) {
    const auto failure = artifacts::make_failure(reason, "run", "agent", std::move(message));
    send(FrameType::kReply, frame.id,
         dump_json(Json{{"ok", false}, {"failure", artifacts::encode(failure)}}));
    return ok_status();
  };
  JsonLimits limits;
  limits.max_bytes = artifacts::kMaxFramePayload;
  auto request = parse_json(frame.payload, limits);
  if (!request.ok() || !request->is_object()) {
    return refuse(code::kInvalidRequest, "the request is no JSON object");
  }
  if (calls_.size() >= limits_.requests) return refuse(code::kBusy, "too many requests in flight");
  auto call = std::make_shared<Call>();
  call->id = frame.id;
  call->request = std::move(*request);
  calls_.emplace(frame.id, call);
  call->thread = std::thread([this, call] { serve_call(*call); });
  return ok_status();
}

void Session::serve_call(Call& call) {
  const std::string op = get_string(call.request, "op");
  auto result = carry_out(call);
  Json reply;
  if (result.ok()) {
    reply = std::move(*result);
    reply["ok"] = true;
  } else {
    auto failure = artifacts::failure_from(result.error(), phase_of(op), "agent");
    failure.element = call.element;
    failure.at = system_clock().now();
    reply = {{"ok", false}, {"failure", artifacts::encode(failure)}};
  }
  {
    const std::lock_guard lock(call.mutex);
    call.data.clear();
  }
  std::string text = dump_json(reply);
  if (text.size() > artifacts::kMaxFramePayload) {
    const auto failure = artifacts::make_failure(code::kInternal, phase_of(op), "agent",
                                                 "the answer is larger than one frame");
    text = dump_json(Json{{"ok", false}, {"failure", artifacts::encode(failure)}});
  }
  send(FrameType::kReply, call.id, text);
  call.done = true;
}

Result<std::string> Session::next_data(Call& call, Nanos timeout) {
  std::unique_lock lock(call.mutex);
  call.changed.wait_for(lock, timeout, [&] { return call.cancelled || !call.data.empty(); });
  if (call.cancelled) return cancelled_error();
  if (call.data.empty()) return make_error(Code::kTimeout, code::kTimeout, "no Data came in time");
  std::string payload = std::move(call.data.front());
  call.data.pop_front();
  call.queued -= payload.size();
  return payload;
}

Result<std::string> Session::read_body(Call& call, std::uint64_t max) {
  const std::int64_t size = get_int(call.request, "bodyBytes", 0);
  if (size < 0 || static_cast<std::uint64_t>(size) > max) {
    return make_error(Code::kInvalid, code::kInvalidRequest,
                      "bodyBytes must be 0 to " + std::to_string(max));
  }
  std::string body;
  std::uint64_t received = 0, told = 0;
  std::uint32_t index = 0;
  while (body.size() < static_cast<std::size_t>(size)) {
    TRY_ASSIGN(const std::string payload, next_data(call, kBodySilence));
    TRY_ASSIGN(const auto view, artifacts::parse_data(payload));
    if (view.index != index++) {
      return make_error(Code::kInvalid, code::kProtocolError,
                        "the body's Data frames are out of order");
    }
    TRY_ASSIGN(const std::string bytes, artifacts::decode_data(view));
    if (bytes.empty() || body.size() + bytes.size() > static_cast<std::size_t>(size)) {
      return make_error(Code::kInvalid, code::kProtocolError,
                        "the body does not have bodyBytes bytes");
    }
    body += bytes;
    received += payload.size();
    if (received - told >= kWindow / 4 || body.size() == static_cast<std::size_t>(size)) {
      told = received;
      send(FrameType::kCredit, call.id, artifacts::encode_credit({received, received}));
    }
  }
  return body;
}

Status Session::send_body(Call& call, std::string_view body) {
  std::uint32_t index = 0;
  std::uint64_t sent = 0;
  while (!body.empty()) {
    const std::string_view part = body.substr(0, artifacts::kMaxDataBytes);
    body.remove_prefix(part.size());
    const std::string payload = artifacts::encode_data(index++, artifacts::Encoding::kRaw, part);
    sent += payload.size();
    {
      std::unique_lock lock(call.mutex);
      const bool open = call.changed.wait_for(
          lock, kBodySilence, [&] { return call.cancelled || sent <= call.credit + kWindow; });
      if (call.cancelled) return cancelled_error();
      if (!open) return make_error(Code::kTimeout, code::kTimeout, "no Credit came in time");
    }
    send(FrameType::kData, call.id, payload);
  }
  return ok_status();
}

Result<Json> Session::transfer(Call& call) {
  TRY_ASSIGN(Slot * slot, device_.slot(call.request));
  TRY_ASSIGN(const std::int64_t sequence_in, require_int(call.request, "sequence", "request"));
  const auto sequence = static_cast<std::uint64_t>(sequence_in);
  TRY_ASSIGN(auto state, slot->transfer_state(sequence));
  std::uint64_t received = 0, told = 0, durable = 0, chunks = 0, bytes_in = 0;
  Nanos unsynced_since{0};
  const auto credit = [&] {
    told = received;
    send(FrameType::kCredit, call.id, artifacts::encode_credit({received, durable}));
  };
  const auto sync = [&]() -> Status {
    TRY(slot->sync_chunks(sequence));
    durable = received;
    unsynced_since = Nanos{0};
    credit();
    return ok_status();
  };
  const auto take = [&](const std::string& payload) -> Status {
    TRY_ASSIGN(const auto view, artifacts::parse_data(payload));
    call.element = std::to_string(view.index);
    TRY_ASSIGN(const std::uint32_t length, slot->chunk_length(sequence, view.index));
    TRY_ASSIGN(const std::string bytes, artifacts::decode_data(view, length));
    TRY(slot->put_chunk(sequence, view.index, bytes));
    call.element.clear();
    received += payload.size();
    ++chunks;
    bytes_in += bytes.size();
    return ok_status();
  };
  while (state.missing > 0) {
    auto payload = next_data(call, limits_.durable_every);
    if (!payload.ok() && payload.error().reason != code::kTimeout) {
      // The channel is gone or the operator stopped: what came so far is kept.
      (void)slot->sync_chunks(sequence);
      return std::move(payload).error();
    }
    const Nanos now = system_clock().monotonic();
    if (payload.ok()) {
      if (unsynced_since == Nanos{0}) unsynced_since = now;
      if (auto taken = take(*payload); !taken.ok()) {
        (void)slot->sync_chunks(sequence);
        return std::move(taken).error();
      }
      TRY_ASSIGN(state, slot->transfer_state(sequence));
    }
    if (received - durable >= limits_.durable_bytes ||
        (received > durable && now - unsynced_since >= limits_.durable_every)) {
      TRY(sync());
    } else if (received - told >= kWindow / 4) {
      credit();
    }
  }
  if (received > durable) TRY(sync());
  TRY(slot->finish_transfer(sequence));
  return Json{{"chunks", chunks}, {"bytes", bytes_in}};
}

Result<Json> Session::activate(Call& call, const std::string& op) {
  TRY_ASSIGN(Slot * slot, device_.slot(call.request));
  const EventSink events = [&](const Json& event) {
    send(FrameType::kEvent, call.id, dump_json(event));
  };
  const auto cancelled = [&] { return call.cancelled.load(); };
  if (op == "rollback") {
    TRY_ASSIGN(Json result, slot->rollback(events, cancelled));
    return Json{{"result", std::move(result)}};
  }
  TRY_ASSIGN(const std::int64_t sequence, require_int(call.request, "sequence", "request"));
  TRY_ASSIGN(Json result, slot->activate(static_cast<std::uint64_t>(sequence), events, cancelled));
  return Json{{"result", std::move(result)}};
}

Result<Json> Session::carry_out(Call& call) {
  const Json& request = call.request;
  const std::string op = get_string(request, "op");
  if (op.empty()) return make_error(Code::kInvalid, code::kInvalidRequest, "op is missing");
  if (local_ && op != "status" && op != "logs" && op != "rollback") {
    return make_error(Code::kDenied, code::kUnsupported, op + " is not a local request");
  }
  if (!local_ && !hello_done_ && op != "hello" && op != "rotateRoot") {
    return make_error(Code::kDenied, code::kHelloRequired, "hello comes first");
  }
  if (op == "hello") {
    auto reply = device_.hello(request);
    if (reply.ok()) hello_done_ = true;
    return reply;
  }
  if (op == "rotateRoot") return device_.rotate_root(request);
  if (op == "inventory") return device_.inventory();
  if (op == "status") return device_.status();
  if (op == "logs") return device_.logs(request);
  if (op == "transfer") return transfer(call);
  if (op == "activate" || op == "rollback") return activate(call, op);
  if (op == "plan") {
    TRY_ASSIGN(const std::string body, read_body(call, 12u << 20));
    return device_.plan(request, body);
  }
  if (op == "ack") {
    TRY(device_.acknowledge(request));
    return Json::object();
  }
  if (op == "bench") {
    if (request.contains("ops")) {
      return make_error(Code::kUnsupported, code::kUnsupported,
                        "bench of single operators is not part of this agent");
    }
    TRY_ASSIGN(Slot * slot, device_.slot(request));
    TRY_ASSIGN(const Measured measured, slot->bench_current());
    return Json{{"measured", to_json(measured)}};
  }
  if (op == "evaluate") {
    TRY_ASSIGN(const std::string body, read_body(call, artifacts::kMaxBodyBytes));
    return device_.evaluate(request, body);
  }
  if (op == "relay") {
    TRY_ASSIGN(const std::string body, read_body(call, 32u << 20));
    TRY_ASSIGN(auto relayed, device_.relay(request, body));
    TRY(send_body(call, relayed.body));
    return relayed.reply;
  }
  if (op == "remove") {
    auto slot = device_.slot(request);
    if (!slot.ok()) return Json::object();  // an empty slot is success
    TRY((*slot)->remove(get_string(request, "deploymentUid")));
    return Json::object();
  }
  return make_error(Code::kUnsupported, code::kUnsupported,
                    "this agent does not have '" + op.substr(0, 64) + "'");
}

}  // namespace tango::agent

#include "lib/fleet/agent_session.h"

#include <algorithm>
#include <mutex>

#include "lib/base/digest.h"
#include "lib/base/random.h"

namespace tango::fleet {

Result<HelloReply> parse_hello(const Json& value, std::string_view nonce);

namespace {

using artifacts::Frame;
using artifacts::FrameType;

constexpr Nanos kPingAfter = Seconds{15};
constexpr Nanos kSlice = Millis{200};       // how fast a stop is noticed
constexpr Nanos kCancelGrace = Seconds{5};  // for the reply to a Cancel
constexpr Nanos kDefaultDeadline = Seconds{600};
constexpr std::size_t kOutgoingLow = 512u << 10;  // refill below this

Nanos now() { return system_clock().monotonic(); }

class Session : public AgentSession {
 public:
  Session(std::unique_ptr<ByteChannel> channel, std::shared_ptr<void> owner)
      : owner_(std::move(owner)), channel_(std::move(channel)), buffer_(128u << 10, '\0') {}

  const HelloReply& hello() const override { return hello_; }
  std::optional<artifacts::Failure> last_failure() const override { return failure_; }

  Result<CallReply> call(std::string_view op, Json params, CallOptions options) override {
    std::lock_guard lock(mutex_);
    return exchange(op, std::move(params), options);
  }

  Status ping(Nanos timeout) override {
    std::lock_guard lock(mutex_);
    if (broken_) return Error(*broken_);
    std::uint64_t before = pongs_;
    queue(FrameType::kPing, 0, "tango");
    Nanos until = now() + timeout;
    while (pongs_ == before) {
      TRY(pump(nullptr));
      if (now() >= until)
        return breaks("Timeout", Code::kTimeout, "the agent did not answer a ping");
    }
    return ok_status();
  }

  Status say_hello(const HelloParams& p, const std::stop_token& stop) {
    for (int attempt = 0;; ++attempt) {
      std::string nonce = random_bytes(system_random(), 32);
      CallOptions options;
      options.timeout = Seconds{20};
      options.deadline = Seconds{30};
      options.stop = stop;
      auto reply = exchange("hello",
                            Json{{"protocol", artifacts::kProtocolVersion},
                                 {"operator", p.operator_name},
                                 {"fleetEpoch", p.fleet_epoch},
                                 {"epoch", artifacts::encode(p.epoch)},
                                 {"nonce", to_base64(nonce)},
                                 {"root", artifacts::encode(p.root)}},
                            options);
      if (!reply.ok()) {
        if (reply.error().reason != artifacts::code::kRootGap || attempt > 0 ||
            p.root_chain.empty()) {
          return std::move(reply).error();
        }
        Json chain = Json::array();
        for (const auto& doc : p.root_chain) chain.push_back(artifacts::encode(doc));
        TRY(exchange("rotateRoot", Json{{"chain", std::move(chain)}}, options));
        continue;
      }
      TRY_ASSIGN(hello_, parse_hello(reply->json, nonce));
      if (!p.expected_device_id.empty() && hello_.device_id != p.expected_device_id) {
        return make_error(Code::kDenied, "IdentityMismatch",
                          "the machine proves to be device " + hello_.device_id.substr(0, 12) +
                              ", not " + p.expected_device_id.substr(0, 12));
      }
      return ok_status();
    }
  }

 private:
  struct Call {
    std::uint32_t id = 0;
    CallOptions* options = nullptr;
    std::optional<Json> reply;
    std::string body;
    std::uint64_t received = 0;  // Data payload bytes from the agent
    std::uint64_t credited = 0;
    std::uint64_t sent = 0;  // Data payload bytes to the agent
    std::uint64_t acked = 0;
    std::uint64_t body_at = 0;
    std::uint32_t next_index = 0;
    std::uint32_t expected_index = 0;
    bool chunks_done = false;
  };

  Error breaks(std::string_view reason, Code code, std::string message) {
    std::string said = channel_->error_text();
    while (!said.empty() && (said.back() == '\n' || said.back() == '\r')) said.pop_back();
    if (!said.empty()) message += " (the other side said: " + said + ")";
    broken_ = make_error(code, reason, std::move(message));
    return *broken_;
  }
  Error protocol(std::string message) {
    return breaks("ProtocolError", Code::kInternal, std::move(message));
  }

  void queue(FrameType type, std::uint32_t id, std::string_view payload) {
    out_ += artifacts::encode_frame(type, id, payload);
  }

  // Moves bytes both ways once; waits a little when nothing moved.
  Status pump(Call* call) {
    bool moved = false;
    if (out_at_ < out_.size()) {
      auto n = channel_->write_some(std::string_view(out_).substr(out_at_));
      // A peer that closes may have said why: read first, complain at the end of its stream.
      if (n.ok()) {
        out_at_ += *n;
        moved = *n > 0;
        if (moved) last_sent_ = now();
      } else {
        out_at_ = out_.size();
      }
      if (out_at_ == out_.size()) {
        out_.clear();
        out_at_ = 0;
      }
    }
    auto n = channel_->read_some(buffer_.data(), buffer_.size());
    if (!n.ok()) return breaks(n.error().reason, n.error().code, n.error().message);
    if (*n > 0) {
      last_heard_ = now();
      decoder_.feed(std::string_view(buffer_).substr(0, *n));
      for (;;) {
        auto frame = decoder_.next();
        if (!frame.ok())
          return protocol("what came from the device is not the agent protocol: " +
                          frame.error().message);
        if (!*frame) break;
        TRY(take(std::move(**frame), call));
      }
      return ok_status();
    }
    if (channel_->eof()) {
      return breaks("ConnectionLost", Code::kUnavailable,
                    decoder_.pending() > 0 ? "the connection ended inside a frame"
                                           : "the agent closed the connection");
    }
    if (!moved) {
      if (auto s = channel_->wait(out_at_ < out_.size(), kSlice); !s.ok()) {
        return breaks(s.error().reason, s.error().code, s.error().message);
      }
    }
    return ok_status();
  }

  Status take(Frame frame, Call* call) {
    switch (frame.type) {
      case FrameType::kPing:
        queue(FrameType::kPong, frame.id, frame.payload);
        return ok_status();
      case FrameType::kPong:
        ++pongs_;
        return ok_status();
      case FrameType::kRequest:
      case FrameType::kCancel:
        return protocol("the agent sent a frame that only the operator sends");
      default:
        break;
    }
    // Late frames of a call that was given up are of no interest.
    if (call == nullptr || frame.id != call->id || call->reply) return ok_status();
    if (frame.type == FrameType::kData) return take_data(frame.payload, *call);
    if (frame.type == FrameType::kCredit) {
      TRY_ASSIGN(artifacts::Credit credit, artifacts::parse_credit(frame.payload));
      if (credit.received > call->sent)
        return protocol("the agent gave credit for bytes never sent");
      call->acked = std::max(call->acked, credit.received);
      if (call->options->on_credit) call->options->on_credit(credit);
      return ok_status();
    }
    auto json = parse_json(frame.payload, JsonLimits{artifacts::kMaxFramePayload, 32});
    if (!json.ok() || !json->is_object())
      return protocol("a reply of the agent is not a JSON object");
    if (frame.type == FrameType::kEvent) {
      if (call->options->on_event) call->options->on_event(*json);
      return ok_status();
    }
    call->reply = std::move(*json);
    return ok_status();
  }

  Status take_data(std::string_view payload, Call& call) {
    TRY_ASSIGN(artifacts::DataView view, artifacts::parse_data(payload));
    if (view.index != call.expected_index++) return protocol("the agent's body has a gap");
    auto bytes = artifacts::decode_data(view);
    if (!bytes.ok()) return protocol(bytes.error().message);
    if (call.body.size() + bytes->size() > artifacts::kMaxBodyBytes) {
      return protocol("the agent's body is above 64 MiB");
    }
    call.body += *bytes;
    call.received += payload.size();
    if (call.received - call.credited >= artifacts::kDefaultWindow / 4) {
      call.credited = call.received;
      queue(FrameType::kCredit, call.id, artifacts::encode_credit({call.received, call.received}));
    }
    return ok_status();
  }

  // Puts more of the body or chunks into the outgoing bytes, as far as the window goes.
  Status refill(Call& call) {
    CallOptions& o = *call.options;
    while (out_.size() - out_at_ < kOutgoingLow &&
           call.sent - call.acked + artifacts::kMaxDataBytes + artifacts::kDataHeaderBytes <=
               hello_.window) {
      std::string payload;
      if (call.body_at < o.body_size) {
        auto n = static_cast<std::size_t>(
            std::min<std::uint64_t>(artifacts::kMaxDataBytes, o.body_size - call.body_at));
        TRY_ASSIGN(std::string piece, o.body(call.body_at, n));
        if (piece.size() != n) {
          return make_error(Code::kInternal, "Internal", "the body ended before its size");
        }
        call.body_at += n;
        payload = artifacts::encode_data_best(call.next_index++, piece, 1);
      } else if (o.next_chunk && !call.chunks_done) {
        TRY_ASSIGN(auto chunk, o.next_chunk());
        if (!chunk) {
          call.chunks_done = true;
          break;
        }
        payload = artifacts::encode_data_best(chunk->first, chunk->second, 3);
      } else {
        break;
      }
      call.sent += payload.size();
      queue(FrameType::kData, call.id, payload);
    }
    return ok_status();
  }

  Result<CallReply> exchange(std::string_view op, Json params, CallOptions& options) {
    if (broken_) return Error(*broken_);
    failure_.reset();
    params["op"] = op;
    if (options.body_size > 0) params["bodyBytes"] = options.body_size;
    std::string request = dump_json(params);
    if (request.size() > artifacts::kMaxFramePayload) {
      return make_error(
          Code::kExhausted, "RequestTooLarge",
          "a request of " + std::to_string(request.size()) + " bytes; 1 MiB is allowed");
    }
    Call call;
    call.id = ++last_id_;
    call.options = &options;
    queue(FrameType::kRequest, call.id, request);
    Nanos start = now();
    Nanos until = start + (options.deadline > Nanos::zero() ? options.deadline : kDefaultDeadline);
    last_heard_ = last_sent_ = start;
    Nanos pinged = start;
    std::optional<Error> given_up;  // waiting for the reply to our Cancel
    auto give_up = [&](Error why) {
      given_up = std::move(why);
      queue(FrameType::kCancel, call.id, {});
      until = now() + kCancelGrace;
    };
    while (!call.reply) {
      if (!given_up) {
        // The source of the body failing must end the call on the device too.
        if (Status s = refill(call); !s.ok()) give_up(s.error());
      }
      TRY(pump(&call));
      Nanos t = now();
      if (t - last_heard_ > options.timeout) {
        return breaks("Timeout", Code::kTimeout,
                      "nothing came from the agent for " + format_duration(options.timeout) +
                          " during " + std::string(op));
      }
      // The agent closes what it hears nothing from, however much it has to say itself.
      if (t - std::min(last_heard_, last_sent_) > kPingAfter && t - pinged > kPingAfter) {
        queue(FrameType::kPing, 0, {});
        pinged = t;
      }
      if (given_up) {
        if (t >= until) return *given_up;
      } else if (options.stop.stop_requested()) {
        give_up(
            make_error(Code::kCancelled, "Cancelled", std::string(op) + " was stopped on request"));
      } else if (t >= until) {
        give_up(make_error(Code::kTimeout, "Timeout", std::string(op) + " did not end in time"));
      }
    }
    if (given_up) return *given_up;
    return conclude(op, call);
  }

  Result<CallReply> conclude(std::string_view op, Call& call) {
    const Json& reply = *call.reply;
    if (!get_bool(reply, "ok")) {
      auto failure = artifacts::parse_failure(get(reply, "failure"));
      if (!failure.ok()) return protocol("a refusal without a failure came for " + std::string(op));
      failure_ = *failure;
      return artifacts::to_error(*failure).with_context(std::string(op) + " on the device");
    }
    auto body = static_cast<std::uint64_t>(std::max<std::int64_t>(0, get_int(reply, "bodyBytes")));
    if (body != call.body.size()) return protocol("the body of a reply is not as long as it says");
    return CallReply{std::move(*call.reply), std::move(call.body)};
  }

  std::shared_ptr<void> owner_;  // outlives the channel: declared before it
  std::unique_ptr<ByteChannel> channel_;
  std::mutex mutex_;
  artifacts::FrameDecoder decoder_;
  std::string buffer_;
  std::string out_;
  std::size_t out_at_ = 0;
  std::uint32_t last_id_ = 0;
  std::uint64_t pongs_ = 0;
  Nanos last_heard_{};
  Nanos last_sent_{};
  std::optional<Error> broken_;
  std::optional<artifacts::Failure> failure_;
  HelloReply hello_;
};

}  // namespace

artifacts::SignedDocument sign_epoch(const artifacts::SigningKey& key, std::uint64_t epoch,
                                     TimePoint when) {
  std::string bytes = artifacts::encode_epoch({epoch, when});
  return {bytes, artifacts::encode_envelope(
                     artifacts::sign_document(bytes, artifacts::kFleetEpochType, key))};
}

Result<std::unique_ptr<AgentSession>> start_agent_session(std::unique_ptr<ByteChannel> channel,
                                                          std::shared_ptr<void> owner,
                                                          const HelloParams& hello,
                                                          std::stop_token stop) {
  auto session = std::make_unique<Session>(std::move(channel), std::move(owner));
  TRY(session->say_hello(hello, stop));
  return std::unique_ptr<AgentSession>(std::move(session));
}

Result<std::unique_ptr<AgentSession>> open_agent(const AgentTarget& target, std::stop_token stop) {
  TRY_ASSIGN(std::unique_ptr<SshSession> ssh,
             SshSession::connect(target.ssh, target.credential, stop));
  std::shared_ptr<SshSession> shared = std::move(ssh);
  // The word does not matter: authorized_keys forces the gate. It shows up in sshd's log.
  TRY_ASSIGN(auto channel, shared->open_exec("tango-agent"));
  return start_agent_session(std::move(channel), shared, target.hello, stop);
}

}  // namespace tango::fleet

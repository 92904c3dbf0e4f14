// An agent by the book for tests of the client: verifies plans with the real trust store, takes
// chunks into memory, "activates" at once. Faults are switched on by its public members. One thread
// per connection over a socket pair; state survives connections as a device's would.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "lib/artifacts/frame.h"
#include "lib/artifacts/trust_store.h"
#include "lib/base/random.h"
#include "lib/fleet/agent_session.h"

namespace tango::fleet::testing {

using artifacts::FrameType;

class FakeAgent {
 public:
  FakeAgent() : key_(artifacts::SigningKey::generate()) {}
  ~FakeAgent() {
    for (auto& t : threads_) t.join();
  }

  std::string id() const { return artifacts::device_id_of(key_.public_key()); }

  // A new connection; the thread ends when the client goes.
  std::unique_ptr<ByteChannel> connect() {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return nullptr;
    threads_.emplace_back([this, fd = fds[1]] { serve(Fd(fd)); });
    return std::make_unique<FdChannel>(Fd(fds[0]), Fd());
  }
  Result<std::unique_ptr<AgentSession>> open(const HelloParams& hello) {
    ++connections;
    return start_agent_session(connect(), nullptr, hello);
  }

  // Faults and settings
  std::atomic<int> connections{0};
  std::atomic<std::uint64_t> cut_after_data{0};  // close after so many Data payload bytes, once
  bool wrong_proof = false;
  bool wrong_id = false;
  int protocol = 1;
  std::string greeting;   // bytes written before anything else (a noisy login shell)
  std::string reject_op;  // answered with `reject_code`
  std::string reject_code = "DiskFull";
  std::string outcome = "committed";
  std::string hang_op;  // never answered, but Cancel is
  bool root_gap = false;
  bool lose_activate_reply = false;  // once: activates, then drops the connection
  std::uint64_t window = artifacts::kDefaultWindow;
  std::string arch = "amd64";

  // What happened
  std::vector<std::string> ops;
  std::map<std::uint32_t, std::string> chunks;
  std::uint64_t max_unacknowledged = 0;
  std::uint64_t data_bytes = 0;
  std::uint64_t highest_sequence = 0;
  std::string last_body;
  Json outbox = Json::array();
  std::optional<artifacts::ChunkList> list;
  std::string plan_digest;

 private:
  struct Peer {
    Fd fd;
    bool open = true;
    void send(FrameType type, std::uint32_t id, std::string_view payload) {
      if (!write_all(fd.get(), artifacts::encode_frame(type, id, payload)).ok()) open = false;
    }
    void reply(std::uint32_t id, Json json) {
      json["ok"] = true;
      send(FrameType::kReply, id, dump_json(json));
    }
    void refuse(std::uint32_t id, std::string_view code, std::string_view phase) {
      auto f = artifacts::make_failure(code, phase, "agent", "refused by the fake agent", "main");
      f.at = TimePoint{Seconds{1'700'000'000}};
      send(FrameType::kReply, id,
           dump_json(Json{{"ok", false}, {"failure", artifacts::encode(f)}}));
    }
  };
  struct Pending {
    Json request;
    std::string body;
    std::uint64_t received = 0;
    std::uint64_t credited = 0;
  };

  void serve(Fd fd) {
    Peer peer{std::move(fd)};
    if (!greeting.empty()) (void)write_all(peer.fd.get(), greeting);
    artifacts::FrameDecoder decoder;
    std::map<std::uint32_t, Pending> pending;
    char buffer[65536];
    while (peer.open) {
      ssize_t n = ::read(peer.fd.get(), buffer, sizeof buffer);
      if (n <= 0) return;
      decoder.feed({buffer, static_cast<std::size_t>(n)});
      for (;;) {
        auto frame = decoder.next();
        if (!frame.ok() || !*frame) break;
        std::lock_guard lock(mutex_);
        if (!handle(peer, **frame, pending)) return;
      }
    }
  }

  bool handle(Peer& peer, const artifacts::Frame& f, std::map<std::uint32_t, Pending>& pending) {
    if (f.type == FrameType::kPing) {
      peer.send(FrameType::kPong, f.id, f.payload);
      return true;
    }
    if (f.type == FrameType::kCancel) {
      if (pending.erase(f.id) > 0) peer.refuse(f.id, "Cancelled", "run");
      return true;
    }
    if (f.type == FrameType::kRequest) {
      Json request = *parse_json(f.payload);
      ops.push_back(get_string(request, "op"));
      pending[f.id].request = request;
      if (get_int(request, "bodyBytes") > 0 || ops.back() == "transfer") return true;
      return dispatch(peer, f.id, pending);
    }
    if (f.type == FrameType::kData && pending.contains(f.id)) return data(peer, f, pending);
    return true;
  }

  bool data(Peer& peer, const artifacts::Frame& f, std::map<std::uint32_t, Pending>& pending) {
    Pending& p = pending[f.id];
    auto view = *artifacts::parse_data(f.payload);
    std::string bytes = *artifacts::decode_data(view);
    p.received += f.payload.size();
    data_bytes += f.payload.size();
    max_unacknowledged = std::max(max_unacknowledged, p.received - p.credited);
    bool transfer = get_string(p.request, "op") == "transfer";
    if (transfer) {
      chunks[view.index] = bytes;
    } else {
      p.body += bytes;
    }
    if (cut_after_data > 0 && data_bytes >= cut_after_data) {
      cut_after_data = 0;
      return false;
    }
    if (p.received - p.credited >= window / 4) {
      p.credited = p.received;
      peer.send(FrameType::kCredit, f.id, artifacts::encode_credit({p.received, p.received}));
    }
    bool done = transfer
                    ? chunks.size() == list->chunks.size()
                    : static_cast<std::int64_t>(p.body.size()) == get_int(p.request, "bodyBytes");
    return done ? dispatch(peer, f.id, pending) : true;
  }

  bool dispatch(Peer& peer, std::uint32_t id, std::map<std::uint32_t, Pending>& pending) {
    Pending p = pending[id];
    std::string op = get_string(p.request, "op");
    if (op == hang_op) return true;
    pending.erase(id);
    last_body = p.body;
    if (op == reject_op) {
      peer.refuse(id, reject_code, op);
      return true;
    }
    if (op == "hello") return hello(peer, id, p.request);
    if (op == "plan") return plan(peer, id, p);
    if (op == "activate") return activate(peer, id, p.request);
    if (op == "ack") outbox = Json::array();
    if (op == "transfer") {
      peer.reply(id, Json{{"chunks", chunks.size()}});
    } else if (op == "relay") {
      std::string answer(300'000, 'r');
      std::uint32_t index = 0;
      for (std::size_t at = 0; at < answer.size(); at += 100'000) {
        peer.send(
            FrameType::kData, id,
            artifacts::encode_data_best(index++, std::string_view(answer).substr(at, 100'000)));
      }
      peer.reply(id,
                 Json{{"status", 200}, {"headers", {{"a", "b"}}}, {"bodyBytes", answer.size()}});
    } else if (op == "evaluate") {
      peer.reply(id, Json{{"result", {{"accuracy", 0.9}, {"samples", 3}}}});
    } else if (op == "logs") {
      peer.reply(id, Json{{"text", "line\n"}, {"next", "5"}, {"truncated", true}});
    } else {
      if (op == "rotateRoot") root_gap = false;
      peer.reply(id, Json::object());
    }
    return true;
  }

  bool hello(Peer& peer, std::uint32_t id, const Json& request) {
    if (root_gap) {
      peer.refuse(id, "RootGap", "hello");
      return true;
    }
    auto root = artifacts::parse_signed_document(get(request, "root"));
    if (root.ok()) {
      if (auto trust = artifacts::TrustStore::from_signed(*root); trust.ok()) trust_ = *trust;
    }
    std::string nonce = *from_base64(get_string(request, "nonce"));
    auto sig = key_.sign(artifacts::hello_proof_message(wrong_proof ? "other" : nonce, this->id()));
    auto text = [](const auto& bytes) {
      return to_base64(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    };
    peer.reply(id, Json{{"protocol", protocol},
                        {"device",
                         {{"id", wrong_id ? std::string(64, '0') : this->id()},
                          {"agentKey", {{"alg", "ed25519"}, {"public", text(key_.public_key())}}}}},
                        {"proof", text(sig)},
                        {"agentVersion", "0.0.1"},
                        {"arch", arch},
                        {"os", "linux"},
                        {"features", Json::array({"plan"})},
                        {"limits", {{"window", window}}},
                        {"fleetEpoch", 1},
                        {"slots", Json::array({Json{{"name", "main"}, {"state", "Empty"}}})},
                        {"outbox", outbox}});
    return true;
  }

  bool plan(Peer& peer, std::uint32_t id, const Pending& p) {
    artifacts::PlanDocuments docs;
    std::size_t at = 0;
    auto take = [&](const char* name) {
      auto n = static_cast<std::size_t>(get_int(get(p.request, "parts"), name));
      std::string part = p.body.substr(at, n);
      at += n;
      return part;
    };
    docs.index.document = take("index");
    docs.index.envelope = take("indexEnvelope");
    docs.assignment.document = take("assignment");
    docs.assignment.envelope = take("assignmentEnvelope");
    docs.chunk_list = take("chunkList");
    docs.config = take("config");
    artifacts::DeviceFacts facts;
    facts.device_id = this->id();
    facts.arch = arch;
    facts.slot = get_string(p.request, "slot");
    facts.slot_facts.highest_sequence = highest_sequence;
    if (list) {
      facts.slot_facts.bundle_at_highest = sha256(docs.index.document);
      facts.slot_facts.config_at_highest = sha256(docs.config);
    }
    auto verified = trust_->verify_plan(docs, facts);
    if (!verified.ok()) {
      peer.refuse(id, verified.error().reason, "plan");
      return true;
    }
    highest_sequence = verified->assignment->sequence;
    plan_digest = verified->index.digest().to_string();
    list = *verified->chunks;
    artifacts::ChunkBitmap needed(list->chunks.size());
    for (std::size_t i = 0; i < list->chunks.size(); ++i) {
      if (!chunks.contains(static_cast<std::uint32_t>(i))) needed.set(i);
    }
    peer.reply(id, Json{{"state", needed.count() == 0 ? "Complete" : "Needed"},
                        {"needed", {{"bitmap", to_base64(needed.bytes())}}}});
    return true;
  }

  bool activate(Peer& peer, std::uint32_t id, const Json& request) {
    Json result{{"id", "r1"},
                {"slot", "main"},
                {"sequence", get_int(request, "sequence")},
                {"digest", plan_digest},
                {"outcome", outcome},
                {"measured", {{"latencyUs", {{"p50", 100}, {"p95", 200.5}}}}}};
    if (outcome == "rolledBack") {
      result["failure"] = artifacts::encode(artifacts::make_failure(
          "LatencyExceeded", "health", "tango-infer", "p95 is 200 us, 1 us is allowed"));
    }
    if (outcome == "deferred") result["retryAfterMs"] = 5000;
    outbox = Json::array({result});
    peer.send(FrameType::kEvent, id, R"({"event":"progress","phase":"selftest","percent":50})");
    if (lose_activate_reply) {
      lose_activate_reply = false;
      return false;
    }
    peer.reply(id, Json{{"result", result}});
    return true;
  }

  artifacts::SigningKey key_;
  std::optional<artifacts::TrustStore> trust_;
  std::mutex mutex_;
  std::vector<std::thread> threads_;
};

}  // namespace tango::fleet::testing

#include "lib/fleet/deploy.h"

#include <algorithm>

#include "lib/base/backoff.h"
#include "lib/base/digest.h"
#include "lib/base/random.h"

namespace tango::fleet {
namespace {

using artifacts::SignedDocument;

constexpr Nanos kBusyPatience = Seconds{15};
constexpr Nanos kBusyStep = Millis{250};

struct PlanParts {
  Json sizes = Json::object();
  std::string body;
  void add(const char* name, std::string_view bytes) {
    sizes[name] = bytes.size();
    body.append(bytes);
  }
};

Result<SignedDocument> make_assignment(const DeployRequest& r, const HelloReply& device,
                                       const std::string& config, TimePoint now) {
  artifacts::Assignment a;
  a.device_id = device.device_id;
  a.slot = r.slot;
  a.arch = device.arch;
  a.bundle = r.bundle->digest();
  a.release = r.release;
  a.sequence = r.sequence;
  a.issued_at = now;
  a.expires = now + r.validity;
  a.fleet_epoch = r.fleet_epoch;
  a.deployment_uid = r.deployment_uid;
  a.generation = r.generation;
  a.config_digest = sha256(config);
  a.retry_token = r.retry_token;
  TRY_ASSIGN(std::string bytes, artifacts::encode_assignment(a));
  std::string envelope = artifacts::encode_envelope(
      artifacts::sign_document(bytes, artifacts::kAssignmentType, *r.assignment_key));
  return SignedDocument{std::move(bytes), std::move(envelope)};
}

void apply(DeployReport& report, const ActivationResult& r) {
  report.outcome = r.outcome;
  report.failure = r.failure;
  report.reason = r.reason;
  report.retry_after = r.retry_after;
  report.measured = r.measured;
  report.downtime = r.downtime;
}

// A result that waits in the outbox since an earlier connection broke; deferrals are tried again.
const ActivationResult* finished_before(const HelloReply& hello, const DeployRequest& r,
                                        const std::string& digest) {
  for (const ActivationResult& a : hello.outbox) {
    if (a.slot == r.slot && a.sequence == r.sequence && a.digest == digest &&
        a.outcome != "deferred") {
      return &a;
    }
  }
  return nullptr;
}

Result<Json> send_plan(AgentSession& agent, const DeployRequest& r, const std::stop_token& stop) {
  Clock& clock = r.clock != nullptr ? *r.clock : system_clock();
  TRY_ASSIGN(std::string config, artifacts::encode_config(r.config));
  TRY_ASSIGN(SignedDocument assignment, make_assignment(r, agent.hello(), config, clock.now()));
  PlanParts parts;
  parts.add("index", r.bundle->index_bytes);
  parts.add("indexEnvelope", artifacts::encode_envelope(r.index_envelope));
  parts.add("assignment", assignment.document);
  parts.add("assignmentEnvelope", assignment.envelope);
  parts.add("chunkList", r.bundle->chunk_list_bytes);
  parts.add("config", config);
  CallOptions options;
  options.stop = stop;
  options.deadline = Seconds{120};
  options.body_size = parts.body.size();
  options.body = [&](std::uint64_t at, std::size_t n) -> Result<std::string> {
    return parts.body.substr(static_cast<std::size_t>(at), n);
  };
  TRY_ASSIGN(
      CallReply reply,
      agent.call("plan", Json{{"slot", r.slot}, {"sequence", r.sequence}, {"parts", parts.sizes}},
                 std::move(options)));
  return std::move(reply.json);
}

// A slot that recovers from a restart is busy for a moment; a trial takes longer and is the
// caller's to wait for.
Result<Json> plan_when_free(AgentSession& agent, const DeployRequest& r,
                            const std::stop_token& stop) {
  Clock& clock = r.clock != nullptr ? *r.clock : system_clock();
  Nanos until = clock.monotonic() + kBusyPatience;
  for (;;) {
    auto plan = send_plan(agent, r, stop);
    if (plan.ok() || plan.error().reason != artifacts::code::kBusy || stop.stop_requested() ||
        clock.monotonic() >= until) {
      return plan;
    }
    clock.sleep_for(kBusyStep);
  }
}

Status send_chunks(AgentSession& agent, const DeployRequest& r, const Json& plan,
                   DeployReport& report, const ProgressFn& progress, const std::stop_token& stop) {
  const auto& chunks = r.bundle->chunks.chunks;
  auto bitmap = from_base64(get_string(get(plan, "needed"), "bitmap"));
  auto needed = bitmap.ok() ? artifacts::ChunkBitmap::parse(*bitmap, chunks.size())
                            : Result<artifacts::ChunkBitmap>(bitmap.error());
  if (!needed.ok()) {
    return make_error(Code::kInternal, "ProtocolError",
                      "the agent's list of needed chunks is unreadable: " + needed.error().message);
  }
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    if (!needed->get(i)) continue;
    ++report.chunks_needed;
    report.bytes_needed += chunks[i].length;
  }
  std::size_t next = 0;
  std::uint64_t handed = 0;
  CallOptions options;
  options.stop = stop;
  options.deadline = Seconds{24 * 3600};  // silence and stop end it much earlier
  options.next_chunk = [&]() -> Result<std::optional<std::pair<std::uint32_t, std::string>>> {
    while (next < chunks.size() && !needed->get(next)) ++next;
    if (next == chunks.size()) return std::optional<std::pair<std::uint32_t, std::string>>();
    TRY_ASSIGN(std::string bytes, r.bundle->read_chunk(next));
    handed += bytes.size();
    if (progress) progress({"transfer", handed, report.bytes_needed, {}});
    return std::optional(std::pair(static_cast<std::uint32_t>(next++), std::move(bytes)));
  };
  options.on_credit = [&](const artifacts::Credit& credit) { report.bytes_sent = credit.received; };
  TRY(agent.call("transfer", Json{{"slot", r.slot}, {"sequence", r.sequence}}, std::move(options)));
  return ok_status();
}

}  // namespace

Result<DeployReport> deploy(AgentSession& agent, const DeployRequest& r, const ProgressFn& progress,
                            std::stop_token stop) {
  if (r.bundle == nullptr || r.assignment_key == nullptr || r.sequence == 0) {
    return make_error(Code::kInternal, "Internal",
                      "a deploy needs a bundle, an assignment key and a sequence");
  }
  const HelloReply& device = agent.hello();
  DeployReport report;
  report.sequence = r.sequence;
  report.digest = r.bundle->digest().to_string();
  report.chunks_total = r.bundle->chunks.chunks.size();
  if (const ActivationResult* done = finished_before(device, r, report.digest)) {
    apply(report, *done);
    if (!done->id.empty()) TRY(agent.acknowledge({done->id}));
    return report;
  }
  if (!device.arch.empty() && device.arch != r.bundle->index.target.arch) {
    return make_error(Code::kInvalid, "WrongArchitecture",
                      "the bundle is built for " + r.bundle->index.target.arch +
                          ", the device is " + device.arch);
  }
  // An activation that an earlier connection began goes on by itself: attach to it.
  const SlotState* slot = device.slot(r.slot);
  bool attach = slot != nullptr && slot->sequence == r.sequence &&
                (slot->state == "Trial" || slot->state == "RollingBack");
  if (!attach) {
    if (progress) progress({"plan", 0, 0, {}});
    TRY_ASSIGN(Json plan, plan_when_free(agent, r, stop));
    std::string state = get_string(plan, "state");
    if (state == "Current") {
      report.outcome = "current";
      return report;
    }
    if (state == "Needed") TRY(send_chunks(agent, r, plan, report, progress, stop));
  }

  CallOptions options;
  options.stop = stop;
  options.deadline = r.activation_deadline;
  options.on_event = [&](const Json& event) {
    if (!progress || get_string(event, "event") != "progress") return;
    auto percent =
        static_cast<std::uint64_t>(std::clamp<std::int64_t>(get_int(event, "percent"), 0, 100));
    progress({get_string(event, "phase"), percent, 100, get_string(event, "message")});
  };
  TRY_ASSIGN(
      CallReply reply,
      agent.call("activate", Json{{"slot", r.slot}, {"sequence", r.sequence}}, std::move(options)));
  TRY_ASSIGN(ActivationResult result, parse_activation(get(reply.json, "result")));
  apply(report, result);
  if (!result.id.empty()) TRY(agent.acknowledge({result.id}));
  return report;
}

Result<DeployReport> deploy_resuming(
    const std::function<Result<std::unique_ptr<AgentSession>>()>& open,
    const DeployRequest& request, const ResumeOptions& options, const ProgressFn& progress,
    std::stop_token stop) {
  Backoff backoff(BackoffOptions{options.initial_wait, 2.0, 1.0, options.max_wait},
                  system_random());
  Clock& clock = request.clock != nullptr ? *request.clock : system_clock();
  for (int connection = 1;; ++connection) {
    Error why;
    auto session = open();
    if (session.ok()) {
      auto report = deploy(**session, request, progress, stop);
      if (report.ok()) {
        return report;
      }
      why = report.error();
    } else {
      why = session.error();
    }
    bool broken = why.reason == artifacts::code::kConnectionLost ||
                  why.reason == artifacts::code::kUnreachable ||
                  why.reason == artifacts::code::kTimeout;
    if (!broken || connection >= options.max_connections || stop.stop_requested()) return why;
    clock.sleep_for(backoff.next());
  }
}

}  // namespace tango::fleet

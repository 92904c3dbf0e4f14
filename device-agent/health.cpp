#include "device-agent/health.h"

#include <algorithm>
#include <cmath>

namespace tango::agent {
namespace {

namespace code = artifacts::code;

std::uint32_t to_micros(double millis) {
  if (!(millis > 0)) return 0;
  return static_cast<std::uint32_t>(std::min(std::ceil(millis * 1000.0), 4e9));
}

// The end of a program's output, for a message of one line.
std::string tail_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  const std::size_t at = text.rfind('\n');
  if (at != std::string_view::npos) text.remove_prefix(at + 1);
  return std::string(text.substr(0, 200));
}

}  // namespace

Json to_json(const Measured& m) {
  Json out = Json::object();
  if (m.iterations > 0) {
    out["latencyUs"] = {{"p50", m.p50_us}, {"p95", m.p95_us}};
    out["iterations"] = m.iterations;
  }
  if (m.memory_bytes > 0) out["memoryBytes"] = m.memory_bytes;
  return out;
}

Result<Json> run_verb(const SupervisorOptions& options, const LaunchSpec& spec,
                      const std::string& verb, const std::vector<std::string>& more, Nanos timeout,
                      std::string_view reason) {
  ProcessOptions process;
  if (!options.agent_binary.empty()) process.argv = {options.agent_binary.string(), "run", "--"};
  process.argv.insert(process.argv.end(), {spec.argv.front(), verb, "--bundle", ".", "--json"});
  process.argv.insert(process.argv.end(), more.begin(), more.end());
  process.env = release_environment(spec);
  process.clear_env = true;
  process.cwd = spec.release_dir;
  process.new_session = true;
  process.die_with_parent = true;
  TRY_ASSIGN(const ProcessOutput output, run_process(process, timeout, {}, 1u << 20));
  const std::string what = spec.argv.front() + " " + verb;
  if (output.status.signalled) {
    return make_error(Code::kInternal, code::kCrashed,
                      what + " was ended by signal " + std::to_string(output.status.code - 128));
  }
  auto parsed = parse_json(output.out);
  if (!output.status.ok()) {
    std::string why =
        parsed.ok() ? get_string(*parsed, "message", get_string(*parsed, "reason")) : std::string{};
    if (why.empty()) why = tail_line(output.err.empty() ? output.out : output.err);
    return make_error(Code::kInvalid, reason,
                      what + " ended with exit code " + std::to_string(output.status.code) +
                          (why.empty() ? std::string{} : ": " + why));
  }
  if (!parsed.ok() || !parsed->is_object()) {
    return make_error(Code::kInvalid, code::kProtocolError, what + " printed no JSON object");
  }
  return parsed;
}

Status self_test(const SupervisorOptions& options, const LaunchSpec& spec,
                 const HealthLimits& limits) {
  TRY(run_verb(options, spec, "selftest", {}, limits.selftest_timeout, code::kKnownAnswerFailed));
  return ok_status();
}

Result<Measured> bench(const SupervisorOptions& options, const LaunchSpec& spec,
                       const HealthLimits& limits) {
  TRY_ASSIGN(const Json json,
             run_verb(options, spec, "bench", {}, limits.bench_timeout, code::kStartFailed));
  Measured m;
  m.p50_us = to_micros(get_double(json, "p50Ms"));
  m.p95_us = to_micros(get_double(json, "p95Ms"));
  m.iterations = static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(get_int(json, "iterations"), 0, 1'000'000'000));
  m.memory_bytes =
      static_cast<std::uint64_t>(std::max<std::int64_t>(get_int(json, "peakRssBytes"), 0));
  if (m.p95_us == 0) m.iterations = 0;
  return m;
}

Status check_limits(const artifacts::HealthGate& gate, const Measured& m) {
  if (gate.latency_us > 0 && (m.iterations == 0 || m.p95_us > gate.latency_us)) {
    return make_error(Code::kInvalid, code::kLatencyExceeded,
                      m.iterations == 0 ? "the latency could not be measured"
                                        : "p95 latency of " + std::to_string(m.p95_us) +
                                              " us is above the limit of " +
                                              std::to_string(gate.latency_us) + " us");
  }
  if (gate.memory_bytes > 0 && (m.memory_bytes == 0 || m.memory_bytes > gate.memory_bytes)) {
    return make_error(Code::kInvalid, code::kMemoryExceeded,
                      m.memory_bytes == 0 ? "the memory could not be measured"
                                          : "peak memory of " + std::to_string(m.memory_bytes) +
                                                " bytes is above the limit of " +
                                                std::to_string(gate.memory_bytes));
  }
  return ok_status();
}

}  // namespace tango::agent

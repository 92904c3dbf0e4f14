#include "operator/fleet_json.h"

#include <charconv>

namespace tango::op {
namespace {

constexpr std::size_t kMaxFlags = 256;
constexpr std::size_t kMaxList = 16;

void add_names(const Json& list, const char* key, std::size_t max_bytes, Json& out) {
  for (const Json& item : list) {
    if (out.size() >= kMaxList) return;
    const std::string name = item.is_string() ? item.get<std::string>() : get_string(item, key);
    if (!name.empty()) out.push_back(name.substr(0, max_bytes));
  }
}

}  // namespace

Json slot_json(const fleet::SlotState& slot) {
  Json out{{"name", slot.name},
           {"sequence", slot.sequence},
           {"current", slot.state == "Empty" ? std::string() : slot.release},
           {"previous", slot.previous_release},
           {"state", slot.state},
           {"healthy", slot.running && slot.ready}};
  if (const auto colon = slot.listen.rfind(':'); colon != std::string::npos) {
    out["address"] = slot.listen;
    int port = 0;
    const char* end = slot.listen.data() + slot.listen.size();
    std::from_chars(slot.listen.data() + colon + 1, end, port);
    if (port > 0) out["port"] = port;
  }
  if (slot.measured.latency_p50_us) out["latency"]["p50"] = *slot.measured.latency_p50_us / 1000.0;
  if (slot.measured.latency_p95_us) out["latency"]["p95"] = *slot.measured.latency_p95_us / 1000.0;
  if (slot.measured.memory_bytes) out["memoryBytes"] = *slot.measured.memory_bytes;
  return out;
}

Json slots_json(const std::vector<fleet::SlotState>& slots) {
  Json out = Json::array();
  for (const auto& s : slots) out.push_back(slot_json(s));
  return out;
}

Json agent_json(const fleet::HelloReply& hello) {
  Json features = Json::array();
  for (const auto& f : hello.features) features.push_back(f);
  return Json{{"version", hello.agent_version},
              {"protocol", hello.protocol},
              {"fleetEpoch", hello.fleet_epoch},
              {"bootId", hello.boot_id},
              {"mode", "User"},
              {"features", std::move(features)}};
}

Json identity_json(const fleet::HelloReply& hello) {
  return Json{{"deviceId", hello.device_id}, {"keyAlgorithm", "ed25519"}};
}

Json sandbox_json(const fleet::HelloReply& hello) {
  Json out = Json::array();
  for (const Json& part : hello.sandbox) {
    if (out.size() >= kMaxList) break;
    Json row{{"name", get_string(part, "part")}, {"state", get_string(part, "state")}};
    if (const std::string reason = get_string(part, "reason"); !reason.empty())
      row["reason"] = reason.substr(0, 256);
    out.push_back(std::move(row));
  }
  return out;
}

Json inventory_json(const Json& i) {
  Json out = Json::object();
  out["arch"] = get_string(i, "arch");
  const Json& os = get(i, "os");
  out["os"] = os.is_string() ? os.get<std::string>()
                             : get_string(os, "id") + " " + get_string(os, "version");
  out["kernel"] = get_string(os, "kernel");
  const Json& cpu = get(i, "cpu");
  out["cpus"] = get_int(cpu, "cores");
  out["cpuModel"] = get_string(cpu, "model").substr(0, 128);
  Json flags = Json::array();
  for (const Json& f : get(cpu, "flags")) {
    if (f.is_string() && f.get_ref<const std::string&>().size() <= 32 && flags.size() < kMaxFlags)
      flags.push_back(f);
  }
  out["cpuFlags"] = std::move(flags);
  out["memoryBytes"] = get_int(get(i, "memory"), "totalBytes");
  out["diskBytes"] = get_int(get(i, "disk"), "totalBytes");
  out["diskFreeBytes"] = get_int(get(i, "disk"), "freeBytes");
  Json accelerators = Json::array(), engines = Json::array();
  add_names(get(i, "accelerators"), "name", 128, accelerators);
  add_names(get(i, "engines"), "name", 64, engines);
  out["accelerators"] = std::move(accelerators);
  out["engines"] = std::move(engines);
  return out;
}

Json report_json(const fleet::DeployReport& r) {
  Json out{{"outcome", r.outcome}, {"sequence", r.sequence}, {"bytesSent", r.bytes_sent}};
  if (r.failure) {
    out["failure"] = Json{
        {"code", r.failure->code}, {"message", r.failure->message}, {"phase", r.failure->phase}};
  }
  if (!r.reason.empty()) out["reason"] = r.reason;
  if (r.retry_after > Nanos{0}) out["retryAfterMs"] = r.retry_after.count() / 1'000'000;
  return out;
}

}  // namespace tango::op

// A FakeCluster with a registry, a signer and devices that behave: what the tests of whole flows
// start from and then break one part of.
#pragma once

#include <map>
#include <string>

#include "lib/base/digest.h"
#include "tests/controllers/fake_cluster.h"

namespace tango::controllers {

inline std::string digest_of(std::string_view text) { return sha256(text).to_string(); }

struct FakeDevice {
  bool online = true;
  std::int64_t sequence = 0;
  std::string current, previous;
  std::string outcome = "committed";  // of the next deploy
  std::string failure = "LatencyExceeded";
  Error error;  // of a deploy, when its reason is set
};

class Pipeline : public FakeCluster {
 public:
  Pipeline() {
    answer = [this](const kube::Work& w) { return respond(w); };
    on_job = [this](const std::string& name) { new_job(name); };
  }

  std::map<std::string, Json> results;        // tag -> result
  std::map<std::string, int> exit_codes;      // stage -> exit code of its next Job
  std::map<std::string, FakeDevice> devices;  // by address
  bool registry_up = true;
  bool run_jobs = true;
  int jobs_run = 0;
  std::string said_reason = "DataBroken";

  void run_job(const std::string& name) {
    const Json stage =
        parse_json(object("ConfigMap", name)["data"]["stage.json"].get<std::string>()).value();
    const std::string type = stage["type"];
    std::string hash;
    for (const Json& e : object("Job", name)["spec"]["template"]["spec"]["containers"][0]["env"]) {
      if (e["name"] == "TANGO_INPUT_HASH") hash = e["value"];
    }
    ++jobs_run;
    const std::string key = stage["stage"];
    const int code = exit_codes.contains(key) ? exit_codes[key] : 0;
    exit_codes.erase(key);
    if (code == 0) results["result-" + hash] = result_of(type, hash);
    finish_job(name, code);
  }

 private:
  void new_job(const std::string& name) {
    if (run_jobs) run_job(name);
  }

  static Json result_of(const std::string& type, const std::string& hash) {
    Json outputs = Json::object(), metrics = Json::object();
    if (type == "Dataset") {
      outputs["dataset"] = digest_of("data");
      // As data::dataset_report() words it.
      const Json none{{"count", 0}, {"names", Json::array()}};
      const Json one{{"count", 1}, {"names", Json::array({"x.png"})}};
      const Json sides{{"min", 28}, {"p5", 28}, {"p50", 28}, {"p95", 28}, {"max", 28}};
      const Json a{{"class", "a"}, {"train", 4}, {"test", 1}};
      const Json b{{"class", "b"}, {"train", 4}, {"test", 1}};
      const Json train{
          {"images", 8}, {"labels", 8}, {"missing", none}, {"empty", none}, {"corrupt", one}};
      const Json test{
          {"images", 2}, {"labels", 2}, {"missing", none}, {"empty", none}, {"corrupt", none}};
      metrics = Json{{"format", "Idx"},
                     {"classes", Json::array({"a", "b"})},
                     {"classCount", 2},
                     {"images", 10},
                     {"digest", digest_of("data")},
                     {"reportDigest", digest_of("report")},
                     {"channels", {{"1", 10}}},
                     {"perClass", Json::array({a, b})},
                     {"splits", {{"train", train}, {"test", test}}},
                     {"size", {{"width", sides}, {"height", sides}}}};
    } else if (type == "Train" || type == "Distill") {
      outputs = Json{{"model", digest_of("trained" + hash)}, {"trainerState", digest_of("state")}};
      metrics = Json{{"top1", 0.8}, {"network", "resnet20"}, {"params", 272474}};
    } else if (type == "Evaluate") {
      outputs["report"] = digest_of("evaluation");
      metrics["top1"] = 0.91;
    } else if (type == "Export") {
      outputs["model"] = digest_of("model" + hash);
    } else if (type == "Build") {
      outputs["bundle"] = digest_of("bundle" + hash);
      metrics = Json{{"indexDigest", digest_of("index" + hash)}, {"bytes", 1234}};
    }
    return Json{{"outputs", outputs}, {"metrics", metrics}, {"warnings", Json::array()}};
  }

  static Error unreachable() {
    return make_error(Code::kUnavailable, "Unreachable", "no route to host");
  }

  Json slots_of(const FakeDevice& d) const {
    Json slot{{"name", "main"},
              {"sequence", d.sequence},
              {"current", d.current},
              {"previous", d.previous},
              {"state", d.current.empty() ? "Empty" : "Committed"},
              {"healthy", !d.current.empty()},
              {"port", 40000},
              {"address", "127.0.0.1:40000"},
              {"latency", {{"p50", 1.5}, {"p95", 2.5}}}};
    return Json::array({slot});
  }

  std::optional<Result<Json>> respond(const kube::Work& w) {
    const std::string op = get_string(w.input, "op");
    if (w.executor == "registry") {
      if (!registry_up)
        return make_error(Code::kUnavailable, "RegistryUnavailable", "connection refused");
      if (op == "exists") return Json{{"found", true}, {"size", 99}};
      auto it = results.find(get_string(w.input, "tag"));
      if (it == results.end()) return Json{{"found", false}};
      return Json{{"found", true}, {"digest", digest_of(it->first)}, {"result", it->second}};
    }
    if (w.executor == "signer") {
      return Json{{"signatureDigest", digest_of("signature")},
                  {"keyIds", {"key1"}},
                  {"indexDigest", digest_of("index")},
                  {"bytes", 1234}};
    }
    if (w.executor == "runs")
      return Json{{"reason", said_reason}, {"message", "the program said so"}};
    return ssh(w, op);
  }

  std::optional<Result<Json>> ssh(const kube::Work& w, const std::string& op) {
    FakeDevice& d = devices[get_string(w.input, "address")];
    if (!d.online) return unreachable();
    if (op == "hostKey")
      return Json{{"fingerprint", "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
                  {"type", "ssh"}};
    if (op == "provision") {
      return Json{{"agent", {{"version", "0.1.0"}, {"protocol", 1}}},
                  {"identity", {{"deviceId", "id-" + get_string(w.input, "address")}}},
                  {"inventory", {{"arch", "amd64"}, {"cpus", 2}}},
                  {"operatorKey", "ssh-ed25519 AAAA"},
                  {"slots", slots_of(d)}};
    }
    if (op == "probe") return Json{{"slots", slots_of(d)}};
    if (op == "remove") {
      d.current.clear();
      return Json::object();
    }
    if (op == "deploy") {
      if (!d.error.reason.empty()) return d.error;
      const std::int64_t sequence = get_int(w.input, "sequence");
      if (sequence <= d.sequence) return Json{{"outcome", "stale"}, {"slots", slots_of(d)}};
      d.sequence = sequence;
      const std::string outcome = d.outcome;
      d.outcome = "committed";
      if (outcome == "committed") {
        d.previous = d.current;
        d.current = get_string(w.input, "bundle");
        return Json{{"outcome", outcome}, {"slots", slots_of(d)}};
      }
      if (outcome == "rolledBack") {
        return Json{{"outcome", outcome},
                    {"failure", {{"code", d.failure}, {"message", "p95 2.5 ms is above 1 us"}}},
                    {"slots", slots_of(d)}};
      }
      return Json{{"outcome", "deferred"},
                  {"reason", "Busy"},
                  {"retryAfterMs", 5000},
                  {"slots", slots_of(d)}};
    }
    return make_error(Code::kUnsupported, "Unsupported", op);
  }
};

inline constexpr std::string_view kDataset = R"(
apiVersion: ml-tango.io/v1alpha1
kind: Dataset
metadata: {name: fashion}
spec: {source: {hostPath: {path: /data}}, format: Idx}
)";
inline constexpr std::string_view kProfile = R"(
apiVersion: ml-tango.io/v1alpha1
kind: TargetProfile
metadata: {name: linux-x86}
spec: {arch: amd64, os: Linux, delivery: Bundle, engines: [{name: OpenCV, formats: [ONNX], precisions: [FP32]}]}
)";
inline constexpr std::string_view kProject = R"(
apiVersion: ml-tango.io/v1alpha1
kind: TangoProject
metadata: {name: fashion}
spec:
  task: Classification
  datasetRef: {name: fashion}
  baseModel: {name: resnet20}
  train: {epochs: 3}
  targets:
  - name: edge
    profileRef: {name: linux-x86}
    deviceSelector: {matchLabels: {site: demo}}
    rollout: {strategy: {phases: [{name: canary, count: 1}, {name: rest, percent: 100}]}}
)";
inline std::string device_yaml(const std::string& name, const std::string& address) {
  return "---\napiVersion: ml-tango.io/v1alpha1\nkind: Device\nmetadata: {name: " + name +
         ", labels: {site: demo}}\nspec:\n  profileRef: {name: linux-x86}\n  connection: "
         "{address: " +
         address +
         "}\n  hostKey: {fingerprints: [\"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"]}\n"
         "  bootstrap: {credentialsRef: {name: boot}}\n  provision: {mode: User}\n";
}

}  // namespace tango::controllers

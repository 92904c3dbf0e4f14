#include "crds/rules.h"

#include <set>

#include "lib/base/digest.h"

namespace tango::crds {

void Rules::duration(const std::string& path, const std::string& text) {
  if (!text.empty() && !parse_duration(text).ok()) {
    invalid(path, text, "is not a duration", "write 30s, 15ms or 1h30m");
  }
}

void Rules::positive_duration(const std::string& path, const std::string& text) {
  if (text.empty()) return;
  auto d = parse_duration(text);
  if (!d.ok()) {
    invalid(path, text, "is not a duration", "write 30s, 15ms or 1h30m");
  } else if (*d <= Nanos{0}) {
    invalid(path, text, "must be longer than zero");
  }
}

void Rules::quantity(const std::string& path, const std::string& text) {
  if (text.empty()) return;
  auto q = kube::parse_quantity_milli(text);
  if (!q.ok()) {
    // Large memories overflow milli-units but are fine as whole units.
    auto whole = kube::parse_quantity(text);
    if (!whole.ok()) invalid(path, text, "is not a quantity", "write 300Mi, 1.5 or 500m");
    return;
  }
  if (*q < 0) invalid(path, text, "must not be negative");
}

void Rules::digest(const std::string& path, const std::string& text) {
  if (!text.empty() && !Digest::parse(text).ok()) {
    invalid(path, text, "is not a digest", "write sha256: and 64 lower-case hexadecimal digits");
  }
}

void Rules::selector(const std::string& path, const kube::LabelSelector& s) {
  if (!s.all && s.match_labels.empty() && s.match_expressions.empty()) {
    missing(path, "needs at least one term",
            "add matchLabels or matchExpressions, or write all: true to choose everything");
  }
  if (s.all && (!s.match_labels.empty() || !s.match_expressions.empty())) {
    invalid(path / "all", true, "contradicts the terms beside it", "leave out all, or the terms");
  }
  for (std::size_t i = 0; i < s.match_expressions.size(); ++i) {
    const auto& e = s.match_expressions[i];
    std::string where = item(path / "matchExpressions", i);
    bool lists = e.op == "In" || e.op == "NotIn";
    if (!lists && e.op != "Exists" && e.op != "DoesNotExist") {
      invalid(where / "operator", e.op, "must be one of In, NotIn, Exists, DoesNotExist");
    }
    if (lists && e.values.empty()) missing(where / "values", "is required for " + e.op);
    if (!lists && !e.values.empty()) {
      invalid(where / "values", e.values, "must be left out for " + e.op);
    }
  }
}

void Rules::exactly_one(const std::string& path,
                        std::initializer_list<std::pair<std::string_view, bool>> members) {
  std::string all;
  Json set = Json::array();
  for (const auto& [name, present] : members) {
    all += (all.empty() ? "" : ", ") + std::string(name);
    if (present) set.push_back(std::string(name));
  }
  if (set.size() == 1) return;
  if (set.empty()) return missing(path, "needs exactly one of " + all, "add one of them");
  invalid(path, set, "are set together; exactly one of " + all + " is allowed", "keep one of them");
}

void Rules::pod_template(const std::string& path, const PodTemplate& pod) {
  if (!pod.resources) return;
  for (const auto& [name, text] : pod.resources->limits) {
    quantity(path / "resources.limits" / name, text);
  }
  for (const auto& [name, text] : pod.resources->requests) {
    std::string where = path / "resources.requests" / name;
    quantity(where, text);
    auto limit = pod.resources->limits.find(name);
    if (limit == pod.resources->limits.end()) continue;
    auto want = kube::parse_quantity(text), most = kube::parse_quantity(limit->second);
    if (want.ok() && most.ok() && *want > *most) {
      invalid(where, text, "is more than the limit " + limit->second,
              "lower it or raise the limit");
    }
  }
}

void Rules::base_model(const std::string& path, const BaseModel& model) {
  if (!model.weights) return;
  const auto& w = *model.weights;
  exactly_one(path / "weights",
              {{"oci", !w.oci.empty()}, {"http", !w.http.empty()}, {"pvc", !w.pvc.empty()}});
  digest(path / "weights.sha256", w.sha256);
  unsupported(path / "weights", nullptr, "leave it out to train from random weights");
}

void Rules::train(const std::string& path, const TrainSettings& t) {
  for (const auto& [name, text, most] :
       {std::tuple<std::string_view, const std::string&, std::int64_t>{"epochs", t.epochs, 100'000},
        {"batchSize", t.batch_size, 65'536},
        {"imageSize", t.image_size, 16'384}}) {
    if (is_auto(text)) continue;
    std::int64_t n = auto_number(text, -1);
    if (n < 1 || n > most) {
      invalid(path / name, text, "must be Auto or a number from 1 to " + std::to_string(most));
    }
  }
}

void Rules::precision(const std::string& path, Precision p) {
  if (p == Precision::kFP16 || p == Precision::kINT8) {
    unsupported(path, std::string(to_string(p)), "use Auto or FP32");
  }
}

void Rules::engine(const std::string& path, const std::string& engine) {
  static const std::set<std::string, std::less<>> kKnown{
      "OpenCV", "ONNXRuntime", "TensorRT", "TFLite", "OpenVINO", "NCNN", "Native"};
  if (is_auto(engine) || engine == "OpenCV") return;
  if (kKnown.count(engine) != 0) return unsupported(path, engine, "use Auto or OpenCV");
  invalid(path, engine, "is not a known engine",
          "use Auto, OpenCV, ONNXRuntime, TensorRT, TFLite, OpenVINO, NCNN or Native");
}

void Rules::export_settings(const std::string& path, const ExportSettings& settings) {
  precision(path / "precision", settings.precision);
  for (std::size_t i = 0; i < settings.engines.size(); ++i) {
    engine(item(path / "engines", i), settings.engines[i]);
  }
}

void Rules::io(const std::string& path, const Io& io) {
  if (io.input && (io.input->camera || !io.input->folder.empty() || !io.input->url.empty())) {
    unsupported(path / "input", encode(*io.input), "images come in over HTTP");
  }
  if (!io.output) return;
  if (!io.output->folder.empty()) {
    unsupported(path / "output.folder", io.output->folder, "answers go out over HTTP");
  }
  if (io.output->display) {
    unsupported(path / "output.display", *io.output->display, "answers go out over HTTP");
  }
}

void Rules::health_gate(const std::string& path, const HealthGate& gate) {
  positive_duration(path / "latency", gate.latency);
  quantity(path / "memory", gate.memory);
  duration(path / "warmup", gate.warmup);
  duration(path / "soak", gate.soak);
}

void Rules::strategy(const std::string& path, const RolloutStrategy& s) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < s.phases.size(); ++i) {
    const auto& phase = s.phases[i];
    std::string where = item(path / "phases", i);
    if (phase.count && phase.percent) {
      invalid(where, Json::array({"count", "percent"}), "are set together; a phase has one of them",
              "keep one of them");
    }
    if (phase.selector) selector(where / "selector", *phase.selector);
    if (!phase.name.empty() && !names.insert(phase.name).second) {
      invalid(where / "name", phase.name, "names two phases", "give each its own");
    }
    if (phase.approval == RolloutPhaseApproval::kManual && phase.name.empty()) {
      missing(where / "name", "is required for a phase with approval Manual",
              "approvals name the phase");
    }
  }
  positive_duration(path / "progressDeadline", s.progress_deadline);
  duration(path / "pauseBetween", s.pause_between);
}

void Rules::trust(const std::string& path, const Trust& t) {
  std::set<std::string> unique(t.key_ids.begin(), t.key_ids.end());
  if (unique.size() != t.key_ids.size()) {
    invalid(path / "keyIds", t.key_ids, "names a key twice; one key counts once");
  }
  if (!unique.empty() && static_cast<std::size_t>(t.threshold) > unique.size()) {
    invalid(path / "threshold", t.threshold, "is more than the number of keys",
            "lower it or add keys");
  }
}

void Rules::overrides(const std::string& path, const std::vector<std::string>& set) {
  for (std::size_t i = 0; i < set.size(); ++i) {
    std::size_t eq = set[i].find('=');
    if (eq == std::string::npos || eq == 0) {
      invalid(item(path, i), set[i], "is not an override", "write stage.key=value");
    }
  }
}

}  // namespace tango::crds

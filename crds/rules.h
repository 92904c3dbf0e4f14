// What the rules of validate() are written with: a list of violations and the checks that several
// kinds share. Included by the validate_*.cpp files only.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "crds/validate.h"

namespace tango::crds {

inline std::string operator/(const std::string& path, std::string_view field) {
  return path.empty() ? std::string(field) : path + "." + std::string(field);
}
inline std::string item(const std::string& path, std::size_t index) {
  return path + "[" + std::to_string(index) + "]";
}

struct Rules {
  std::vector<Violation> found;

  void invalid(std::string path, Json value, std::string rule, std::string remedy = {}) {
    found.push_back(
        {std::move(path), std::move(value), std::move(rule), std::move(remedy), "Invalid"});
  }
  void missing(std::string path, std::string rule, std::string remedy = {}) {
    found.push_back({std::move(path), nullptr, std::move(rule), std::move(remedy), "Missing"});
  }
  // Valid, but not implemented by this version: never ignored, never pretended.
  void unsupported(std::string path, Json value, std::string remedy = {}) {
    found.push_back({std::move(path), std::move(value),
                     "is valid but not supported by this version", std::move(remedy),
                     "Unsupported"});
  }

  void duration(const std::string& path, const std::string& text);  // empty: absent
  void positive_duration(const std::string& path, const std::string& text);
  void quantity(const std::string& path, const std::string& text);
  void digest(const std::string& path, const std::string& text);
  void selector(const std::string& path, const kube::LabelSelector& selector);
  // Exactly one of the named members is set.
  void exactly_one(const std::string& path,
                   std::initializer_list<std::pair<std::string_view, bool>> members);

  void pod_template(const std::string& path, const PodTemplate& pod);
  void base_model(const std::string& path, const BaseModel& model);
  void train(const std::string& path, const TrainSettings& train);
  void export_settings(const std::string& path, const ExportSettings& settings);
  void precision(const std::string& path, Precision precision);
  void engine(const std::string& path, const std::string& engine);
  void io(const std::string& path, const Io& io);
  void health_gate(const std::string& path, const HealthGate& gate);
  void strategy(const std::string& path, const RolloutStrategy& strategy);
  void trust(const std::string& path, const Trust& trust);
  void overrides(const std::string& path, const std::vector<std::string>& set);
};

}  // namespace tango::crds

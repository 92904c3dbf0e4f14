// Every kind, with objects made at random from its schema: what the schema accepts, the typed
// reader reads, the encoder writes, and both readings are equal.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "crds/crds.h"
#include "crds/types.h"
#include "crds/validate.h"

namespace tango::crds {
namespace {

// Texts for the patterns that the schemas use; a pattern that is not here fails the test.
std::string text_for(const std::string& pattern, std::uint32_t pick) {
  static const std::vector<std::pair<std::string, std::vector<std::string>>> kTexts{
      {"^sha256:", {"sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"}},
      {"(ns|us|ms|s|m|h)", {"30s", "15ms", "1h30m", "0s", "1.5h"}},
      {"numkMGTPE", {"300Mi", "1.5", "500m", "7", "1e3"}},
      {"^(Auto|[1-9]", {"Auto", "1", "640"}},
      {"^(Auto|[0-9]+([.]", {"Auto", "0.1", "1e-3"}},
      {"^-?[0-9]+", {"1e-5", "-3", "0.25"}},
      {"SHA256:", {"SHA256:2Zlm3mY8mGvLhqkOqIYKyzcCLKjVHPdPZcXUcBs9aHw"}},
      {"^(Default|/", {"Default", "/a/b"}},
      {"[.][a-zA-Z]", {"train.model"}},
      {"^[A-Za-z]([A-Za-z0-9_,:]", {"Ready", "NotFound"}},
      {"^/", {"/data", "/"}},
      {"^[a-z", {"a", "edge-1"}},
      {"^[a-zA-Z_]", {"lr0"}},
  };
  for (const auto& [part, texts] : kTexts) {
    if (pattern.find(part) != std::string::npos) return texts[pick % texts.size()];
  }
  ADD_FAILURE() << "no text for pattern " << pattern;
  return {};
}

class Maker {
 public:
  explicit Maker(std::uint32_t seed) : state_(seed) {}

  Json make(const Json& s, int depth = 0) {
    if (get_bool(s, "x-kubernetes-preserve-unknown-fields")) {
      return coin() ? Json{{"free", {{"deep", Json::array({1, "x", nullptr, 1.5})}}}}
                    : Json{{"a", true}};
    }
    if (s.contains("enum")) return s["enum"][next() % s["enum"].size()];
    if (get_bool(s, "x-kubernetes-int-or-string")) {
      return coin() ? Json(1 + next() % 100) : Json(text_for(s["pattern"], next()));
    }
    std::string type = get_string(s, "type");
    if (type == "boolean") return coin();
    if (type == "number")
      return static_cast<double>(bounded(s)) +
             (coin() ? 0.0 : 0.5) * (s.contains("maximum") ? 0 : 1);
    if (type == "integer") return bounded(s);
    if (type == "string") {
      if (get_string(s, "format") == "date-time")
        return "2026-11-21T12:00:0" + std::to_string(next() % 10) + "Z";
      if (s.contains("pattern")) return text_for(s["pattern"], next());
      return coin() ? "x" : "가나다 \"quoted\"\n";
    }
    if (type == "array") {
      Json out = Json::array();
      std::size_t most = std::min<std::size_t>(get_int(s, "maxItems", 3), depth > 4 ? 1 : 3);
      std::size_t least = static_cast<std::size_t>(get_int(s, "minItems", 0));
      std::size_t n = std::max<std::size_t>(least, next() % (most + 1));
      if (s.contains("x-kubernetes-list-map-keys"))
        n = std::min<std::size_t>(n, 1);  // keys stay unique
      for (std::size_t i = 0; i < n; ++i) out.push_back(make(s["items"], depth + 1));
      return out;
    }
    Json out = Json::object();
    if (s.contains("additionalProperties")) {
      for (std::uint32_t i = next() % 3; i > 0; --i) {
        out["key-" + std::to_string(i) + ".io/x"] = make(s["additionalProperties"], depth + 1);
      }
      return out;
    }
    for (const auto& [key, child] : s["properties"].items()) {
      bool required = false;
      if (s.contains("required")) {
        for (const auto& r : s["required"]) required = required || r == key;
      }
      if (required || next() % 3 != 0) out[key] = make(child, depth + 1);
    }
    return out;
  }

 private:
  std::uint32_t next() {  // xorshift: the same object for the same seed everywhere
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    state_ ^= state_ << 5;
    return state_;
  }
  bool coin() { return next() % 2 == 0; }
  std::int64_t bounded(const Json& s) {
    std::int64_t low = s.contains("minimum") ? s["minimum"].get<std::int64_t>() : 0;
    std::int64_t high = s.contains("maximum") ? s["maximum"].get<std::int64_t>() : low + 1000;
    return low + static_cast<std::int64_t>(next()) % (high - low + 1);
  }
  std::uint32_t state_;
};

// Without what "absent" and "empty" mean alike, and with numbers as text (a number or Auto).
Json essence(const Json& value) {
  if (value.is_number_integer()) return value.dump();
  if (!value.is_structured()) return value;
  Json out = value.is_array() ? Json::array() : Json::object();
  for (const auto& [key, child] : value.items()) {
    Json kept = essence(child);
    if (value.is_array()) {
      out.push_back(std::move(kept));
    } else if (kept != "" && kept != "0" && kept != false &&
               !(kept.is_structured() && kept.empty())) {
      out[key] = std::move(kept);
    }
  }
  return out;
}

template <typename T>
void round_trip(std::uint32_t seed) {
  const std::string kind(T::kKind.kind);
  Json object = Maker(seed | 1).make(schema_of(kind));
  object["apiVersion"] = "ml-tango.io/v1alpha1";
  object["kind"] = kind;
  object["metadata"] = {{"name", "x"}, {"namespace", "y"}};
  auto errors = structural_errors(kind, object, true);
  RC_ASSERT(errors.empty());
  auto first = kube::Codec<T>::parse(dump_json(object));
  RC_ASSERT(first.ok());
  Json written = kube::Codec<T>::encode(*first);
  RC_ASSERT(structural_errors(kind, written, true).empty());
  auto second = kube::Codec<T>::parse(dump_json(written));
  RC_ASSERT(second.ok());
  RC_ASSERT(kube::Codec<T>::encode(*second) == written);
  RC_ASSERT(second->spec == first->spec);
  // Nothing is lost and nothing is added but the schema's defaults.
  Json defaulted = *apply_defaults(kind, object);
  Json written_defaulted = *apply_defaults(kind, written);
  for (const char* part : {"spec", "status"}) {
    Json lost = Json::diff(essence(written_defaulted.value(part, Json::object())),
                           essence(defaulted.value(part, Json::object())));
    RC_LOG() << dump_json(lost);
    RC_ASSERT(lost.empty());
  }
  auto from_defaulted = kube::Codec<T>::parse(dump_json(defaulted));
  RC_ASSERT(from_defaulted.ok());
  RC_ASSERT(from_defaulted->spec == first->spec);
  static_cast<void>(validate(*first));  // no input that fits the schema may break a rule's code
}

RC_GTEST_PROP(RandomObjects, TangoProject, (std::uint32_t seed)) { round_trip<TangoProject>(seed); }
RC_GTEST_PROP(RandomObjects, Dataset, (std::uint32_t seed)) { round_trip<Dataset>(seed); }
RC_GTEST_PROP(RandomObjects, TargetProfile, (std::uint32_t seed)) {
  round_trip<TargetProfile>(seed);
}
RC_GTEST_PROP(RandomObjects, Device, (std::uint32_t seed)) { round_trip<Device>(seed); }
RC_GTEST_PROP(RandomObjects, SearchJob, (std::uint32_t seed)) { round_trip<SearchJob>(seed); }
RC_GTEST_PROP(RandomObjects, Trial, (std::uint32_t seed)) { round_trip<Trial>(seed); }
RC_GTEST_PROP(RandomObjects, TrainJob, (std::uint32_t seed)) { round_trip<TrainJob>(seed); }
RC_GTEST_PROP(RandomObjects, Model, (std::uint32_t seed)) { round_trip<Model>(seed); }
RC_GTEST_PROP(RandomObjects, ImageBuild, (std::uint32_t seed)) { round_trip<ImageBuild>(seed); }
RC_GTEST_PROP(RandomObjects, Deployment, (std::uint32_t seed)) {
  round_trip<TangoDeployment>(seed);
}

}  // namespace
}  // namespace tango::crds

// A kind and its controller for tests: a Widget keeps spec.size ConfigMaps, one more that is never
// changed, and asks an executor to polish it. Small, but it uses every member of Outcome.
#pragma once

#include <map>
#include <string>

#include "lib/kube-types/core.h"
#include "lib/kube-types/outcome.h"
#include "lib/kube/manager.h"

namespace tango::kube {

struct Widget {
  static constexpr KindInfo kKind{"test.ml-tango.io", "v1", "Widget", "widgets", true};
  ObjectMeta metadata;
  std::int64_t size = 0;
  Json status;
};

template <>
struct Codec<Widget> {
  static Result<Widget> parse(std::string_view text) {
    TRY_ASSIGN(const Json json, parse_json(text));
    Widget w;
    w.metadata = parse_object_meta(get(json, "metadata"));
    w.size = get_int(get(json, "spec"), "size");
    w.status = get(json, "status");
    return w;
  }
};

namespace test {

inline constexpr const char* kFinalizer = "test.ml-tango.io/polish";

inline Json child(const Widget& self, const std::string& name, const std::string& value) {
  const OwnerReference owner = owner_of(Widget::kKind, self.metadata);
  return {{"apiVersion", "v1"},
          {"kind", "ConfigMap"},
          {"metadata",
           {{"name", name},
            {"namespace", self.metadata.ns},
            {"labels", {{"widget", self.metadata.name}}},
            {"ownerReferences",
             {{{"apiVersion", owner.api_version},
               {"kind", owner.kind},
               {"name", owner.name},
               {"uid", owner.uid},
               {"controller", true}}}}}},
          {"data", {{"value", value}}}};
}

inline std::string polish_key(const Widget& self) {
  return "polish/" + self.metadata.uid + "/" + std::to_string(self.size);
}

inline Outcome reconcile_widget(const Widget& self, const Observed& world, TimePoint) {
  Outcome out;
  if (self.metadata.deleting()) {
    out.finalizer = Finalizer::kRelease;
    return out;
  }
  const std::string prefix = self.metadata.name + "-";
  std::int64_t ready = 0;
  for (const ConfigMap* map : world.owned<ConfigMap>(self.metadata.uid)) {
    const std::string suffix = map->metadata.name.substr(prefix.size());
    if (suffix == "once") continue;
    if (std::stoll(suffix) < self.size) {
      ++ready;
    } else if (!map->metadata.deleting()) {
      out.remove.push_back({ConfigMap::kKind, map->metadata.ns, map->metadata.name,
                            map->metadata.uid, map->metadata.resource_version});
    }
  }
  for (std::int64_t i = 0; i < self.size; ++i) {
    out.apply.push_back(
        child(self, prefix + std::to_string(i), "size " + std::to_string(self.size)));
  }
  out.create_once.push_back(child(self, prefix + "once", "fixed"));
  // A failed try is followed by another one under a new key.
  std::string key = polish_key(self);
  const WorkState* polish = world.work(key);
  for (int attempt = 1; polish && polish->phase == WorkState::Phase::kFailed; ++attempt) {
    key = polish_key(self) + "#" + std::to_string(attempt);
    polish = world.work(key);
  }
  out.work.push_back({"polisher", key, {{"name", self.metadata.name}}, Seconds{60}});
  const bool shiny = polish && polish->phase == WorkState::Phase::kSucceeded;
  const bool all = ready == self.size && shiny;
  out.status = Json{{"ready", ready},
                    {"shiny", shiny},
                    {"conditions",
                     {{{"type", "Ready"},
                       {"status", all ? "True" : "False"},
                       {"reason", all ? "AllThere" : "Waiting"},
                       {"message", ""},
                       {"observedGeneration", self.metadata.generation}}}}};
  return out;
}

inline ControllerSpec widget_controller() {
  return controller<Widget>("widget", reconcile_widget)
      .finalizer(kFinalizer)
      .owns<ConfigMap>()
      .build();
}

inline Json widget(const std::string& ns, const std::string& name, std::int64_t size) {
  return {{"apiVersion", "test.ml-tango.io/v1"},
          {"kind", "Widget"},
          {"metadata", {{"name", name}, {"namespace", ns}}},
          {"spec", {{"size", size}}}};
}

}  // namespace test
}  // namespace tango::kube

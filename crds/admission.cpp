// validate_object: what an admission check does with an object of any of our kinds.
#include <algorithm>

#include "crds/validate.h"

namespace tango::crds {
namespace {

template <typename T>
std::vector<Violation> typed(const Json& object) {
  auto parsed = kube::Codec<T>::parse(dump_json(object));
  if (!parsed.ok()) return {{"", nullptr, parsed.error().message, "", "Invalid"}};
  return validate(*parsed);
}

std::vector<Violation> by_kind(std::string_view kind, const Json& object) {
  if (kind == "TangoProject") return typed<TangoProject>(object);
  if (kind == "Dataset") return typed<Dataset>(object);
  if (kind == "TargetProfile") return typed<TargetProfile>(object);
  if (kind == "Device") return typed<Device>(object);
  if (kind == "SearchJob") return typed<SearchJob>(object);
  if (kind == "Trial") return typed<Trial>(object);
  if (kind == "TrainJob") return typed<TrainJob>(object);
  if (kind == "Model") return typed<Model>(object);
  if (kind == "ImageBuild") return typed<ImageBuild>(object);
  if (kind == "Deployment") return typed<TangoDeployment>(object);
  return {};
}

void check_update(std::string_view kind, const Json& object, const Json& old,
                  std::vector<Violation>& out) {
  if (kind == "Model" || kind == "Trial") {
    // Compare with defaults filled in: an old object may have been stored before a field had one.
    auto before = apply_defaults(kind, old);
    if (before.ok() && get(object, "spec") != get(*before, "spec")) {
      out.push_back({"spec", nullptr, "of a " + std::string(kind) + " is immutable",
                     "create a new object", "Invalid"});
    }
  }
  if (kind == "TangoProject") {
    std::int64_t now = get_int(get(object, "spec"), "version", 1);
    std::int64_t then = get_int(get(old, "spec"), "version", 1);
    if (now < then) {
      out.push_back({"spec.version", now,
                     "is below " + std::to_string(then) + "; it is never lowered",
                     "raise it for the next iteration", "Invalid"});
    }
  }
}

}  // namespace

std::vector<Violation> validate_object(const Json& object, const Json& old) {
  std::string kind = get_string(object, "kind");
  auto defaulted = apply_defaults(kind, object);
  if (!defaulted.ok()) return {{"kind", kind, "is no kind of ml-tango.io/v1alpha1", "", "Invalid"}};
  std::vector<Violation> out = structural_errors(kind, *defaulted);
  if (!out.empty()) return out;  // rules on top of a wrong structure only repeat it
  out = by_kind(kind, *defaulted);
  if (old.is_object()) check_update(kind, *defaulted, old, out);
  return out;
}

bool only_unsupported(const std::vector<Violation>& violations) {
  return std::all_of(violations.begin(), violations.end(),
                     [](const Violation& v) { return v.reason == "Unsupported"; });
}

std::string summary(const std::vector<Violation>& violations) {
  constexpr std::size_t kMaxShown = 8, kMaxText = 2048;
  std::string out;
  for (std::size_t i = 0; i < violations.size(); ++i) {
    if (i == kMaxShown || out.size() > kMaxText) {
      out += "; and " + std::to_string(violations.size() - i) + " more";
      break;
    }
    out += (i == 0 ? "" : "; ") + violations[i].to_string();
  }
  return out;
}

}  // namespace tango::crds

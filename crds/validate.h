// The rules that a schema cannot say, one pure function per kind: used by the webhook, the embedded
// server's admission, tangoctl, and reconcilers (Accepted=False when admission was absent).
#pragma once

#include <string>
#include <vector>

#include "crds/crds.h"
#include "crds/types.h"

namespace tango::crds {

// Empty: the object may be accepted. Reason "Unsupported" marks valid input that this version does
// not implement; everything else is "Invalid".
std::vector<Violation> validate(const TangoProject& object);
std::vector<Violation> validate(const Dataset& object);
std::vector<Violation> validate(const TargetProfile& object);
std::vector<Violation> validate(const Device& object);
std::vector<Violation> validate(const SearchJob& object);
std::vector<Violation> validate(const Trial& object);
std::vector<Violation> validate(const TrainJob& object);
std::vector<Violation> validate(const Model& object);
std::vector<Violation> validate(const ImageBuild& object);
std::vector<Violation> validate(const TangoDeployment& object);
// A recipe on its own (catalogue file, ConfigMap); `path` is put before every path.
std::vector<Violation> validate(const Recipe& recipe, const std::string& path = "spec.recipe");

// Any object of ours, as an admission check sees it: structure first (after defaulting), then the
// rules of its kind, then what must not change (`old` is null on create). What a server should
// refuse are all violations but those with reason "Unsupported": these are accepted and reported by
// the controller.
std::vector<Violation> validate_object(const Json& object, const Json& old = nullptr);

bool only_unsupported(const std::vector<Violation>& violations);
// "spec.a: ...; spec.b: ..." for a condition message, bounded.
std::string summary(const std::vector<Violation>& violations);

}  // namespace tango::crds

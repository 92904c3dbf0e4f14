#include "controllers/model/model.h"

#include "controllers/common/conditions.h"
#include "controllers/common/status.h"
#include "controllers/common/work.h"
#include "crds/image_build.h"
#include "crds/model.h"
#include "crds/tango_project.h"
#include "crds/train_job.h"

namespace tango::controllers {
namespace {

constexpr std::size_t kMaxUsers = 32;

crds::ObjectRef ref(const kube::KindInfo& kind, const kube::ObjectMeta& meta) {
  crds::ObjectRef r;
  r.kind = kind.kind;
  r.name = meta.name;
  r.uid = meta.uid;
  return r;
}

// Live objects that name the Model; those that are being deleted do not keep it.
std::vector<crds::ObjectRef> users_of(const crds::Model& model, const kube::Observed& world) {
  std::vector<crds::ObjectRef> users;
  const std::string& ns = model.metadata.ns;
  const std::string& name = model.metadata.name;
  for (const auto* p : world.list<crds::TangoProject>(ns)) {
    if (!p->metadata.deleting() && p->status.model && p->status.model->name == name) {
      users.push_back(ref(crds::TangoProject::kKind, p->metadata));
    }
  }
  for (const auto* b : world.list<crds::ImageBuild>(ns)) {
    if (!b->metadata.deleting() && b->spec.model_ref.name == name) {
      users.push_back(ref(crds::ImageBuild::kKind, b->metadata));
    }
  }
  for (const auto* t : world.list<crds::TrainJob>(ns)) {
    const bool reads = (t->spec.from_model_ref && t->spec.from_model_ref->name == name) ||
                       (t->spec.teacher_ref && t->spec.teacher_ref->name == name);
    if (!t->metadata.deleting() && reads && !kube::is_true(t->status.conditions, "Succeeded")) {
      users.push_back(ref(crds::TrainJob::kKind, t->metadata));
    }
  }
  if (users.size() > kMaxUsers) users.resize(kMaxUsers);
  return users;
}

}  // namespace

kube::Outcome reconcile_model(const crds::Model& self, const kube::Observed& world, TimePoint now,
                              const Settings&) {
  kube::Outcome out;
  auto status = self.status;
  status.observed_generation = self.metadata.generation;
  Conditions conditions(status.conditions, self.metadata.generation, now);
  status.in_use_by = users_of(self, world);
  if (self.metadata.deleting()) {
    if (status.in_use_by.empty()) {
      out.finalizer = kube::Finalizer::kRelease;
      return out;
    }
    conditions.no("Ready", "InUse",
                  status.in_use_by.front().kind + " " + status.in_use_by.front().name +
                      " still uses the Model; it is deleted after that");
    out.status = kube::to_value(status);
    return out;
  }
  if (auto valid = check_object(self); !valid.ok()) {
    conditions.no("Accepted", valid.error().reason, valid.error().message);
    conditions.no("Ready", valid.error().reason, valid.error().message);
    out.status = kube::to_value(status);
    return out;
  }
  conditions.yes("Accepted", "Valid");
  // The spec is immutable: an artifact that was there once is not asked for again.
  if (!kube::is_true(self.status.conditions, "Ready")) {
    const WorkView found = pursue(
        out, world,
        {"registry", "exists/" + self.spec.repository + "@" + self.spec.digest,
         Json{{"op", "exists"}, {"repository", self.spec.repository}, {"digest", self.spec.digest}},
         kLookupDeadline},
        now);
    switch (found.phase) {
      case WorkView::Phase::kSucceeded:
        if (get_bool(found.output, "found")) {
          status.size = get_int(found.output, "size");
          conditions.yes("Ready", "Available", "the artifact is in the registry");
        } else {
          conditions.no(
              "Ready", "ArtifactMissing",
              "repository " + self.spec.repository + " has no artifact " + self.spec.digest);
        }
        break;
      case WorkView::Phase::kRunning:
        conditions.unknown("Ready", "Checking", "asking the registry for the artifact");
        break;
      default:
        conditions.unknown("Ready", found.error.reason, found.error.message);
    }
  }
  out.status = kube::to_value(status);
  return out;
}

}  // namespace tango::controllers

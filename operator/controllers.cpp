#include <set>

#include "controllers/dataset/dataset.h"
#include "controllers/deployment/deployment.h"
#include "controllers/deployment/slots.h"
#include "controllers/device/device.h"
#include "controllers/imagebuild/imagebuild.h"
#include "controllers/model/model.h"
#include "controllers/project/project.h"
#include "controllers/search/search.h"
#include "controllers/trainjob/trainjob.h"
#include "crds/types.h"
#include "lib/kube-types/core.h"
#include "operator/wiring.h"

namespace tango::op {
namespace {

using controllers::Settings;
using kube::Observed;
using Keys = std::vector<kube::ObjectKey>;

template <typename T>
using Reconcile = kube::Outcome (*)(const T&, const Observed&, TimePoint, const Settings&);

template <typename T>
kube::ControllerBuilder build(std::string name, Reconcile<T> reconcile, const Settings& settings) {
  return kube::controller<T>(
      std::move(name), [reconcile, settings](const T& self, const Observed& world, TimePoint now) {
        return reconcile(self, world, now, settings);
      });
}

// Every object of kind T in the namespace for which `uses` holds.
template <typename T, typename F>
Keys those(const Observed& world, const std::string& ns, F uses) {
  Keys out;
  for (const auto* o : world.list<T>(ns)) {
    if (uses(*o)) out.push_back({o->metadata.ns, o->metadata.name});
  }
  return out;
}

// A pod belongs to a Job, the Job to one of ours.
template <typename Owner>
Keys owner_of_job(const kube::Pod& pod, const Observed& world) {
  const auto* by = pod.metadata.controller_owner();
  if (by == nullptr || by->kind != "Job") return {};
  const auto* job = world.get<kube::Job>(pod.metadata.ns, by->name);
  if (job == nullptr) return {};
  const auto* owner = job->metadata.controller_owner();
  if (owner == nullptr || owner->kind != Owner::kKind.kind) return {};
  return {{pod.metadata.ns, owner->name}};
}

void add_learning(kube::Manager& manager, const Settings& settings) {
  using namespace crds;
  manager.add(build<Dataset>("dataset", controllers::reconcile_dataset, settings)
                  .owns<kube::Job>()
                  .watches<kube::Pod>(owner_of_job<Dataset>)
                  .build());
  manager.add(build<TrainJob>("trainjob", controllers::reconcile_trainjob, settings)
                  .owns<kube::Job>()
                  .watches<kube::Pod>(owner_of_job<TrainJob>)
                  .watches<Dataset>([](const Dataset& d, const Observed& w) {
                    return those<TrainJob>(w, d.metadata.ns, [&](const TrainJob& t) {
                      return t.spec.dataset_ref.name == d.metadata.name;
                    });
                  })
                  .watches<Model>([](const Model& m, const Observed& w) {
                    return those<TrainJob>(w, m.metadata.ns, [&](const TrainJob& t) {
                      return m.spec.lineage.train_job == t.metadata.name ||
                             (t.spec.teacher_ref && t.spec.teacher_ref->name == m.metadata.name);
                    });
                  })
                  .build());
  manager.add(build<SearchJob>("searchjob", controllers::reconcile_search_job, settings).build());
  manager.add(build<Trial>("trial", controllers::reconcile_trial, settings).build());
  manager.add(build<Model>("model", controllers::reconcile_model, settings)
                  .finalizer(std::string(controllers::kInUseFinalizer))
                  .watches<ImageBuild>([](const ImageBuild& b, const Observed&) {
                    return Keys{{b.metadata.ns, b.spec.model_ref.name}};
                  })
                  .watches<TangoProject>([](const TangoProject& p, const Observed&) {
                    return p.status.model ? Keys{{p.metadata.ns, p.status.model->name}} : Keys{};
                  })
                  .build());
  manager.add(build<ImageBuild>("imagebuild", controllers::reconcile_imagebuild, settings)
                  .owns<kube::Job>()
                  .watches<kube::Pod>(owner_of_job<ImageBuild>)
                  .watches<Model>([](const Model& m, const Observed& w) {
                    return those<ImageBuild>(w, m.metadata.ns, [&](const ImageBuild& b) {
                      return b.spec.model_ref.name == m.metadata.name;
                    });
                  })
                  .watches<TargetProfile>([](const TargetProfile& p, const Observed& w) {
                    return those<ImageBuild>(w, "", [&](const ImageBuild& b) {
                      return b.spec.profile_ref.name == p.metadata.name;
                    });
                  })
                  .build());
}

void add_projects(kube::Manager& manager, const Settings& settings) {
  using namespace crds;
  manager.add(build<TangoProject>("tangoproject", controllers::reconcile_project, settings)
                  .finalizer(std::string(controllers::kFinalizer))
                  .owns<TrainJob>()
                  .owns<ImageBuild>()
                  .owns<TangoDeployment>()
                  .watches<Dataset>([](const Dataset& d, const Observed& w) {
                    return those<TangoProject>(w, d.metadata.ns, [&](const TangoProject& p) {
                      return p.spec.dataset_ref.name == d.metadata.name;
                    });
                  })
                  .watches<TargetProfile>([](const TargetProfile& profile, const Observed& w) {
                    return those<TangoProject>(w, "", [&](const TangoProject& p) {
                      for (const auto& t : p.spec.targets) {
                        if (t.profile_ref.name == profile.metadata.name) return true;
                      }
                      return false;
                    });
                  })
                  .watches<Model>([](const Model& m, const Observed&) {
                    const std::string owner = m.metadata.label(controllers::kProjectLabel);
                    return owner.empty() ? Keys{} : Keys{{m.metadata.ns, owner}};
                  })
                  .build());
}

// Deployments that select the device, or that have something on it.
Keys deployments_of(const crds::Device& device, const Observed& world) {
  return those<crds::TangoDeployment>(world, device.metadata.ns,
                                      [&](const crds::TangoDeployment& d) {
                                        if (controllers::selects(d, device)) return true;
                                        for (const auto& slot : device.status.slots) {
                                          if (slot.deployment_uid == d.metadata.uid) return true;
                                        }
                                        return false;
                                      });
}
Keys devices_of(const crds::TangoDeployment& deployment, const Observed& world) {
  return those<crds::Device>(world, deployment.metadata.ns, [&](const crds::Device& d) {
    if (controllers::selects(deployment, d)) return true;
    for (const auto& slot : d.status.slots) {
      if (slot.deployment_uid == deployment.metadata.uid) return true;
    }
    return false;
  });
}

void add_fleet(kube::Manager& manager, const Settings& settings) {
  using namespace crds;
  manager.add(build<Device>("device", controllers::reconcile_device, settings)
                  .finalizer(std::string(controllers::kFinalizer))
                  .concurrency(2)
                  .watches<TangoDeployment>(devices_of)
                  .build());
  manager.add(
      build<TangoDeployment>("deployment", controllers::reconcile_deployment, settings)
          .finalizer(std::string(controllers::kFinalizer))
          .watches<Device>(deployments_of)
          .watches<ImageBuild>([](const ImageBuild& b, const Observed& w) {
            return those<TangoDeployment>(w, b.metadata.ns, [&](const TangoDeployment& d) {
              return d.spec.release.image_build_ref &&
                     d.spec.release.image_build_ref->name == b.metadata.name;
            });
          })
          // Another Deployment on the same devices may take or give back a slot.
          .watches<TangoDeployment>([](const TangoDeployment& changed, const Observed& w) {
            return those<TangoDeployment>(w, changed.metadata.ns, [&](const TangoDeployment& d) {
              return d.metadata.uid != changed.metadata.uid && d.spec.slot == changed.spec.slot;
            });
          })
          .build());
}

}  // namespace

void add_controllers(kube::Manager& manager, const Settings& settings) {
  add_projects(manager, settings);
  add_learning(manager, settings);
  add_fleet(manager, settings);
  manager.cache(kube::erased_kind<kube::ConfigMap>());
  manager.cache(kube::erased_kind<kube::Pod>());
}

}  // namespace tango::op

#include "tests/controllers/fake_cluster.h"

#include <gtest/gtest.h>

#include "controllers/dataset/dataset.h"
#include "controllers/deployment/deployment.h"
#include "controllers/device/device.h"
#include "controllers/imagebuild/imagebuild.h"
#include "controllers/model/model.h"
#include "controllers/project/project.h"
#include "controllers/trainjob/trainjob.h"
#include "crds/crds.h"
#include "crds/types.h"
#include "lib/base/yaml.h"
#include "lib/kube-types/core.h"

namespace tango::controllers {
namespace {

template <typename T>
T parse(const Json& object) {
  auto parsed = kube::Codec<T>::parse(dump_json(object));
  EXPECT_TRUE(parsed.ok()) << parsed.error().to_string() << "\n" << object.dump(1);
  return parsed.ok() ? *parsed : T{};
}

bool cluster_scoped(const std::string& kind) { return kind == "TargetProfile"; }

}  // namespace

FakeCluster::FakeCluster() {
  settings.registry_url = "http://registry";
  settings.allow_host_path = true;
}

void FakeCluster::put(Json object) {
  Json& meta = object["metadata"];
  const std::string kind = get_string(object, "kind");
  if (!meta.contains("namespace") && !cluster_scoped(kind)) meta["namespace"] = "default";
  meta["uid"] = "uid-" + std::to_string(next_uid_++);
  meta["generation"] = 1;
  meta["creationTimestamp"] = format_time(now);
  if (crds::find_kind(kind) != nullptr) {
    auto full = crds::apply_defaults(kind, object);
    ASSERT_TRUE(full.ok()) << full.error().to_string();
    const auto problems = crds::structural_errors(kind, *full);
    EXPECT_TRUE(problems.empty()) << kind << ": "
                                  << (problems.empty() ? "" : problems[0].to_string());
    object = *full;
  }
  const Key key{kind, get_string(object["metadata"], "namespace"),
                get_string(object["metadata"], "name")};
  objects_[key] = std::move(object);
  ++writes;
}

void FakeCluster::apply_yaml(std::string_view text) {
  auto documents = parse_yaml_stream(text);
  ASSERT_TRUE(documents.ok()) << documents.error().to_string();
  for (auto& d : *documents) put(d.value);
}

Json& FakeCluster::object(std::string_view kind, std::string_view name, std::string_view ns) {
  const Key key{std::string(kind), cluster_scoped(std::string(kind)) ? "" : std::string(ns),
                std::string(name)};
  EXPECT_TRUE(objects_.contains(key)) << kind << " " << name << " does not exist";
  return objects_[key];
}

bool FakeCluster::has(std::string_view kind, std::string_view name) const {
  return objects_.contains(Key{std::string(kind), "default", std::string(name)});
}

std::vector<std::string> FakeCluster::names(std::string_view kind) const {
  std::vector<std::string> out;
  for (const auto& [key, value] : objects_) {
    if (key.kind == kind) out.push_back(key.name);
  }
  return out;
}

void FakeCluster::erase(std::string_view kind, std::string_view name) {
  objects_.erase(Key{std::string(kind), "default", std::string(name)});
}

void FakeCluster::mark_deleted(std::string_view kind, std::string_view name) {
  object(kind, name)["metadata"]["deletionTimestamp"] = format_time(now);
}

void FakeCluster::patch_spec(std::string_view kind, std::string_view name, const Json& patch) {
  Json& o = object(kind, name);
  merge_patch(o["spec"], patch);
  o["metadata"]["generation"] = o["metadata"]["generation"].get<int>() + 1;
}

kube::MapObserved FakeCluster::observed() const {
  kube::MapObserved world;
  for (const auto& [key, o] : objects_) {
    if (key.kind == "TangoProject") world.put(parse<crds::TangoProject>(o));
    if (key.kind == "Dataset") world.put(parse<crds::Dataset>(o));
    if (key.kind == "TrainJob") world.put(parse<crds::TrainJob>(o));
    if (key.kind == "Model") world.put(parse<crds::Model>(o));
    if (key.kind == "ImageBuild") world.put(parse<crds::ImageBuild>(o));
    if (key.kind == "Deployment") world.put(parse<crds::TangoDeployment>(o));
    if (key.kind == "Device") world.put(parse<crds::Device>(o));
    if (key.kind == "TargetProfile") world.put(parse<crds::TargetProfile>(o));
    if (key.kind == "ConfigMap") world.put(parse<kube::ConfigMap>(o));
    if (key.kind == "Job") world.put(parse<kube::Job>(o));
    if (key.kind == "Pod") world.put(parse<kube::Pod>(o));
  }
  for (const auto& [key, state] : works) world.put_work(key, state);
  return world;
}

kube::Outcome FakeCluster::reconcile(const Key& key, const Json& o, const kube::Observed& world) {
  if (key.kind == "TangoProject")
    return reconcile_project(parse<crds::TangoProject>(o), world, now, settings);
  if (key.kind == "Dataset")
    return reconcile_dataset(parse<crds::Dataset>(o), world, now, settings);
  if (key.kind == "TrainJob")
    return reconcile_trainjob(parse<crds::TrainJob>(o), world, now, settings);
  if (key.kind == "Model") return reconcile_model(parse<crds::Model>(o), world, now, settings);
  if (key.kind == "ImageBuild")
    return reconcile_imagebuild(parse<crds::ImageBuild>(o), world, now, settings);
  if (key.kind == "Deployment")
    return reconcile_deployment(parse<crds::TangoDeployment>(o), world, now, settings);
  if (key.kind == "Device") return reconcile_device(parse<crds::Device>(o), world, now, settings);
  return {};
}

// Returns whether work was started.
bool FakeCluster::carry_out(const Key& key, const kube::Outcome& outcome) {
  Json& self = objects_[key];
  if (outcome.finalizer == kube::Finalizer::kRelease &&
      self["metadata"].contains("deletionTimestamp")) {
    objects_.erase(key);
    ++writes;
    return true;
  }
  if (outcome.status && get(self, "status") != *outcome.status) {
    Json checked = self;
    checked["status"] = *outcome.status;
    const auto problems = crds::structural_errors(key.kind, checked, true);
    EXPECT_TRUE(problems.empty()) << key.kind << "/" << key.name << ": "
                                  << (problems.empty() ? "" : problems[0].to_string());
    self["status"] = *outcome.status;
    ++writes;
  }
  for (const Json& manifest : outcome.create_once) {
    const Key child{get_string(manifest, "kind"), key.ns, get_string(manifest["metadata"], "name")};
    EXPECT_LE(child.name.size(), 63u);
    if (objects_.contains(child)) continue;
    put(manifest);
    if (child.kind == "Job" && on_job) on_job(child.name);
  }
  for (const Json& manifest : outcome.apply) {
    const Key child{get_string(manifest, "kind"), key.ns, get_string(manifest["metadata"], "name")};
    if (!objects_.contains(child)) {
      put(manifest);
    } else {
      merge_patch(objects_[child]["spec"], manifest["spec"]);
      Json& generation = objects_[child]["metadata"]["generation"];
      generation = generation.get<int>() + 1;
      ++writes;
    }
  }
  for (const kube::Patch& p : outcome.patch) {
    Json& target = object(p.kind.kind, p.name);
    merge_patch(target, p.merge_patch);
    target["metadata"]["generation"] = target["metadata"]["generation"].get<int>() + 1;
    ++writes;
  }
  for (const kube::Removal& r : outcome.remove) {
    const Key child{std::string(r.kind.kind), r.ns, r.name};
    if (!objects_.contains(child)) continue;
    EXPECT_EQ(get_string(objects_[child]["metadata"], "uid"), r.uid);
    objects_.erase(child);
    ++writes;
  }
  bool busy = false;
  for (const kube::Work& work : outcome.work) {
    auto [it, fresh] = works.try_emplace(work.key);
    if (fresh) {
      it->second.started = now;
      started.push_back(work);
      busy = true;
    }
    if (it->second.phase != kube::WorkState::Phase::kRunning || !answer) continue;
    if (auto result = answer(work)) {
      it->second.finished = now;
      if (result->ok()) {
        it->second.phase = kube::WorkState::Phase::kSucceeded;
        it->second.output = **result;
      } else {
        it->second.phase = kube::WorkState::Phase::kFailed;
        it->second.error = result->error();
      }
      busy = true;
    }
  }
  return busy;
}

int FakeCluster::pass() {
  const int before = writes;
  bool busy = false;
  std::vector<Key> keys;
  for (const auto& [key, o] : objects_) keys.push_back(key);
  for (const Key& key : keys) {
    if (!objects_.contains(key) || crds::find_kind(key.kind) == nullptr) continue;
    const kube::MapObserved world = observed();
    kube::Outcome outcome = reconcile(key, objects_[key], world);
    busy = carry_out(key, outcome) || busy;
    last_[key] = std::move(outcome);
  }
  return writes - before + (busy ? 1 : 0);
}

void FakeCluster::settle(int limit) {
  for (int i = 0; i < limit; ++i) {
    if (pass() == 0) return;
  }
  ADD_FAILURE() << "the cluster does not come to rest";
}

const kube::Outcome& FakeCluster::last(std::string_view kind, std::string_view name) {
  return last_[Key{std::string(kind), "default", std::string(name)}];
}

int FakeCluster::count_started(std::string_view executor, std::string_view key_part) const {
  int n = 0;
  for (const auto& w : started)
    n += w.executor == executor && w.key.find(key_part) != std::string::npos;
  return n;
}

void FakeCluster::finish_job(const std::string& name, int exit_code, const std::string& reason) {
  Json& job = object("Job", name);
  const std::string type = exit_code == 0 ? "Complete" : "Failed";
  job["status"] = Json{
      {"conditions", Json::array({Json{{"type", type},
                                       {"status", "True"},
                                       {"reason", exit_code == 0 ? "Done" : "BackoffLimitExceeded"},
                                       {"lastTransitionTime", format_time(now)}}})}};
  Json pod{
      {"apiVersion", "v1"},
      {"kind", "Pod"},
      {"metadata",
       {{"name", name + "-pod"},
        {"ownerReferences", Json::array({Json{{"apiVersion", "batch/v1"},
                                              {"kind", "Job"},
                                              {"name", name},
                                              {"uid", job["metadata"]["uid"]},
                                              {"controller", true}}})}}},
      {"status",
       {{"phase", exit_code == 0 ? "Succeeded" : "Failed"},
        {"containerStatuses",
         Json::array({Json{
             {"name", "stage"},
             {"state",
              {{"terminated",
                {{"exitCode", exit_code}, {"reason", reason.empty() ? "Error" : reason}}}}}}})}}}};
  put(std::move(pod));
}

std::string FakeCluster::condition(std::string_view kind, std::string_view name,
                                   std::string_view type) {
  for (const Json& c : at_path(object(kind, name), "status.conditions")) {
    if (get_string(c, "type") == type)
      return get_string(c, "status") + "/" + get_string(c, "reason");
  }
  return "absent";
}

std::string FakeCluster::message(std::string_view kind, std::string_view name,
                                 std::string_view type) {
  for (const Json& c : at_path(object(kind, name), "status.conditions")) {
    if (get_string(c, "type") == type) return get_string(c, "message");
  }
  return "";
}

}  // namespace tango::controllers

// What the API's verbs do to stored objects: create, update, patch, apply and delete with
// everything a Kubernetes API server guarantees about them (metadata, status split, validation,
// defaults, field ownership, finalizers, preconditions, dry run). HTTP and in-process callers share
// it. Throws ApiError.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/base/random.h"
#include "standalone/resources.h"
#include "standalone/store.h"

namespace tango::standalone {

enum class FieldValidation { kIgnore, kWarn, kStrict };

struct WriteContext {
  std::string manager = "unknown";
  bool dry_run = false;
  FieldValidation validation = FieldValidation::kWarn;
  std::vector<std::string> warnings;  // out: Warning headers
};

struct DeleteRequest {
  std::optional<std::int64_t> grace_seconds;
  std::string propagation;  // Background (default), Foreground, Orphan
  std::string uid, resource_version;
  bool dry_run = false;
};
struct Deleted {
  bool removed = false;  // false: it waits for finalizers or grace
  Json object;
};

enum class PatchKind { kJson, kMerge, kStrategic, kApply };

// Runs after defaults and schema validation, not for subresources; causes refuse the write. `old`
// is null on create.
using AdmissionHook =
    std::function<std::vector<Cause>(const ResourceInfo&, const Json& object, const Json* old)>;

class Operations {
 public:
  Operations(Store& store, ResourceRegistry& registry, Clock& clock, AdmissionHook admission)
      : store_(store), registry_(registry), clock_(clock), admission_(std::move(admission)) {}

  Json get(const ResourceInfo& r, const std::string& ns, const std::string& name) const;
  Json create(const ResourceInfo& r, const std::string& ns, Json body, WriteContext& ctx);
  Json update(const ResourceInfo& r, const std::string& ns, const std::string& name, Json body,
              const std::string& sub, WriteContext& ctx);
  // second: the object was created (apply).
  std::pair<Json, bool> patch(const ResourceInfo& r, const std::string& ns, const std::string& name,
                              PatchKind kind, const Json& patch, const std::string& sub, bool force,
                              WriteContext& ctx);
  Deleted remove(const ResourceInfo& r, const std::string& ns, const std::string& name,
                 const DeleteRequest& request);
  // Ends a namespace whose content is gone. False: something is left.
  bool finalize_namespace(const std::string& name);

  // In the version the caller speaks.
  static Json present(const Json& stored, const ResourceInfo& r);

  Store& store() { return store_; }
  ResourceRegistry& registry() { return registry_; }
  Clock& clock() { return clock_; }

 private:
  Json create_locked(const ResourceInfo& r, const std::string& ns, Json body, WriteContext& ctx,
                     bool tracked);
  Json finish(const ResourceInfo& r, const Json& old, Json next, const std::string& sub,
              WriteContext& ctx, bool tracked);
  void clean(const ResourceInfo& r, Json& next, WriteContext& ctx) const;
  void check(const ResourceInfo& r, const Json& next, const Json* old,
             const std::string& sub) const;
  void commit_removal(const ResourceInfo& r, const std::string& ns, const std::string& name);
  Json commit(const ResourceInfo& r, const std::string& ns, const std::string& name, Json next);

  Store& store_;
  ResourceRegistry& registry_;
  Clock& clock_;
  AdmissionHook admission_;
};

}  // namespace tango::standalone

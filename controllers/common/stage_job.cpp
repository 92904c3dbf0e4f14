#include "controllers/common/stage_job.h"

#include "controllers/common/conditions.h"

namespace tango::controllers {
namespace {

constexpr std::string_view kRunDir = "/tango/run";
constexpr std::string_view kWorkDir = "/tango/work";
constexpr std::string_view kDataDir = "/tango/data";

Json metadata(const StageRequest& request, const StageAttempt& attempt) {
  Json labels{{"app.kubernetes.io/managed-by", "tango"},
              {std::string(kStageLabel), request.stage},
              {std::string(kInputHashLabel), attempt.input_hash.substr(0, 63)}};
  if (!request.project.empty()) labels[std::string(kProjectLabel)] = request.project;
  return Json{
      {"name", attempt.job},
      {"namespace", request.owner->ns},
      {"labels", std::move(labels)},
      {"annotations", {{std::string(kRunAnnotation), run_id(request.owner->ns, attempt.base)}}},
      {"ownerReferences", Json::array({owner_reference(request.owner_kind, *request.owner)})}};
}

Json env(std::string_view name, std::string value) {
  return Json{{"name", std::string(name)}, {"value", std::move(value)}};
}

void copy_member(const Json& from, const char* key, Json& to) {
  if (const Json& v = get(from, key); !v.is_null() && !v.empty()) to[key] = v;
}

}  // namespace

Json stage_config_map(const StageRequest& request, const StageAttempt& attempt,
                      const Settings& settings) {
  run::StageSpec spec;
  spec.stage = request.stage;
  spec.type = request.type;
  spec.type_version = request.type_version;
  spec.config = attempt.config;
  spec.inputs = request.inputs;
  spec.registry = {settings.registry_url, request.repository};
  spec.run_id = run_id(request.owner->ns, attempt.base);
  spec.attempt = attempt.number;
  spec.run_api = settings.run_api;
  return Json{{"apiVersion", "v1"},
              {"kind", "ConfigMap"},
              {"metadata", metadata(request, attempt)},
              {"data", {{"stage.json", dump_json(run::encode(spec))}}}};
}

Json stage_job(const StageRequest& request, const StageAttempt& attempt, const Settings& settings) {
  (void)settings;
  Json container{
      {"name", "stage"},
      {"image", request.image},
      {"env", Json::array({env("TANGO_RUN_DIR", std::string(kRunDir)),
                           env("TANGO_WORK_DIR", std::string(kWorkDir)),
                           env("TANGO_INPUT_HASH", attempt.input_hash)})},
      {"volumeMounts", Json::array({Json{{"name", "run"}, {"mountPath", kRunDir}},
                                    Json{{"name", "stage"},
                                         {"mountPath", std::string(kRunDir) + "/stage.json"},
                                         {"subPath", "stage.json"},
                                         {"readOnly", true}},
                                    Json{{"name", "work"}, {"mountPath", kWorkDir}}})},
      {"securityContext",
       {{"allowPrivilegeEscalation", false}, {"capabilities", {{"drop", Json::array({"ALL"})}}}}}};
  Json volumes = Json::array({Json{{"name", "run"}, {"emptyDir", Json::object()}},
                              Json{{"name", "stage"}, {"configMap", {{"name", attempt.job}}}},
                              Json{{"name", "work"}, {"emptyDir", Json::object()}}});
  if (!request.data_volume.is_null()) {
    container["env"].push_back(env("TANGO_DATA_DIR", std::string(kDataDir)));
    Json mount{{"name", "data"}, {"mountPath", kDataDir}, {"readOnly", true}};
    if (!request.data_sub_path.empty()) mount["subPath"] = request.data_sub_path;
    container["volumeMounts"].push_back(std::move(mount));
    Json volume = request.data_volume;
    volume["name"] = "data";
    volumes.push_back(std::move(volume));
  }
  copy_member(request.pod_template, "resources", container);
  Json pod{{"restartPolicy", "Never"},
           {"automountServiceAccountToken", false},
           {"terminationGracePeriodSeconds", 120},
           {"containers", Json::array({std::move(container)})},
           {"volumes", std::move(volumes)}};
  for (const char* key :
       {"nodeSelector", "tolerations", "affinity", "priorityClassName", "serviceAccountName"}) {
    copy_member(request.pod_template, key, pod);
  }
  Json meta = metadata(request, attempt);
  const Json pod_labels = meta["labels"];
  const Json pod_annotations = meta["annotations"];
  return Json{{"apiVersion", "batch/v1"},
              {"kind", "Job"},
              {"metadata", std::move(meta)},
              {"spec",
               {{"backoffLimit", 0},
                {"activeDeadlineSeconds", request.active_deadline_seconds},
                {"template",
                 {{"metadata", {{"labels", pod_labels}, {"annotations", pod_annotations}}},
                  {"spec", std::move(pod)}}}}}};
}

}  // namespace tango::controllers

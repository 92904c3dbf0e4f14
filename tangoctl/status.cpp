// status PROJECT: the stages as a tree, with progress.
#include <chrono>
#include <ostream>
#include <thread>

#include "crds/types.h"
#include "tangoctl/resources.h"
#include "tangoctl/verbs.h"

namespace tango::ctl {
namespace {

using crds::StageState;

constexpr std::string_view kRunAnnotation = "ml-tango.io/run-id";

std::string mark(StageState state) {
  switch (state) {
    case StageState::kCompleted:
      return "✔";
    case StageState::kFailed:
      return "✘";
    case StageState::kRunning:
    case StageState::kStarted:
      return "●";
    case StageState::kStopping:
    case StageState::kStopped:
      return "■";
    case StageState::kReady:
      break;
  }
  return "○";
}

std::string elapsed(const std::optional<TimePoint>& from, const std::optional<TimePoint>& to) {
  if (!from) return "";
  return human_age((to ? *to : system_clock().now()) - *from);
}

std::string number(double value, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
  return buffer;
}

// "epoch 2/4, 1250 images/s, loss 0.41, top1 0.88, about 3m left" from the run store; empty when
// unknown.
std::string progress_text(const Json& progress) {
  std::string out;
  auto add = [&](const std::string& text) { out += (out.empty() ? "" : ", ") + text; };
  if (progress.contains("epoch")) {
    std::string text = "epoch " + std::to_string(get_int(progress, "epoch"));
    if (progress.contains("epochs")) text += "/" + std::to_string(get_int(progress, "epochs"));
    add(text);
  } else if (std::string phase = get_string(progress, "phase"); !phase.empty()) {
    add(phase);
  }
  if (progress.contains("imagesPerSecond"))
    add(number(get_double(progress, "imagesPerSecond"), 0) + " images/s");
  if (progress.contains("loss")) add("loss " + number(get_double(progress, "loss"), 3));
  if (progress.contains("top1")) add("top1 " + number(get_double(progress, "top1"), 4));
  if (get_double(progress, "etaSeconds") > 0) {
    add("about " + human_age(Seconds{static_cast<long>(get_double(progress, "etaSeconds"))}) +
        " left");
  }
  return out;
}

class ProjectView {
 public:
  ProjectView(Session& session, kube::KubeClient& client) : session_(session), client_(client) {}

  Status load(const std::string& ns, const std::string& name) {
    ns_ = ns;
    TRY_ASSIGN(Json json, client_.get(crds::TangoProject::kKind, ns, name));
    TRY_ASSIGN(project_, kube::Codec<crds::TangoProject>::parse(dump_json(json)));
    return ok_status();
  }

  std::string summary() const {
    const auto* ready = kube::find_condition(project_.status.conditions, "Ready");
    return ready == nullptr ? "Pending" : ready->reason;
  }

  // One line: the running stage and how far it is.
  void print_brief() {
    std::string line = project_.metadata.name + ": ";
    const crds::TangoProjectStatusStage* current = nullptr;
    int done = 0;
    for (const auto& s : project_.status.stages) {
      if (s.state == StageState::kCompleted) ++done;
      if (s.state == StageState::kRunning || s.state == StageState::kStarted ||
          s.state == StageState::kFailed) {
        if (current == nullptr) current = &s;
      }
    }
    if (current == nullptr) {
      line += summary();
    } else {
      line += std::string(to_string(current->name)) + " " + std::string(to_string(current->state));
      if (std::string text = live_progress(*current); !text.empty()) {
        line += ", " + text;
      } else if (!current->message.empty()) {
        line += ", " + std::string(one_line(current->message));
      }
    }
    if (!project_.status.stages.empty()) {
      line += " (" + std::to_string(done) + "/" + std::to_string(project_.status.stages.size()) +
              " stages)";
    }
    session_.out() << line << "\n";
  }

  void print_tree() {
    const auto& status = project_.status;
    session_.out() << project_.metadata.name << "   " << painted(session_, summary()) << "   "
                   << to_string(project_.spec.task) << ", version " << project_.spec.version
                   << "\n";
    for (const auto& c : status.conditions) {
      if (c.type == "Accepted" && c.status == "False") {
        session_.out() << "  not accepted: " << c.reason << ": " << c.message << "\n";
      }
    }
    for (std::size_t i = 0; i < status.stages.size(); ++i)
      print_stage(status.stages[i], i + 1 == status.stages.size());
    if (status.stages.empty()) session_.out() << "└─ no stage has started yet\n";
    print_results();
  }

 private:
  void print_stage(const crds::TangoProjectStatusStage& s, bool last) {
    std::string name(to_string(s.name));
    std::string state(to_string(s.state));
    std::string head = (last ? "└─ " : "├─ ") + mark(s.state) + " " + name +
                       std::string(8 - std::min<std::size_t>(name.size(), 7), ' ') +
                       painted(session_, state);
    std::string rest;
    auto add = [&](const std::string& text) {
      if (!text.empty()) rest += (rest.empty() ? "" : "  ") + text;
    };
    if (s.ref) add(s.ref->kind + "/" + s.ref->name);
    add(elapsed(s.started_at, s.finished_at));
    add(detail_of(s));
    if (s.state == StageState::kFailed || rest.empty()) {
      if (!s.reason.empty()) add(s.reason + (s.message.empty() ? "" : ": " + s.message));
    }
    if (!rest.empty())
      head += std::string(11 - std::min<std::size_t>(state.size(), 10), ' ') + rest;
    session_.out() << head << "\n";
    const bool exporting = s.name == crds::TangoProjectStatusStageName::kExport;
    if (s.ref && s.ref->kind == "TrainJob") print_train_stages(s.ref->name, exporting, last);
  }

  std::string detail_of(const crds::TangoProjectStatusStage& s) {
    const auto& status = project_.status;
    if (s.name == crds::TangoProjectStatusStageName::kSelect && status.base_model) {
      return status.base_model->name +
             (status.base_model->reason.empty() ? "" : " — " + status.base_model->reason);
    }
    if (s.name == crds::TangoProjectStatusStageName::kData && s.state == StageState::kCompleted) {
      auto json = client_.get(crds::Dataset::kKind, ns_, project_.spec.dataset_ref.name);
      if (!json.ok()) return "";
      const Json& d = get(*json, "status");
      return std::to_string(get_int(d, "images")) + " images, " +
             std::to_string(get_int(d, "classCount")) + " classes";
    }
    return "";
  }

  // The recipe's stages: those of type Export under the project's stage Export, the others under
  // Train.
  void print_train_stages(const std::string& job_name, bool exporting, bool last) {
    auto job = train_job(job_name);
    if (!job) return;
    auto stages = job->status.stages;
    std::erase_if(stages, [&](const auto& s) { return (s.type == "Export") != exporting; });
    for (std::size_t i = 0; i < stages.size(); ++i) {
      const auto& s = stages[i];
      session_.out() << (last ? "   " : "│  ") << (i + 1 == stages.size() ? "└─ " : "├─ ")
                     << mark(s.state) << " " << s.name << "  "
                     << painted(session_, to_string(s.state));
      if (s.attempt > 1) session_.out() << "  attempt " << s.attempt;
      if (std::string time = elapsed(s.started_at, s.finished_at); !time.empty())
        session_.out() << "  " << time;
      std::string text;
      if (s.state == StageState::kRunning) text = run_progress(s.job);
      for (const auto& [name, value] : s.metrics) {
        if (name == "top1" || name == "loss" || name == "mAP50-95" || name == "mIoU") {
          text += (text.empty() ? "" : ", ") + name + " " + number(value, 4);
        }
      }
      if (text.empty() && !s.message.empty()) text = one_line(s.message);
      if (s.state == StageState::kFailed && !s.reason.empty()) text = s.reason + ": " + s.message;
      if (!text.empty()) session_.out() << "  " << text;
      session_.out() << "\n";
    }
  }

  // The metrics that say how good a network is; the others say how it was made.
  static bool is_quality(std::string_view name) {
    for (std::string_view known :
         {"top1", "top5", "f1", "mAP50", "mAP50-95", "precision", "recall", "mIoU", "loss"}) {
      if (name == known) return true;
    }
    return false;
  }

  void print_results() {
    const auto& status = project_.status;
    if (status.model) {
      session_.out() << "model     " << status.model->name;
      for (const auto& [name, value] : status.model->metrics) {
        if (is_quality(name)) session_.out() << "  " << name << " " << number(value, 4);
      }
      session_.out() << "\n";
    }
    for (const auto& t : status.targets) {
      session_.out() << "target    " << t.name << "  " << t.updated << "/" << t.desired
                     << " updated, " << t.ready << " ready";
      if (t.failed > 0) session_.out() << ", " << t.failed << " failed";
      if (t.latency && t.latency->p50)
        session_.out() << "  p50 " << number(*t.latency->p50, 2) << " ms";
      if (t.latency && t.latency->p95)
        session_.out() << ", p95 " << number(*t.latency->p95, 2) << " ms";
      session_.out() << "\n";
    }
  }

  std::optional<crds::TrainJob> train_job(const std::string& name) {
    auto json = client_.get(crds::TrainJob::kKind, ns_, name);
    if (!json.ok()) return std::nullopt;
    auto job = kube::Codec<crds::TrainJob>::parse(dump_json(*json));
    if (!job.ok()) return std::nullopt;
    return std::move(*job);
  }

  std::string live_progress(const crds::TangoProjectStatusStage& s) {
    if (!s.ref || s.ref->kind != "TrainJob") return "";
    auto job = train_job(s.ref->name);
    if (!job) return "";
    for (const auto& stage : job->status.stages) {
      if (stage.state != StageState::kRunning) continue;
      std::string text = run_progress(stage.job);
      return stage.name + (text.empty() ? "" : ": " + text);
    }
    return "";
  }

  // Progress of the run that a Job belongs to; empty when the operator's API cannot be asked.
  std::string run_progress(const std::string& job_name) {
    auto job = client_.get({"batch", "v1", "Job", "jobs", true}, ns_, job_name);
    if (!job.ok()) return "";
    std::string run = get_string(get(get(*job, "metadata"), "annotations"), kRunAnnotation);
    auto rest = session_.rest();
    if (run.empty() || !rest.ok()) return "";
    auto metrics = (*rest)->call("GET", "/api/v1/runs/" + run + "/metrics?limit=1");
    return metrics.ok() ? progress_text(get(*metrics, "progress")) : "";
  }

  Session& session_;
  kube::KubeClient& client_;
  std::string ns_;
  crds::TangoProject project_;
};

Result<std::string> project_name(Session& session, kube::KubeClient& client,
                                 const StatusOptions& options) {
  if (!options.project.empty()) {
    std::size_t slash = options.project.find('/');
    return slash == std::string::npos ? options.project : options.project.substr(slash + 1);
  }
  kube::ListOptions list;
  TRY_ASSIGN(list.ns, session.ns());
  TRY_ASSIGN(auto found, client.list(crds::TangoProject::kKind, list));
  if (found.items.size() == 1) return get_string(get(found.items[0], "metadata"), "name");
  std::string names;
  for (const auto& item : found.items)
    names += (names.empty() ? "" : ", ") + get_string(get(item, "metadata"), "name");
  return make_error(Code::kInvalid, "MissingArgument",
                    found.items.empty() ? "there is no project in namespace " + list.ns
                                        : "name one of the projects " + names);
}

}  // namespace

int project_status(Session& session, const StatusOptions& options) {
  auto client = session.kube();
  if (!client.ok()) return session.fail(client.error());
  auto name = project_name(session, **client, options);
  if (!name.ok()) return session.fail(name.error());
  auto ns = session.ns();
  if (!ns.ok()) return session.fail(ns.error());
  if (options.output == "json" || options.output == "yaml") {
    GetOptions get_options;
    get_options.args = {"tangoprojects.ml-tango.io", *name};
    get_options.output = options.output;
    return get_objects(session, get_options);
  }
  while (true) {
    ProjectView view(session, **client);
    auto loaded = view.load(*ns, *name);
    if (!loaded.ok()) return session.fail(loaded.error());
    if (options.brief) {
      view.print_brief();
    } else {
      if (options.watch && session.io().out_tty) session.out() << "\033[H\033[2J";
      view.print_tree();
    }
    session.out().flush();
    if (!options.watch || !session.out()) return kOk;
    std::this_thread::sleep_for(std::chrono::seconds(2));
  }
}

}  // namespace tango::ctl

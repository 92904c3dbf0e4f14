// Unmodified kubectl against `up` as a process of its own, and what survives a kill -9 of it. Runs
// for every kubectl it finds: the one in PATH and those that scripts/fetch-kubectl put into the
// cache.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "lib/base/json.h"
#include "lib/base/subprocess.h"
#include "standalone/up.h"

namespace tango::standalone {
namespace {

std::vector<std::string> kubectls() {
  std::vector<std::string> out;
  const char* cache = ::getenv("XDG_CACHE_HOME");
  const char* home = ::getenv("HOME");
  fs::path base = cache != nullptr && *cache != '\0'
                      ? fs::path(cache)
                      : fs::path(home != nullptr ? home : "/nonexistent") / ".cache";
  base = base / "tango" / "kubectl";
  if (const char* own = ::getenv("TANGO_KUBECTL_CACHE")) base = own;
  for (const char* name : {"kubectl-1.20", "kubectl-1.34"}) {
    if (::access((base / name).c_str(), X_OK) == 0) out.push_back((base / name).string());
  }
  for (const char* path : {"/usr/local/bin/kubectl", "/usr/bin/kubectl"}) {
    if (::access(path, X_OK) == 0) {
      out.emplace_back(path);
      break;
    }
  }
  return out;
}

// `up` in its own process.
class UpProcess {
 public:
  explicit UpProcess(fs::path state, std::vector<std::string> args = {})
      : state_(std::move(state)), args_(std::move(args)) {}
  ~UpProcess() { stop(); }
  bool start() {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) != 0) return false;
    Fd reader(fds[0]), writer(fds[1]);
    ProcessOptions o;
    o.argv = {(fs::path(::getenv("TANGO_BIN_DIR")) / "standalone_up_host").string(),
              state_.string()};
    o.argv.insert(o.argv.end(), args_.begin(), args_.end());
    o.stdout_fd = writer.get();
    o.die_with_parent = true;
    auto child = spawn(o);
    if (!child.ok()) return false;
    child_.emplace(std::move(child).value());
    writer.reset();
    std::string text;
    char c;
    while (text.find('\n') == std::string::npos && ::read(reader.get(), &c, 1) == 1) text += c;
    ready = Json::parse(text, nullptr, false);
    return ready.is_object() && get_bool(ready, "ready");
  }
  void kill_now() {
    child_->signal(SIGKILL);
    child_->wait();
    child_.reset();
  }
  int stop() {
    if (!child_) return -1;
    int code = child_->kill_and_wait(Seconds{15}).code;
    child_.reset();
    return code;
  }
  Json ready;

 private:
  fs::path state_;
  std::vector<std::string> args_;
  std::optional<ChildProcess> child_;
};

struct Ran {
  int code;
  std::string out, err;
};

class KubectlTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam().empty())
      GTEST_SKIP() << "no kubectl is installed; scripts/fetch-kubectl gets one";
    ASSERT_TRUE(up_.start());
  }
  Ran kubectl(std::vector<std::string> args, const std::string& input = {}) {
    ProcessOptions o;
    o.argv = {GetParam(), "--kubeconfig", (dir_ / "state/kubeconfig").string(), "--cache-dir",
              (dir_ / "cache").string()};
    o.argv.insert(o.argv.end(), args.begin(), args.end());
    o.env["HOME"] = dir_.path().string();
    auto out = run_process(o, Seconds{20}, input);
    if (!out.ok()) return {-1, "", out.error().to_string()};
    return {out->status.code, out->out, out->err};
  }
  std::string ok(std::vector<std::string> args, const std::string& input = {}) {
    Ran r = kubectl(args, input);
    EXPECT_EQ(r.code, 0) << args[0] << " " << args[1] << "\n" << r.out << r.err;
    return r.out;
  }
  static bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  }
  template <typename F>
  static bool eventually(F condition, int ms = 10000) {
    auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    while (std::chrono::steady_clock::now() < until) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }
  TempDir dir_{"kubectl"};
  UpProcess up_{dir_ / "state"};
};

const char* kThings = R"(
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: "1"}
---
apiVersion: batch/v1
kind: Job
metadata: {name: hello, labels: {app: hello}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: main
        image: tango.local/test:dev
        args: ["-c", "echo hello; sleep 0.5; echo world"]
---
apiVersion: ml-tango.io/v1alpha1
kind: Device
metadata: {name: edge-1}
spec:
  profileRef: {name: linux-x86}
  connection: {type: Direct, address: 127.0.0.1, port: 2222, user: me}
  hostKey: {policy: TrustOnFirstUse}
)";

TEST_P(KubectlTest, EverydayVerbs) {
  std::string first = ok({"apply", "-f", "-"}, kThings);
  EXPECT_TRUE(has(first, "configmap/settings created"));
  EXPECT_TRUE(has(first, "device.ml-tango.io/edge-1 created"));
  ok({"wait", "--for=condition=Complete", "job/hello", "--timeout=15s"});
  EXPECT_EQ(ok({"logs", "-f", "job/hello"}), "hello\nworld\n");
  std::string again = ok({"apply", "-f", "-"},
                         kThings);  // re-apply of built-ins: a strategic merge that changes nothing
  EXPECT_TRUE(has(again, "configmap/settings unchanged")) << again;
  EXPECT_TRUE(has(again, "job.batch/hello unchanged")) << again;
  EXPECT_TRUE(has(again, "device.ml-tango.io/edge-1 unchanged")) << again;

  EXPECT_TRUE(has(ok({"get", "pods", "-o", "wide"}), "Completed"));
  EXPECT_TRUE(has(ok({"get", "jobs"}), "1/1"));
  EXPECT_TRUE(has(ok({"get", "tango"}), "edge-1"));
  EXPECT_TRUE(has(ok({"get", "cm", "settings", "-o", "yaml"}), "a: \"1\""));
  EXPECT_EQ(Json::parse(ok({"get", "cm", "settings", "-o", "json"}))["data"]["a"], "1");
  EXPECT_EQ(ok({"get", "cm", "-l", "x=y", "-o", "name"}), "");
  EXPECT_TRUE(has(ok({"describe", "job", "hello"}), "1 Succeeded"));
  EXPECT_TRUE(has(ok({"describe", "job", "hello"}), "SuccessfulCreate"));
  EXPECT_TRUE(has(ok({"describe", "device", "edge-1"}), "linux-x86"));

  EXPECT_TRUE(has(ok({"patch", "cm", "settings", "-p", R"({"data":{"b":"2"}})"}), "patched"));
  EXPECT_TRUE(has(ok({"patch", "cm", "settings", "--type=merge", "-p", R"({"data":{"c":"3"}})"}),
                  "patched"));
  EXPECT_TRUE(has(
      ok({"patch", "cm", "settings", "--type=json", "-p", R"([{"op":"remove","path":"/data/b"}])"}),
      "patched"));
  EXPECT_EQ(Json::parse(ok({"get", "cm", "settings", "-o", "json"}))["data"],
            Json::parse(R"({"a":"1","c":"3"})"));
  ok({"label", "cm", "settings", "x=y"});
  EXPECT_EQ(ok({"get", "cm", "-l", "x=y", "-o", "name"}), "configmap/settings\n");

  EXPECT_TRUE(has(ok({"explain", "pod.spec.containers.image"}), "Image to run"));
  EXPECT_TRUE(has(ok({"explain", "devices.spec"}), "connection"));
  EXPECT_TRUE(has(ok({"api-resources", "--api-group=ml-tango.io"}), "tdep"));
  EXPECT_EQ(ok({"auth", "can-i", "create", "pods"}), "yes\n");

  // Newer kubectl sends these as protobuf; 1.20 has no `create token`.
  Ran token = kubectl({"create", "token", "default", "--audience=tango"});
  EXPECT_TRUE(token.code == 0 ? has(token.out, "eyJ") : has(token.err, "unknown")) << token.err;

  EXPECT_TRUE(has(ok({"delete", "job", "hello"}), "deleted"));
  EXPECT_TRUE(eventually([&] { return ok({"get", "pods", "-o", "name"}).empty(); }));
  EXPECT_NE(kubectl({"get", "job", "hello"}).code, 0);
}

TEST_P(KubectlTest, ServerSideApplyAndItsConflicts) {
  std::string map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: \"1\"}\n";
  EXPECT_TRUE(has(ok({"apply", "--server-side", "-f", "-"}, map), "serverside-applied"));
  ok({"patch", "cm", "m", "--type=merge", "-p", R"({"data":{"a":"9"}})"});
  Ran refused = kubectl({"apply", "--server-side", "-f", "-"}, map);
  EXPECT_NE(refused.code, 0);
  EXPECT_TRUE(has(refused.err, "conflict")) << refused.err;
  ok({"apply", "--server-side", "--force-conflicts", "-f", "-"}, map);
  EXPECT_EQ(ok({"get", "cm", "m", "-o", "jsonpath={.data.a}"}), "1");
  EXPECT_TRUE(has(ok({"apply", "--dry-run=server", "-f", "-"},
                     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"),
                  "server dry run"));
  EXPECT_NE(kubectl({"get", "cm", "other"}).code, 0);
}

TEST_P(KubectlTest, WrongManifestsAreAnsweredClearly) {
  Ran field = kubectl({"apply", "-f", "-"},
                      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndataa: {}\n");
  EXPECT_NE(field.code, 0);
  EXPECT_TRUE(has(field.err, "dataa")) << field.err;
  Ran value = kubectl({"apply", "-f", "-"},
                      "apiVersion: ml-tango.io/v1alpha1\nkind: TangoProject\nmetadata: {name: "
                      "p}\nspec: {task: Guess, datasetRef: {name: d}}\n");
  EXPECT_NE(value.code, 0);
  EXPECT_TRUE(has(value.err, "spec.task")) << value.err;
  Ran kind = kubectl({"apply", "-f", "-"},
                     "apiVersion: ml-tango.io/v1alpha1\nkind: Nothing\nmetadata: {name: p}\n");
  EXPECT_NE(kind.code, 0);
}

TEST_P(KubectlTest, StateAndWorkloadsSurviveKillNine) {
  ok({"apply", "-f", "-"}, R"(
apiVersion: v1
kind: Pod
metadata: {name: long}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: tango.local/test, args: ["-c", "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.05; done"]}]
)");
  ASSERT_TRUE(eventually([&] { return has(ok({"logs", "long"}), "tick 3\n"); }));
  std::string uid = ok({"get", "pod", "long", "-o", "jsonpath={.metadata.uid}"});
  std::string api = up_.ready["api"];
  up_.kill_now();
  ASSERT_TRUE(up_.start());
  EXPECT_EQ(up_.ready["api"], api);  // the kubeconfig in somebody's hands stays good
  EXPECT_EQ(ok({"get", "pod", "long", "-o", "jsonpath={.metadata.uid}{.status.phase}"}),
            uid + "Running");
  std::string log = ok({"logs", "long"});
  EXPECT_EQ(log.find("tick 1\n"), 0u);
  EXPECT_EQ(log.find("tick 1\n", 1), std::string::npos);  // it was never started twice
  ok({"delete", "pod", "long"});
  EXPECT_EQ(up_.stop(), 0);
}

INSTANTIATE_TEST_SUITE_P(Versions, KubectlTest,
                         ::testing::ValuesIn(kubectls().empty() ? std::vector<std::string>{""}
                                                                : kubectls()));

TEST(Up, FilesPermissionsAndASecondStartOnTheSameFolder) {
  TempDir dir("up");
  StateLayout state{dir / "state"};
  UpProcess up(state.root);
  ASSERT_TRUE(up.start());
  EXPECT_LT(up.ready["seconds"].get<double>(), 10.0);
  for (const fs::path& secret : {state.kubeconfig(), state.admin_token(), state.operator_json()}) {
    struct stat st {};
    ASSERT_EQ(::stat(secret.c_str(), &st), 0) << secret;
    EXPECT_EQ(st.st_mode & 0777u, 0600u) << secret;
  }
  UpProcess second(state.root);
  EXPECT_FALSE(second.start());
  EXPECT_EQ(up.stop(), 0);
  UpProcess third(state.root);
  EXPECT_TRUE(third.start());
}

TEST(Up, TheRegistryAnswersAndGoesWithUs) {
  if (::access("/usr/bin/docker-registry", X_OK) != 0)
    GTEST_SKIP() << "docker-registry is not installed";
  TempDir dir("up");
  UpProcess up(dir / "state", {"--registry"});
  ASSERT_TRUE(up.start());
  Json pid = Json::parse(*read_file(dir / "state/run/registry.pid"));
  up.kill_now();
  auto gone = [&] {
    auto stat = read_file("/proc/" + std::to_string(get_int(pid, "pid")) + "/stat", 4096);
    return !stat.ok() || stat->find(") Z ") != std::string::npos;
  };
  for (int i = 0; i < 100 && !gone(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(gone());
  EXPECT_TRUE(up.start());
  EXPECT_EQ(up.stop(), 0);
}

}  // namespace
}  // namespace tango::standalone

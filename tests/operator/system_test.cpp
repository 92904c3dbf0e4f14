// The whole operator as a program and a real registry: objects in, conditions out, through kill -9
// and restarts; against the embedded API server and against a real kube-apiserver. Stages of this
// test are /bin/sh, which ends at once (the real server runs no pods).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

#include "crds/crds.h"
#include "crds/types.h"
#include "lib/artifacts/registry_client.h"
#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/subprocess.h"
#include "lib/base/yaml.h"
#include "lib/kube-types/core.h"
#include "lib/kube/client.h"
#include "lib/run/stage.h"
#include "tests/kube/server_environment.h"
#include "tests/operator/local_registry.h"

namespace tango::op {
namespace {

fs::path program(const std::string& name) {
  const char* dir = std::getenv("TANGO_BIN_DIR");
  return fs::path(dir == nullptr ? "build/bin" : dir) / name;
}

// A program that says with one line of JSON on stdout that it is ready.
class Program {
 public:
  Program(std::vector<std::string> argv, const fs::path& log) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    Fd read(ends[0]), write(ends[1]);
    Fd quiet(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    ProcessOptions options;
    options.argv = std::move(argv);
    options.stdout_fd = write.get();
    options.stderr_fd = quiet.get();
    options.die_with_parent = true;
    auto child = spawn(options);
    EXPECT_TRUE(child.ok());
    child_.emplace(std::move(*child));
    write.reset();
    std::string line;
    char c = 0;
    pollfd p{read.get(), POLLIN, 0};
    while (::poll(&p, 1, 20'000) == 1 && ::read(read.get(), &c, 1) == 1 && c != '\n') line += c;
    auto parsed = parse_json(line);
    EXPECT_TRUE(parsed.ok()) << options.argv[0] << " said: " << line << "\n"
                             << read_file(log).value_or("");
    if (parsed.ok()) ready = *parsed;
    keep_ = std::move(read);
  }
  ~Program() {
    if (child_) child_->kill_and_wait(Seconds{5});
  }
  void kill9() {
    child_->signal(SIGKILL);
    child_->wait();
    child_.reset();
  }
  Json ready = Json::object();

 private:
  std::optional<ChildProcess> child_;
  Fd keep_;
};

enum class Server { kEmbedded, kReal };

class OperatorSystem : public ::testing::TestWithParam<Server> {
 protected:
  void SetUp() override {
    if (!fs::exists("/usr/bin/docker-registry")) GTEST_SKIP() << "docker-registry is not installed";
    if (GetParam() == Server::kReal) {
      real_ = kube::test::start_server();
      if (!real_->missing.empty()) GTEST_SKIP() << real_->missing;
      registry_ = std::make_unique<LocalRegistry>();
      kubeconfig_ = real_->kubeconfig;
      registry_url_ = registry_->url();
    } else {
      up_ = std::make_unique<Program>(
          std::vector<std::string>{program("standalone_up_host").string(), state().string(),
                                   "--registry", "--stop-pods"},
          dir_ / "up.log");
      kubeconfig_ = get_string(up_->ready, "kubeconfig");
      registry_url_ = get_string(up_->ready, "registry");
    }
    ASSERT_FALSE(kubeconfig_.empty());
    auto config = kube::load_config({kubeconfig_, {}, {}});
    ASSERT_TRUE(config.ok()) << config.error().to_string();
    auto client = kube::KubeClient::connect(*config);
    ASSERT_TRUE(client.ok()) << client.error().to_string();
    client_ = std::move(*client);
    if (GetParam() == Server::kReal) install();
  }
  void TearDown() override {
    operator_.reset();
    up_.reset();
    real_.reset();
  }
  // What `up` and the chart do for a new API server.
  void install() {
    for (std::string_view yaml :
         {crds::manifests(crds::Flavour::kPlain), crds::profiles(),
          std::string_view("apiVersion: v1\nkind: Namespace\nmetadata: {name: tango-system}\n")}) {
      auto documents = parse_yaml_stream(yaml);
      ASSERT_TRUE(documents.ok());
      for (const auto& d : *documents) {
        const std::string kind = get_string(d.value, "kind");
        const kube::KindInfo info = kind == "Namespace" ? kube::Namespace::kKind
                                    : kind == "TargetProfile"
                                        ? crds::TargetProfile::kKind
                                        : kube::CustomResourceDefinition::kKind;
        Result<Json> made = client_->apply(info, d.value);
        for (int i = 0; i < 100 && !made.ok(); ++i) {  // a new CRD is served after a moment
          system_clock().sleep_for(Millis{100});
          made = client_->apply(info, d.value);
        }
        ASSERT_TRUE(made.ok()) << made.error().to_string();
      }
    }
  }
  fs::path state() const { return dir_ / "state"; }
  std::string registry() const { return registry_url_; }

  void start_operator() {
    operator_ = std::make_unique<Program>(
        std::vector<std::string>{program("tango-operator").string(), "--kubeconfig", kubeconfig_,
                                 "--registry", registry(), "--keys", (state() / "keys").string(),
                                 "--state", (dir_ / "operator").string(), "--trainer-image",
                                 "tango.local/test:1", "--allow-host-path", "--no-leader-election"},
        dir_ / "operator.log");
  }
  void apply(std::string_view yaml) {
    auto documents = parse_yaml_stream(yaml);
    ASSERT_TRUE(documents.ok()) << documents.error().to_string();
    for (auto& d : *documents) {
      const std::string kind = get_string(d.value, "kind");
      const kube::KindInfo info = kind == "Secret"    ? kube::KubeSecret::kKind
                                  : kind == "Dataset" ? crds::Dataset::kKind
                                  : kind == "Device"  ? crds::Device::kKind
                                                      : crds::TangoProject::kKind;
      auto made = client_->apply(info, d.value);
      ASSERT_TRUE(made.ok()) << made.error().to_string();
    }
  }
  Json get_object(const kube::KindInfo& kind, const std::string& name) {
    auto object = client_->get(kind, "default", name);
    return object.ok() ? *object : Json::object();
  }
  std::string condition(const kube::KindInfo& kind, const std::string& name,
                        const std::string& type) {
    const Json object = get_object(kind, name);  // outlives the loop
    for (const Json& c : at_path(object, "status.conditions")) {
      if (get_string(c, "type") == type)
        return get_string(c, "status") + "/" + get_string(c, "reason") + ": " +
               get_string(c, "message");
    }
    return "absent";
  }
  // Waits until the condition begins with `expected`.
  void expect(const kube::KindInfo& kind, const std::string& name, const std::string& type,
              const std::string& expected) {
    std::string last;
    for (int i = 0; i < 250; ++i) {
      last = condition(kind, name, type);
      if (last.starts_with(expected)) return;
      system_clock().sleep_for(Millis{80});
    }
    ADD_FAILURE() << name << " " << type << " is " << last << ", not " << expected << "\n"
                  << read_file(dir_ / "operator.log").value_or("");
  }
  // As a Dataset stage would have pushed it.
  void push_dataset_result(const std::string& name, const std::string& folder) {
    const Json source{{"hostPath", {{"path", folder}}}};
    const auto hash = run::input_hash("Dataset", 1, Json{{"format", "Idx"}},
                                      {{"source", sha256(dump_json(source)).to_string()}});
    ASSERT_TRUE(hash.ok());
    const auto http = make_curl_client({});
    artifacts::RegistryOptions options;
    options.url = registry();
    options.repository = "tango/default/" + name;
    artifacts::RegistryClient client(*http, options);
    run::StageResult result;
    result.outputs["dataset"] = sha256("data").to_string();
    result.metrics = Json{{"digest", sha256("data").to_string()},
                          {"images", 10},
                          {"classCount", 2},
                          {"classes", {"a", "b"}},
                          {"format", "Idx"}};
    auto layer = client.push_blob(dump_json(run::encode(result)), "application/json");
    ASSERT_TRUE(layer.ok()) << layer.error().to_string();
    layer->annotations["org.opencontainers.image.title"] = "result.json";
    ASSERT_TRUE(
        client.push_artifact(artifacts::kRunArtifact, {*layer}, {}, run::result_tag(*hash)).ok());
  }
  std::string versions() {
    std::string out;
    for (const auto& kind :
         {crds::Dataset::kKind, crds::Device::kKind, crds::TangoProject::kKind}) {
      auto list = client_->list(kind);
      if (!list.ok()) continue;
      for (const Json& o : list->items)
        out += get_string(o["metadata"], "name") + "=" +
               get_string(o["metadata"], "resourceVersion") + " ";
    }
    return out;
  }
  Result<HttpResponse> rest(const std::string& path, const std::string& token) {
    HttpRequest r;
    r.url = get_string(operator_->ready, "api") + path;
    if (!token.empty()) r.headers.emplace("Authorization", "Bearer " + token);
    return make_curl_client({})->send(r);
  }

  TempDir dir_;
  std::string kubeconfig_, registry_url_;
  std::unique_ptr<kube::test::ServerEnvironment> real_;
  std::unique_ptr<LocalRegistry> registry_;
  std::unique_ptr<Program> up_, operator_;
  std::unique_ptr<kube::KubeClient> client_;
};

constexpr std::string_view kObjects = R"(
apiVersion: ml-tango.io/v1alpha1
kind: Dataset
metadata: {name: known, namespace: default}
spec: {source: {hostPath: {path: /known}}, format: Idx}
---
apiVersion: ml-tango.io/v1alpha1
kind: Dataset
metadata: {name: empty-handed, namespace: default}
spec: {source: {hostPath: {path: /tmp}}, format: Idx}
---
apiVersion: ml-tango.io/v1alpha1
kind: TangoProject
metadata: {name: p, namespace: default}
spec:
  task: Classification
  datasetRef: {name: known}
  targets:
  - {name: t, profileRef: {name: no-such-profile}, deviceSelector: {matchLabels: {site: x}}}
---
apiVersion: ml-tango.io/v1alpha1
kind: Device
metadata: {name: dev, namespace: default, labels: {site: x}}
spec:
  profileRef: {name: linux-x86}
  connection: {address: 127.0.0.1, port: 1}
  hostKey: {fingerprints: ["SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]}
  bootstrap: {credentialsRef: {name: boot}}
  provision: {mode: User}
)";

TEST_P(OperatorSystem, ObjectsInConditionsOutThroughRestarts) {
  push_dataset_result("known", "/known");
  start_operator();
  apply(kObjects);
  // A finished stage is found in the registry: no Job.
  expect(crds::Dataset::kKind, "known", "Ready", "True/Ready");
  auto jobs = client_->list(kube::Job::kKind, {.ns = "default"});
  ASSERT_TRUE(jobs.ok());
  for (const Json& job : jobs->items)
    EXPECT_EQ(get_string(job["metadata"], "name").find("known-"), std::string::npos);
  // A stage that ends well without a result is no success.
  if (GetParam() == Server::kEmbedded) {
    expect(crds::Dataset::kKind, "empty-handed", "Validated", "Unknown/ResultMissing");
  } else {
    // Nothing runs Jobs here: one was made, once, and the Dataset waits for it.
    expect(crds::Dataset::kKind, "empty-handed", "Ready", "False/Validating");
    jobs = client_->list(kube::Job::kKind, {.ns = "default"});
    ASSERT_TRUE(jobs.ok());
    EXPECT_EQ(jobs->items.size(), 1u);
  }
  expect(crds::TangoProject::kKind, "p", "BaseModelSelected", "False/ProfileNotFound");
  expect(crds::Device::kKind, "dev", "Ready", "False/SecretNotFound");
  apply(
      "apiVersion: v1\nkind: Secret\nmetadata: {name: boot, namespace: default}\ndata: "
      "{ssh-privatekey: AAAA}\n");
  expect(crds::Device::kKind, "dev", "Ready", "False/Offline");

  if (GetParam() == Server::kEmbedded) {
    const std::string token = read_file(state() / "admin.token").value_or("");
    ASSERT_FALSE(token.empty());
    auto refused = rest("/api/v1/fleet", "");
    ASSERT_TRUE(refused.ok()) << refused.error().to_string();
    EXPECT_EQ(refused->status, 401);
    auto fleet = rest("/api/v1/fleet", token.substr(0, token.find('\n')));
    ASSERT_TRUE(fleet.ok());
    EXPECT_EQ(fleet->status, 200) << fleet->body;
    EXPECT_NE(fleet->body.find("\"dev\""), std::string::npos);
  }

  operator_->kill9();
  start_operator();
  apply(
      "apiVersion: ml-tango.io/v1alpha1\nkind: Dataset\nmetadata: {name: later, namespace: "
      "default}\n"
      "spec: {source: {http: {url: \"http://x/\", sha256: \"" +
      sha256("x").to_string() + "\"}}}\n");
  expect(crds::Dataset::kKind, "later", "Accepted", "False/Unsupported");
  EXPECT_TRUE(condition(crds::Dataset::kKind, "known", "Ready").starts_with("True/Ready"));
}

TEST_P(OperatorSystem, WritesNothingWhenNothingChanges) {
  push_dataset_result("known", "/known");
  start_operator();
  apply(
      "apiVersion: ml-tango.io/v1alpha1\nkind: Dataset\nmetadata: {name: known, namespace: "
      "default}\n"
      "spec: {source: {hostPath: {path: /known}}, format: Idx}\n");
  expect(crds::Dataset::kKind, "known", "Ready", "True/Ready");
  system_clock().sleep_for(Millis{500});
  const std::string before = versions();
  operator_->kill9();
  start_operator();
  system_clock().sleep_for(Seconds{3});
  EXPECT_EQ(versions(), before);
}

INSTANTIATE_TEST_SUITE_P(Embedded, OperatorSystem, ::testing::Values(Server::kEmbedded));
INSTANTIATE_TEST_SUITE_P(RealKubeApiserver, OperatorSystem, ::testing::Values(Server::kReal));

}  // namespace
}  // namespace tango::op

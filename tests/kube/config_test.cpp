// Kubeconfig files: merging, paths, inline data, and errors that name file and line.
#include "lib/kube/config.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "lib/base/file.h"

namespace tango::kube {
namespace {

constexpr const char* kMain = R"(apiVersion: v1
kind: Config
current-context: main
clusters:
- name: one
  cluster:
    server: https://one.example:6443/
    certificate-authority: pki/ca.crt
    tls-server-name: api.internal
    proxy-url: socks5://127.0.0.1:1080
- name: open
  cluster: {server: "http://127.0.0.1:8080"}
users:
- name: alice
  user:
    client-certificate-data: Y2VydA==
    client-certificate: nowhere.crt
    client-key: pki/alice.key
- name: bob
  user: {tokenFile: secrets/token, token: old, as: carol, as-groups: [a, b]}
- name: legacy
  user: {auth-provider: {name: gcp}}
- name: plugin
  user: {exec: {command: aws, apiVersion: client.authentication.k8s.io/v1}}
- name: half
  user: {client-certificate-data: Y2VydA==}
contexts:
- name: main
  context: {cluster: one, user: alice, namespace: team}
- name: bob
  context: {cluster: open, user: bob}
- name: legacy
  context: {cluster: open, user: legacy}
- name: plugin
  context: {cluster: open, user: plugin}
- name: half
  context: {cluster: open, user: half}
- name: ghost
  context: {cluster: nowhere, user: alice}
)";

class Kubeconfig : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(make_dirs(dir_ / "pki").ok());
    ASSERT_TRUE(write_file_atomic(dir_ / "pki/ca.crt", "CA").ok());
    ASSERT_TRUE(write_file_atomic(dir_ / "pki/alice.key", "KEY").ok());
    for (const char* name : {"KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"})
      ::unsetenv(name);
    ::setenv("HOME", dir_.path().c_str(), 1);
  }
  std::string path(std::string_view name) { return (dir_ / name).string(); }
  Result<ClientConfig> parse(const std::string& context, const std::string& ns = "") {
    return parse_kubeconfig({{path("config"), kMain}}, {.context = context, .ns = ns});
  }
  TempDir dir_;
};

TEST_F(Kubeconfig, PathsAreRelativeToTheirFileAndInlineDataWins) {
  auto config = parse("");
  ASSERT_TRUE(config.ok()) << config.error().to_string();
  EXPECT_EQ(config->server, "https://one.example:6443");
  EXPECT_EQ(config->tls.ca_pem, "CA");
  EXPECT_EQ(config->tls.cert_pem, "cert");
  EXPECT_EQ(config->tls.key_pem.reveal(), "KEY");
  EXPECT_EQ(config->tls.server_name, "api.internal");
  EXPECT_EQ(config->proxy_url, "socks5://127.0.0.1:1080");
  EXPECT_EQ(config->ns, "team");
  EXPECT_EQ(config->context, "main");
}

TEST_F(Kubeconfig, ContextAndNamespaceCanBeOverridden) {
  auto config = parse("bob", "other");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->ns, "other");
  EXPECT_EQ(config->token_file, path("secrets/token"));
  EXPECT_EQ(config->impersonate.count("Impersonate-Group"), 2u);
  EXPECT_EQ(config->impersonate.find("Impersonate-User")->second, "carol");
}

TEST_F(Kubeconfig, FirstFileWinsForEachKey) {
  const std::string second = R"(
current-context: other
clusters:
- {name: open, cluster: {server: "http://wrong:1"}}
- {name: extra, cluster: {server: "http://extra:2"}}
contexts:
- {name: other, context: {cluster: extra}}
)";
  auto config =
      parse_kubeconfig({{path("config"), kMain}, {path("second"), second}}, {.context = "bob"});
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->server, "http://127.0.0.1:8080");
  auto other =
      parse_kubeconfig({{path("config"), kMain}, {path("second"), second}}, {.context = "other"});
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->server, "http://extra:2");
  auto current = parse_kubeconfig({{path("second"), second}, {path("config"), kMain}}, {});
  ASSERT_TRUE(current.ok());
  EXPECT_EQ(current->context, "other");
}

TEST_F(Kubeconfig, ErrorsSayWhatAndWhere) {
  auto unknown = parse("nope");
  EXPECT_EQ(unknown.error().reason, "UnknownContext");
  EXPECT_NE(unknown.error().message.find("bob, ghost"), std::string::npos)
      << unknown.error().message;
  auto ghost = parse("ghost");
  EXPECT_EQ(ghost.error().reason, "InvalidKubeconfig");
  EXPECT_NE(ghost.error().message.find(path("config") + ":"), std::string::npos)
      << ghost.error().message;
  EXPECT_EQ(parse("legacy").error().reason, "Unsupported");
  EXPECT_EQ(parse("plugin").error().reason, "Unsupported");
  EXPECT_EQ(parse("half").error().reason, "InvalidKubeconfig");
  auto broken = parse_kubeconfig({{"/x/config", "clusters: [oops"}}, {});
  EXPECT_EQ(broken.error().reason, "InvalidKubeconfig");
  EXPECT_NE(broken.error().message.find("/x/config"), std::string::npos);
  auto text = parse_kubeconfig({{"/x/config", "clusters: none\n"}}, {});
  EXPECT_EQ(text.error().reason, "InvalidKubeconfig");
}

TEST_F(Kubeconfig, InsecureWithCaIsRefused) {
  auto config = parse_kubeconfig({{path("config"), R"(
current-context: c
clusters: [{name: c, cluster: {server: "https://h", insecure-skip-tls-verify: true, certificate-authority-data: Q0E=}}]
contexts: [{name: c, context: {cluster: c}}]
)"}},
                                 {});
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.error().reason, "InvalidKubeconfig");
}

TEST_F(Kubeconfig, LookUpOrder) {
  EXPECT_EQ(load_config({}).error().reason, "KubeconfigNotFound");
  EXPECT_EQ(load_config({.kubeconfig = path("missing")}).error().reason, "KubeconfigNotFound");

  auto write = [&](const std::string& name, const std::string& server) {
    ASSERT_TRUE(make_dirs(fs::path(path(name)).parent_path()).ok());
    ASSERT_TRUE(write_file_atomic(path(name),
                                  "\xEF\xBB\xBF"
                                  "current-context: c\nclusters: [{name: c, cluster: {server: \"" +
                                      server +
                                      "\"}}]\ncontexts: [{name: c, context: {cluster: c}}]\n")
                    .ok());
  };
  write(".kube/config", "http://home");
  EXPECT_EQ(load_config({})->server, "http://home");

  ASSERT_TRUE(make_dirs(dir_ / "sa").ok());
  ASSERT_TRUE(write_file_atomic(dir_ / "sa/token", "t").ok());
  ASSERT_TRUE(write_file_atomic(dir_ / "sa/ca.crt", "CA").ok());
  ASSERT_TRUE(write_file_atomic(dir_ / "sa/namespace", "pods").ok());
  ::setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  ::setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  auto pod = load_config({.service_account_dir = path("sa")});
  ASSERT_TRUE(pod.ok()) << pod.error().to_string();
  EXPECT_EQ(pod->server, "https://[fd00::1]:443");
  EXPECT_EQ(pod->ns, "pods");
  EXPECT_EQ(pod->token_file, path("sa/token"));

  write("listed", "http://listed");
  ::setenv("KUBECONFIG", (path("missing") + ":" + path("listed")).c_str(), 1);
  EXPECT_EQ(load_config({.service_account_dir = path("sa")})->server, "http://listed");
  ::setenv("KUBECONFIG", path("missing").c_str(), 1);
  EXPECT_EQ(load_config({}).error().reason, "KubeconfigNotFound");
}

}  // namespace
}  // namespace tango::kube

// The client against Debian's docker-registry (a real CNCF distribution 2.8), and against a
// scripted HttpClient for what a healthy registry never does.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <deque>

#include "lib/artifacts/bundle_store.h"
#include "lib/artifacts/registry_client.h"
#include "lib/base/file.h"
#include "lib/base/subprocess.h"
#include "tests/artifacts/vectors.h"

namespace tango::artifacts {
namespace {

constexpr const char* kProgram = "/usr/bin/docker-registry";

int free_port() {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t len = sizeof a;
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&a), &len), 0);
  return ntohs(a.sin_port);
}

class RealRegistry : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kProgram)) GTEST_SKIP() << kProgram << " is not installed";
    http_ = make_curl_client({});
    port_ = free_port();
    std::string config =
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage:\n  filesystem: "
        "{rootdirectory: " +
        (dir_ / "data").string() +
        "}\n  delete: {enabled: true}\nhttp:\n  addr: 127.0.0.1:" + std::to_string(port_) + "\n";
    ASSERT_TRUE(write_file_atomic(dir_ / "conf.yml", config).ok());
    start();
  }
  void TearDown() override { stop(); }
  void start() {
    ProcessOptions options;
    options.argv = {kProgram, "serve", (dir_ / "conf.yml").string()};
    options.die_with_parent = true;
    options.clear_env = true;
    Fd quiet(
        ::open((dir_ / "registry.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    options.stdout_fd = quiet.get();
    options.stderr_fd = quiet.get();
    auto child = spawn(options);
    ASSERT_TRUE(child.ok()) << child.error().to_string();
    child_.emplace(std::move(*child));
    HttpRequest ping;
    ping.url = base() + "/v2/";
    for (int i = 0; i < 200; ++i) {
      auto r = http_->send(ping);
      if (r.ok() && r->status == 200) return;
      system_clock().sleep_for(Millis{50});
    }
    FAIL() << "docker-registry did not start";
  }
  void stop() {
    if (child_) child_->kill_and_wait(Seconds{2});
    child_.reset();
  }
  std::string base() const { return "http://127.0.0.1:" + std::to_string(port_); }
  RegistryClient client(std::uint64_t piece = 64u << 10) {
    RegistryOptions options;
    options.url = base();
    options.repository = "tango/default/demo";
    options.piece_bytes = piece;
    options.max_attempts = 2;
    options.max_retry_wait = Millis{100};
    return RegistryClient(*http_, options);
  }
  TempDir dir_;
  std::unique_ptr<HttpClient> http_;
  std::optional<ChildProcess> child_;
  int port_ = 0;
};

TEST_F(RealRegistry, BlobsOfAllSizesComeBackWhole) {
  RegistryClient registry = client();
  for (std::size_t size : {0u, 1u, 65'536u, 65'537u, 300'000u}) {
    std::string data = testing::vector_stream("blob", size);
    auto d = registry.push_blob(data, "application/octet-stream");
    ASSERT_TRUE(d.ok()) << size << " " << d.error().to_string();
    EXPECT_TRUE(*registry.has_blob(d->digest));
    EXPECT_EQ(*registry.pull_blob(*d), data);
    ASSERT_TRUE(registry.pull_blob_to(*d, dir_ / "out").ok());
    EXPECT_EQ(*read_file(dir_ / "out"), data);
    ASSERT_TRUE(write_file_atomic(dir_ / "in", data).ok());
    EXPECT_EQ(registry.push_file(dir_ / "in", "x/y")->digest, d->digest);
  }
  EXPECT_FALSE(*registry.has_blob(sha256("never pushed")));
}

TEST_F(RealRegistry, FilesArePushedInPieces) {
  RegistryClient registry = client();
  std::string data = testing::vector_stream("file", 500'000);
  ASSERT_TRUE(write_file_atomic(dir_ / "in", data).ok());
  auto d = registry.push_file(dir_ / "in", "x/y");
  ASSERT_TRUE(d.ok()) << d.error().to_string();
  EXPECT_EQ(*registry.pull_blob(*d), data);
}

TEST_F(RealRegistry, ABundleIsPushedOnceAndPulledWithItsSignature) {
  fs::path tree = dir_ / "tree";
  ASSERT_TRUE(make_dirs(tree / "bin").ok());
  ASSERT_TRUE(write_file_atomic(tree / "bin/run", "#!/bin/false\n", 0755).ok());
  ASSERT_TRUE(write_file_atomic(tree / "model", testing::vector_stream("m", 400'000)).ok());
  ASSERT_TRUE(write_file_atomic(tree / "copy", testing::vector_stream("m", 400'000)).ok());
  ASSERT_TRUE(write_file_atomic(tree / "empty", "").ok());
  BundleSpec spec;
  spec.id = "default/demo";
  spec.entry = {{"bin/run"}, "none", ""};
  auto bundle = build_bundle(tree, spec);
  ASSERT_TRUE(bundle.ok()) << bundle.error().to_string();
  RegistryClient registry = client();
  auto digest = push_bundle(registry, *bundle, "v1");
  ASSERT_TRUE(digest.ok()) << digest.error().to_string();
  EXPECT_EQ(*push_bundle(registry, *bundle), *digest);
  EXPECT_EQ(*registry.resolve("v1"), *digest);
  EXPECT_EQ(registry.get_manifest("v1")->layers.size(), 4u);
  EXPECT_EQ(*pull_bundle_index(registry, digest->to_string()), bundle->index_bytes);

  EXPECT_EQ(pull_bundle_signature(registry, *digest, bundle->index_bytes).error().reason,
            "NotFound");
  for (int i = 0; i < 2; ++i) {
    Envelope e = sign_document(bundle->index_bytes, kIndexType, SigningKey::generate());
    auto pushed = push_bundle_signature(registry, *digest, e);
    ASSERT_TRUE(pushed.ok()) << pushed.error().to_string();
  }
  Envelope other = sign_document("other bytes", kIndexType, SigningKey::generate());
  ASSERT_TRUE(push_bundle_signature(registry, *digest, other).ok());
  auto merged = pull_bundle_signature(registry, *digest, bundle->index_bytes);
  ASSERT_TRUE(merged.ok()) << merged.error().to_string();
  EXPECT_EQ(merged->signatures.size(), 2u);

  auto pulled = pull_bundle(registry, "v1", dir_ / "cache");
  ASSERT_TRUE(pulled.ok()) << pulled.error().to_string();
  ASSERT_TRUE(unpack_bundle(*pulled, dir_ / "again").ok());
  EXPECT_EQ(build_bundle(dir_ / "again", spec)->index_bytes, bundle->index_bytes);
  // A spoilt cache entry is fetched again.
  fs::path cached = dir_ / "cache" / sha256(testing::vector_stream("m", 400'000)).hex();
  ASSERT_TRUE(write_file_atomic(cached, testing::vector_stream("x", 400'000)).ok());
  ASSERT_TRUE(pull_bundle(registry, "v1", dir_ / "cache").ok());
  EXPECT_EQ(*read_file(cached), testing::vector_stream("m", 400'000));
}

TEST_F(RealRegistry, BlobsSpoiltOnItsDiskAreNoticed) {
  RegistryClient registry = client();
  std::string data = testing::vector_stream("spoil", 200'000);
  auto d = registry.push_blob(data, "x/y");
  ASSERT_TRUE(d.ok());
  for (const auto& e : fs::recursive_directory_iterator(dir_ / "data")) {
    if (e.path().filename() == "data" &&
        e.path().parent_path().filename().string() == d->digest.hex()) {
      data[100] = static_cast<char>(data[100] ^ 1);
      ASSERT_TRUE(write_file_atomic(e.path(), data).ok());
    }
  }
  EXPECT_EQ(registry.pull_blob(*d).error().reason, "DigestMismatch");
  EXPECT_EQ(registry.pull_blob_to(*d, dir_ / "out").error().reason, "DigestMismatch");
  EXPECT_FALSE(fs::exists(dir_ / "out"));
}

TEST_F(RealRegistry, ManifestsAreRemovedAndMissingOnesAreNotFound) {
  RegistryClient registry = client();
  auto layer = registry.push_blob("hello", "text/plain");
  auto digest = registry.push_artifact(kRunArtifact, {*layer}, {{"a", "b"}}, "result-1");
  ASSERT_TRUE(digest.ok()) << digest.error().to_string();
  EXPECT_EQ(registry.get_manifest("result-1")->artifact_type, kRunArtifact);
  ASSERT_TRUE(registry.remove_manifest(*digest).ok());
  EXPECT_EQ(registry.resolve("result-1").error().reason, "NotFound");
  EXPECT_EQ(registry.get_manifest(sha256("no").to_string()).error().reason, "NotFound");
  EXPECT_TRUE(registry.referrers(*digest)->empty());
}

TEST_F(RealRegistry, ADownRegistryIsUnavailableAndComesBack) {
  RegistryClient registry = client();
  stop();
  auto down = registry.push_blob("x", "text/plain");
  ASSERT_FALSE(down.ok());
  EXPECT_EQ(down.error().reason, "RegistryUnavailable");
  EXPECT_EQ(down.error().code, Code::kUnavailable);
  start();
  EXPECT_TRUE(registry.push_blob("x", "text/plain").ok());
}

class ScriptedHttp : public HttpClient {
 public:
  Result<HttpResponse> send(const HttpRequest& request) override {
    seen.push_back(request);
    if (script.empty()) return make_error(Code::kUnavailable, "ConnectFailed", "no more answers");
    auto r = script.front();
    script.pop_front();
    return r;
  }
  std::uint64_t stream(const HttpRequest&, StreamCallbacks) override { return 0; }
  void cancel(std::uint64_t) override {}
  void answer(int status, std::string body = {}, HttpHeaders headers = {}) {
    script.push_back(HttpResponse{status, std::move(headers), std::move(body)});
  }
  std::deque<Result<HttpResponse>> script;
  std::vector<HttpRequest> seen;
};

class Scripted : public ::testing::Test {
 protected:
  RegistryClient client() {
    RegistryOptions options;
    options.url = "https://registry.example/";
    options.repository = "a/b";
    options.token = Secret<std::string>("token");
    options.clock = &clock_;
    options.piece_bytes = 4;
    return RegistryClient(http_, options);
  }
  ScriptedHttp http_;
  FakeClock clock_;
};

TEST_F(Scripted, IdempotentRequestsAreRepeatedAndRetryAfterIsHonoured) {
  http_.answer(429, "", {{"Retry-After", "7"}});
  http_.answer(503);
  http_.answer(200, "hello");
  Nanos before = clock_.monotonic();
  auto blob = client().pull_blob(Descriptor{"", sha256("hello"), 5, {}, {}});
  ASSERT_TRUE(blob.ok());
  EXPECT_GE(clock_.monotonic() - before, Seconds{7});
  EXPECT_EQ(http_.seen.size(), 3u);
  EXPECT_EQ(header(http_.seen[0].headers, "authorization"), "Bearer token");
}

TEST_F(Scripted, RefusalsAreNotRepeated) {
  http_.answer(401, R"({"errors":[{"code":"UNAUTHORIZED","message":"no"}]})");
  auto blob = client().has_blob(sha256("x"));
  EXPECT_EQ(blob.error().reason, "RegistryDenied");
  EXPECT_EQ(http_.seen.size(), 1u);
}

TEST_F(Scripted, ABrokenPieceContinuesWhereTheRegistryStands) {
  http_.answer(404);                                                  // HEAD
  http_.answer(202, "", {{"Location", "/v2/a/b/blobs/uploads/u1"}});  // POST
  http_.answer(202, "", {{"Location", "/v2/a/b/blobs/uploads/u1?s=1"}});
  http_.script.push_back(make_error(Code::kUnavailable, "ConnectionLost", "cut"));
  http_.answer(204, "", {{"Range", "0-5"}});  // it took half of the second piece
  http_.answer(201);                          // PUT of what is left
  auto d = client().push_blob("0123456789", "x/y");
  ASSERT_TRUE(d.ok()) << d.error().to_string();
  ASSERT_EQ(http_.seen.size(), 6u);
  EXPECT_EQ(header(http_.seen[2].headers, "Content-Range"), "0-3");
  EXPECT_EQ(http_.seen[5].body, "6789");
  EXPECT_EQ(
      http_.seen[5].url.rfind("https://registry.example/v2/a/b/blobs/uploads/u1?s=1&digest=", 0),
      0u);
}

TEST_F(Scripted, CredentialsStayWithTheirRegistry) {
  http_.answer(404);
  http_.answer(202, "", {{"Location", "https://storage.example/up"}});
  http_.answer(201);
  ASSERT_TRUE(client().push_blob("abc", "x/y").ok());
  EXPECT_EQ(http_.seen[2].url.rfind("https://storage.example/up?digest=sha256", 0), 0u);
  EXPECT_EQ(header(http_.seen[2].headers, "Authorization"), "");
}

TEST_F(Scripted, WithTheReferrersApiNoFallbackTagIsWritten) {
  http_.answer(200);                         // HEAD of the empty config
  http_.answer(201);                         // PUT manifest
  http_.answer(200, R"({"manifests":[]})");  // referrers API
  Descriptor subject{std::string(kOciManifestType), sha256("s"), 1, {}, {}};
  ASSERT_TRUE(client().push_artifact(kSignatureArtifact, {}, {}, {}, subject).ok());
  EXPECT_EQ(http_.seen.size(), 3u);
}

TEST(ManifestFormat, RoundTripsAndRefusesNonsense) {
  Manifest m;
  m.artifact_type = kRunArtifact;
  m.layers.push_back(
      Descriptor{"a/b", sha256("x"), 1, {}, {{"org.opencontainers.image.title", "t"}}});
  m.subject = m.layers[0];
  auto again = parse_manifest(encode_manifest(m));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(encode_manifest(*again), encode_manifest(m));
  EXPECT_NE(again->layer_titled("t"), nullptr);
  EXPECT_EQ(again->layer_titled("u"), nullptr);
  EXPECT_FALSE(parse_manifest("{}").ok());
  EXPECT_FALSE(parse_manifest(R"({"schemaVersion":2,"layers":[{}]})").ok());
  EXPECT_FALSE(parse_manifest(R"({"schemaVersion":2,"layers":5})").ok());
}

}  // namespace
}  // namespace tango::artifacts

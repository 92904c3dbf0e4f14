// Client and runtime against a server that this room did not write: errors by reason, paging,
// patches, watches, and a whole manager with its controller.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <set>
#include <sstream>
#include <thread>

#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/kube/leader_elector.h"
#include "lib/kube/reflector.h"
#include "lib/kube/request.h"
#include "tests/kube/server_environment.h"
#include "tests/kube/widget.h"

namespace tango::kube {
namespace {

using test::widget;

Json crd() {
  const Json object = {{"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}};
  return {{"apiVersion", "apiextensions.k8s.io/v1"},
          {"kind", "CustomResourceDefinition"},
          {"metadata", {{"name", "widgets.test.ml-tango.io"}}},
          {"spec",
           {{"group", "test.ml-tango.io"},
            {"scope", "Namespaced"},
            {"names",
             {{"plural", "widgets"},
              {"singular", "widget"},
              {"kind", "Widget"},
              {"listKind", "WidgetList"}}},
            {"versions",
             {{{"name", "v1"},
               {"served", true},
               {"storage", true},
               {"subresources", {{"status", Json::object()}}},
               {"schema",
                {{"openAPIV3Schema",
                  {{"type", "object"},
                   {"properties",
                    {{"spec",
                      {{"type", "object"},
                       {"properties", {{"size", {{"type", "integer"}, {"minimum", 0}}}}}}},
                     {"status", object}}}}}}}}}}}}};
}

class Server : public testing::Test {
 protected:
  static void SetUpTestSuite() { environment_ = test::start_server().release(); }
  static void TearDownTestSuite() {
    delete environment_;
    environment_ = nullptr;
  }
  void SetUp() override {
    if (!environment_->missing.empty()) GTEST_SKIP() << environment_->missing;
    client_ = connect();
    ns_ = "t" + random_suffix(system_random(), 8);
    auto made = client_->create(
        Namespace::kKind,
        {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", ns_}}}});
    ASSERT_TRUE(made.ok()) << made.error().to_string();
  }
  static std::unique_ptr<KubeClient> connect() {
    auto client = KubeClient::connect(environment_->config);
    EXPECT_TRUE(client.ok());
    return std::move(client).value();
  }
  Json config_map(const std::string& name, const std::string& value = "1") {
    return {{"apiVersion", "v1"},
            {"kind", "ConfigMap"},
            {"metadata", {{"name", name}, {"namespace", ns_}}},
            {"data", {{"k", value}}}};
  }
  void install_widgets() {
    auto applied = client_->apply(CustomResourceDefinition::kKind, crd());
    ASSERT_TRUE(applied.ok()) << applied.error().to_string();
    ASSERT_TRUE(eventually([&] {
      auto live = client_->get(CustomResourceDefinition::kKind, "", "widgets.test.ml-tango.io");
      if (!live.ok()) return false;
      auto typed = Codec<CustomResourceDefinition>::parse(dump_json(*live));
      // Established comes a moment before the paths are served.
      return typed.ok() && typed->established() && client_->list(Widget::kKind, {.ns = ns_}).ok();
    }));
  }
  template <typename F>
  static bool eventually(F condition, Nanos limit = Seconds{20}) {
    const Nanos end = system_clock().monotonic() + limit;
    while (system_clock().monotonic() < end) {
      if (condition()) return true;
      std::this_thread::sleep_for(Millis{20});
    }
    return false;
  }

  static test::ServerEnvironment* environment_;
  std::unique_ptr<KubeClient> client_;
  std::string ns_;
};
test::ServerEnvironment* Server::environment_ = nullptr;

TEST_F(Server, ErrorsCarryTheServersReason) {
  EXPECT_EQ(client_->get(ConfigMap::kKind, ns_, "none").error().reason, "NotFound");
  auto made = client_->create(ConfigMap::kKind, config_map("a"));
  ASSERT_TRUE(made.ok()) << made.error().to_string();
  auto again = client_->create(ConfigMap::kKind, config_map("a"));
  EXPECT_EQ(again.error().reason, "AlreadyExists");
  EXPECT_EQ(again.error().code, Code::kExists);

  Json changed = *made;
  changed["data"]["k"] = "2";
  ASSERT_TRUE(client_->update(ConfigMap::kKind, changed).ok());
  auto lost = client_->update(ConfigMap::kKind, changed);
  EXPECT_EQ(lost.error().reason, "Conflict");
  EXPECT_EQ(lost.error().code, Code::kConflict);

  auto invalid = client_->create(ConfigMap::kKind, config_map("Not_A_Name"));
  EXPECT_EQ(invalid.error().reason, "Invalid");
  EXPECT_NE(invalid.error().message.find("metadata.name"), std::string::npos)
      << invalid.error().message;
}

TEST_F(Server, DeletionHasPreconditions) {
  auto made = client_->create(ConfigMap::kKind, config_map("a"));
  ASSERT_TRUE(made.ok());
  const ObjectMeta meta = parse_object_meta((*made)["metadata"]);
  EXPECT_EQ(client_->remove(ConfigMap::kKind, ns_, "a", {.uid = "another"}).error().reason,
            "Conflict");
  EXPECT_EQ(client_->remove(ConfigMap::kKind, ns_, "a", {.uid = meta.uid, .resource_version = "1"})
                .error()
                .reason,
            "Conflict");
  EXPECT_TRUE(client_
                  ->remove(ConfigMap::kKind, ns_, "a",
                           {.uid = meta.uid, .resource_version = meta.resource_version})
                  .ok());
  EXPECT_EQ(client_->remove(ConfigMap::kKind, ns_, "a").error().reason, "NotFound");
}

TEST_F(Server, PatchesAndServerSideApply) {
  ASSERT_TRUE(client_->create(ConfigMap::kKind, config_map("a")).ok());
  auto merged = client_->patch(ConfigMap::kKind, ns_, "a", PatchType::kMerge,
                               {{"data", {{"k", nullptr}, {"m", "1"}}}});
  ASSERT_TRUE(merged.ok()) << merged.error().to_string();
  EXPECT_EQ((*merged)["data"], (Json{{"m", "1"}}));
  auto json = client_->patch(ConfigMap::kKind, ns_, "a", PatchType::kJson,
                             Json::array({{{"op", "add"}, {"path", "/data/j"}, {"value", "2"}}}));
  ASSERT_TRUE(json.ok()) << json.error().to_string();
  auto strategic =
      client_->patch(ConfigMap::kKind, ns_, "a", PatchType::kStrategic, {{"data", {{"s", "3"}}}});
  ASSERT_TRUE(strategic.ok()) << strategic.error().to_string();
  EXPECT_EQ((*strategic)["data"].size(), 3u);

  WriteOptions one{.field_manager = "one", .force = false},
      two{.field_manager = "two", .force = false};
  ASSERT_TRUE(client_->apply(ConfigMap::kKind, config_map("b", "1"), one).ok());
  auto conflict = client_->apply(ConfigMap::kKind, config_map("b", "2"), two);
  EXPECT_EQ(conflict.error().reason, "Conflict");
  two.force = true;
  auto forced = client_->apply(ConfigMap::kKind, config_map("b", "2"), two);
  ASSERT_TRUE(forced.ok());
  auto same = client_->apply(ConfigMap::kKind, config_map("b", "2"), two);
  ASSERT_TRUE(same.ok());
  EXPECT_EQ((*same)["metadata"]["resourceVersion"], (*forced)["metadata"]["resourceVersion"])
      << "nothing changed";
  // What a manager no longer applies is taken away.
  Json less = config_map("b", "2");
  less["data"] = {{"other", "1"}};
  auto taken = client_->apply(ConfigMap::kKind, less, two);
  ASSERT_TRUE(taken.ok());
  EXPECT_EQ((*taken)["data"], (Json{{"other", "1"}}));
}

TEST_F(Server, ListsInPages) {
  for (int i = 0; i < 7; ++i)
    ASSERT_TRUE(client_->create(ConfigMap::kKind, config_map("m" + std::to_string(i))).ok());
  auto all = client_->list(ConfigMap::kKind, {.ns = ns_, .limit = 3});
  ASSERT_TRUE(all.ok()) << all.error().to_string();
  std::set<std::string> names;
  for (const Json& item : all->items) names.insert(get_string(item["metadata"], "name"));
  for (int i = 0; i < 7; ++i) EXPECT_TRUE(names.contains("m" + std::to_string(i)));
  EXPECT_FALSE(all->resource_version.empty());
}

TEST_F(Server, ReflectorFollowsTheServer) {
  for (int i = 0; i < 5; ++i)
    ASSERT_TRUE(client_->create(ConfigMap::kKind, config_map("m" + std::to_string(i))).ok());
  Store store(erased_kind<ConfigMap>());
  std::atomic<int> changes = 0;
  ReflectorOptions options;
  options.ns = ns_;
  options.watch.page_size = 2;
  Reflector reflector(*client_, store, options, system_clock(), system_random(),
                      [&](const Change&) { ++changes; });
  ASSERT_TRUE(eventually([&] { return store.synced(); }));
  const std::size_t base = store.size();
  EXPECT_GE(base, 5u);
  auto made = client_->create(ConfigMap::kKind, config_map("new"));
  ASSERT_TRUE(made.ok());
  const std::string version = get_string((*made)["metadata"], "resourceVersion");
  ASSERT_TRUE(eventually([&] { return store.reached(version); }));
  ASSERT_TRUE(store.get({ns_, "new"}));
  ASSERT_TRUE(
      client_->patch(ConfigMap::kKind, ns_, "new", PatchType::kMerge, {{"data", {{"k", "9"}}}})
          .ok());
  ASSERT_TRUE(client_->remove(ConfigMap::kKind, ns_, "m0").ok());
  EXPECT_TRUE(eventually([&] { return !store.get({ns_, "m0"}); }));
  EXPECT_EQ(static_cast<const ConfigMap*>(store.get({ns_, "new"})->object.get())->data.at("k"),
            "9");
  EXPECT_EQ(store.size(), base);
}

TEST_F(Server, AnOldVersionIsServedOrExpires) {
  auto response = client_->raw("GET", watch_target(ConfigMap::kKind, {.ns = ns_}, "1", 2));
  ASSERT_TRUE(response.ok()) << response.error().to_string();
  if (response->status == 200) {
    // Told inside the stream, or still known: then the history comes, if there is any.
    if (response->body.empty()) return;
    auto frame = parse_frame(std::string_view(response->body).substr(0, response->body.find('\n')));
    ASSERT_TRUE(frame.ok()) << response->body;
    if (frame->type == FrameType::kError) {
      EXPECT_EQ(error_from_response(200, frame->object, "").reason, "Expired");
    }
  } else {
    EXPECT_EQ(error_from_response(response->status, response->body, "").reason, "Expired");
  }
}

// Connections of this machine to the server's port that are established.
int connections_to(const std::string& server) {
  char port[8];
  std::snprintf(port, sizeof port, ":%04X",
                std::atoi(server.substr(server.rfind(':') + 1).c_str()));
  std::istringstream table(read_file("/proc/self/net/tcp").value_or(""));
  int count = 0;
  std::string line;
  while (std::getline(table, line)) {
    std::istringstream fields(line);
    std::string number, local, remote, state;
    fields >> number >> local >> remote >> state;
    count += remote.ends_with(port) && state == "01";
  }
  return count;
}

TEST_F(Server, TenWatchesShareAConnectionWhereTheServerSpeaksHttp2) {
  if (!environment_->config.server.starts_with("https"))
    GTEST_SKIP() << "the embedded server speaks HTTP/1.1 here";
  const int before = connections_to(environment_->config.server);
  auto client = connect();
  ASSERT_TRUE(client->get(Namespace::kKind, "", "default").ok());
  std::atomic<int> heads = 0, ends = 0;
  std::vector<std::uint64_t> watches;
  for (int i = 0; i < 10; ++i) {
    StreamCallbacks callbacks;
    callbacks.on_head = [&](int status, const HttpHeaders&) { heads += status == 200; };
    callbacks.on_end = [&](const Status&) { ++ends; };
    watches.push_back(
        client->stream(watch_target(ConfigMap::kKind, {.ns = ns_}, "", 60), std::move(callbacks)));
  }
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(client->get(Namespace::kKind, "", "default").ok());
  EXPECT_TRUE(eventually([&] { return heads == 10; }));
  EXPECT_LE(connections_to(environment_->config.server) - before, 2);
  for (const auto id : watches) client->cancel(id);
  EXPECT_TRUE(eventually([&] { return ends == 10; }));
}

// --- a whole manager ---------------------------------------------------------------------------

class Polisher : public Executor {
 public:
  std::string_view name() const override { return "polisher"; }
  void start(const Work&, Callbacks callbacks) override {
    ++started;
    callbacks.done(Json::object());
  }
  void cancel(std::string_view) override {}
  static std::atomic<int> started;
};
std::atomic<int> Polisher::started = 0;

class RunningManager {
 public:
  RunningManager(std::unique_ptr<KubeClient> client, const std::string& ns,
                 MetricsRegistry& metrics, std::string identity,
                 LeaderElectionOptions election = {}) {
    ManagerOptions options;
    options.namespaces = {ns};
    options.metrics = &metrics;
    options.election = std::move(election);
    options.election.ns = ns;
    options.election.identity = std::move(identity);
    manager = Manager::create(std::move(client), options);
    manager->add(test::widget_controller());
    manager->add_executor(std::make_unique<Polisher>());
    thread = std::thread([this] { result = manager->run(); });
  }
  ~RunningManager() { stop(); }
  void stop() {
    manager->stop();
    if (thread.joinable()) thread.join();
  }
  std::unique_ptr<Manager> manager;
  Status result = ok_status();
  std::thread thread;
};

TEST_F(Server, ManagerBringsAWidgetToItsEndAndRests) {
  install_widgets();
  MetricsRegistry metrics;
  Polisher::started = 0;
  RunningManager running(connect(), ns_, metrics, "one");
  ASSERT_TRUE(eventually([&] { return running.manager->ready(); }));
  EXPECT_GE(running.manager->fleet_epoch(), 1);
  ASSERT_TRUE(client_->create(Widget::kKind, widget(ns_, "w", 3)).ok());

  auto ready = [&](std::int64_t size) {
    auto live = client_->get(Widget::kKind, ns_, "w");
    if (!live.ok()) return false;
    const Json& conditions = at_path(*live, "status.conditions");
    return conditions.is_array() && !conditions.empty() &&
           get_string(conditions[0], "status") == "True" &&
           get_int(get(*live, "status"), "ready") == size &&
           get_int(conditions[0], "observedGeneration") ==
               get_int((*live)["metadata"], "generation");
  };
  ASSERT_TRUE(eventually([&] { return ready(3); }));
  EXPECT_EQ(Polisher::started, 1);
  EXPECT_EQ((*client_->get(Widget::kKind, ns_, "w"))["metadata"]["finalizers"],
            Json::array({test::kFinalizer}));

  ASSERT_TRUE(
      client_->patch(Widget::kKind, ns_, "w", PatchType::kMerge, {{"spec", {{"size", 1}}}}).ok());
  ASSERT_TRUE(
      eventually([&] { return ready(1) && !client_->get(ConfigMap::kKind, ns_, "w-2").ok(); }));
  EXPECT_TRUE(client_->get(ConfigMap::kKind, ns_, "w-once").ok());

  // Drift is corrected.
  ASSERT_TRUE(
      client_
          ->patch(ConfigMap::kKind, ns_, "w-0", PatchType::kMerge, {{"data", {{"value", "drift"}}}})
          .ok());
  ASSERT_TRUE(eventually(
      [&] { return (*client_->get(ConfigMap::kKind, ns_, "w-0"))["data"]["value"] == "size 1"; }));

  // Events tell of the change of the condition.
  EXPECT_TRUE(eventually([&] {
    auto events =
        client_->list(Event::kKind, {.ns = ns_, .field_selector = "involvedObject.name=w"});
    if (!events.ok()) return false;
    for (const Json& event : events->items) {
      if (get_string(event, "reason") == "AllThere" && get_string(event, "type") == "Normal")
        return true;
    }
    return false;
  }));

  // At rest: a touch of the object is looked at and leads to no write.
  std::this_thread::sleep_for(Millis{300});
  auto writes = [&] {
    double sum = 0;
    const std::string host =
        environment_->config.server.substr(environment_->config.server.find("//") + 2);
    for (const char* method : {"POST", "PUT", "PATCH", "DELETE"}) {
      for (const char* code : {"200", "201", "409"}) {
        sum += default_metrics().value("rest_client_requests_total",
                                       {{"code", code}, {"method", method}, {"host", host}});
      }
    }
    return sum;
  };
  auto reconciles = [&] {
    return metrics.value("controller_runtime_reconcile_total",
                         {{"controller", "widget"}, {"result", "success"}});
  };
  const double seen = reconciles();
  ASSERT_TRUE(client_
                  ->patch(Widget::kKind, ns_, "w", PatchType::kMerge,
                          {{"metadata", {{"labels", {{"touched", "1"}}}}}})
                  .ok());
  const double before = writes();
  ASSERT_TRUE(eventually([&] { return reconciles() > seen; }));
  std::this_thread::sleep_for(Millis{300});
  EXPECT_LE(writes() - before, 1) << "at most the renewal of the lease";

  ASSERT_TRUE(client_->remove(Widget::kKind, ns_, "w").ok());
  EXPECT_TRUE(eventually([&] { return !client_->get(Widget::kKind, ns_, "w").ok(); }))
      << "the finalizer is released";
  running.stop();
  EXPECT_TRUE(running.result.ok()) << running.result.error().to_string();
  EXPECT_EQ((*client_->get(Lease::kKind, ns_, "tango-operator"))["spec"]["holderIdentity"], "")
      << "released on stop";
}

TEST_F(Server, SecondManagerTakesOverWithAHigherEpoch) {
  install_widgets();
  MetricsRegistry metrics;
  LeaderElectionOptions fast{.lease = Seconds{6}, .renew = Seconds{4}, .retry = Millis{200}};
  RunningManager first(connect(), ns_, metrics, "first", fast);
  ASSERT_TRUE(eventually([&] { return first.manager->leader(); }));
  const auto epoch = first.manager->fleet_epoch();
  RunningManager second(connect(), ns_, metrics, "second", fast);
  std::this_thread::sleep_for(Millis{600});
  EXPECT_FALSE(second.manager->leader());
  EXPECT_FALSE(second.manager->ready());
  auto raised = first.manager->raise_fleet_epoch(epoch + 10);
  ASSERT_TRUE(raised.ok()) << raised.error().to_string();
  EXPECT_EQ(*raised, epoch + 11);
  first.stop();
  ASSERT_TRUE(eventually([&] { return second.manager->leader(); }));
  EXPECT_GT(second.manager->fleet_epoch(), *raised);

  // A thief takes the lease: the leader notices, stops, and says so.
  auto lease = client_->get(Lease::kKind, ns_, "tango-operator");
  ASSERT_TRUE(lease.ok());
  ASSERT_TRUE(eventually([&] {
    lease = client_->get(Lease::kKind, ns_, "tango-operator");
    (*lease)["spec"]["holderIdentity"] = "thief";
    return client_->update(Lease::kKind, *lease).ok();
  }));
  ASSERT_TRUE(eventually([&] { return !second.manager->leader(); }));
  second.thread.join();
  ASSERT_FALSE(second.result.ok());
  EXPECT_EQ(second.result.error().reason, "LeadershipLost");
}

struct Nowhere {
  static constexpr KindInfo kKind{"nowhere.ml-tango.io", "v1", "Nowhere", "nowheres", true};
};

TEST_F(Server, CachesThatNeverFillAreAnError) {
  ManagerOptions options;
  options.namespaces = {ns_};
  options.election.enabled = false;
  options.cache_sync_timeout = Seconds{1};
  MetricsRegistry metrics;
  options.metrics = &metrics;
  auto manager = Manager::create(connect(), options);
  manager->cache(ErasedKind{
      Nowhere::kKind, typeid(Nowhere),
      [](std::string_view) -> Result<std::pair<ObjectMeta, std::shared_ptr<const void>>> {
        return make_error(Code::kInvalid, "Never", "never");
      }});
  const Status result = manager->run();
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().reason, "CacheSyncTimeout");
  EXPECT_NE(result.error().message.find("nowheres"), std::string::npos);
}

}  // namespace
}  // namespace tango::kube

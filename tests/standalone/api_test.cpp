// The embedded API server as a client sees it, called in-process on a real store.
#include "tests/standalone/api_fixture.h"

namespace tango::standalone {
namespace {

std::string rv(const Json& o) { return get_string(get(o, "metadata"), "resourceVersion"); }

TEST_F(ApiTest, CreateReadReplaceDelete) {
  auto made = call("POST", kMaps, config_map("a"));
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_FALSE(get_string(made.body["metadata"], "uid").empty());
  EXPECT_EQ(call("POST", kMaps, config_map("a")).reason(), "AlreadyExists");
  std::string one = std::string(kMaps) + "/a";
  Json object = call("GET", one).body;
  object["data"]["k"] = "w";
  auto replaced = call("PUT", one, object);
  ASSERT_EQ(replaced.status, 200);
  EXPECT_NE(rv(replaced.body), rv(made.body));
  // The old version is refused by reason Conflict, and nothing changes.
  auto stale = call("PUT", one, object);
  EXPECT_EQ(stale.status, 409);
  EXPECT_EQ(stale.reason(), "Conflict");
  // A write that changes nothing keeps the version.
  EXPECT_EQ(rv(call("PUT", one, replaced.body).body), rv(replaced.body));
  EXPECT_EQ(call("DELETE", one).body["status"], "Success");
  EXPECT_EQ(call("GET", one).reason(), "NotFound");
}

TEST_F(ApiTest, GenerateNameAndBadNames) {
  Json o = config_map("");
  o["metadata"] = {{"generateName", "run-"}};
  auto made = call("POST", kMaps, o);
  ASSERT_EQ(made.status, 201);
  EXPECT_EQ(get_string(made.body["metadata"], "name").size(), 9u);
  EXPECT_EQ(call("POST", kMaps, config_map("Bad_Name")).status, 422);
  EXPECT_EQ(call("POST", kMaps, config_map("ok", {{"x", "not ok!"}})).status, 422);
  EXPECT_EQ(call("POST", "/api/v1/namespaces/none/configmaps", config_map("a")).status, 404);
  EXPECT_EQ(call("POST", kMaps, {{"kind", "Pod"}}).status, 400);
  EXPECT_EQ(raw("POST", kMaps, "{").response.status, 400);
  EXPECT_EQ(raw("POST", kMaps, "x", "application/vnd.kubernetes.protobuf").response.status, 415);
}

TEST_F(ApiTest, PreconditionsOfDelete) {
  auto made = call("POST", kMaps, config_map("a"));
  std::string one = std::string(kMaps) + "/a";
  EXPECT_EQ(call("DELETE", one, {{"preconditions", {{"uid", "other"}}}}).status, 409);
  EXPECT_EQ(call("DELETE", one, {{"preconditions", {{"resourceVersion", "1"}}}}).status, 409);
  EXPECT_EQ(call("DELETE", one, {{"propagationPolicy", "Sometimes"}}).status, 422);
  EXPECT_EQ(
      call("DELETE", one, {{"preconditions", {{"uid", made.body["metadata"]["uid"]}}}}).status,
      200);
}

TEST_F(ApiTest, FinalizersHoldADeletedObject) {
  Json o = config_map("a");
  o["metadata"]["finalizers"] = {"t.io/hold"};
  call("POST", kMaps, o);
  std::string one = std::string(kMaps) + "/a";
  auto deleted = call("DELETE", one);
  EXPECT_TRUE(deleted.body["metadata"].contains("deletionTimestamp"));
  EXPECT_EQ(call("GET", one).status, 200);
  EXPECT_EQ(merge(one, {{"metadata", {{"finalizers", {"t.io/hold", "t.io/new"}}}}}).status, 422);
  EXPECT_EQ(merge(one, {{"metadata", {{"finalizers", nullptr}}}}).status, 200);
  EXPECT_EQ(call("GET", one).status, 404);
}

TEST_F(ApiTest, DryRunChangesNothing) {
  std::string before = rv(call("GET", kMaps).body);
  auto made = call("POST", std::string(kMaps) + "?dryRun=All", config_map("a"));
  EXPECT_EQ(made.status, 201);
  EXPECT_EQ(call("GET", std::string(kMaps) + "/a").status, 404);
  EXPECT_EQ(rv(call("GET", kMaps).body), before);
  EXPECT_EQ(call("POST", std::string(kMaps) + "?dryRun=Maybe", config_map("a")).status, 422);
  call("POST", kMaps, config_map("a"));
  EXPECT_EQ(call("DELETE", std::string(kMaps) + "/a?dryRun=All").status, 200);
  EXPECT_EQ(call("GET", std::string(kMaps) + "/a").status, 200);
}

TEST_F(ApiTest, CustomResourcesAreValidatedDefaultedAndPruned) {
  make_widgets();
  auto bad = call("POST", kWidgets, widget("a", 11));
  EXPECT_EQ(bad.status, 422);
  EXPECT_EQ(bad.body["details"]["causes"][0]["field"], "spec.size");
  Json o = widget("a", 1);
  o["spec"]["zzz"] = 1;
  auto strict = call("POST", std::string(kWidgets) + "?fieldValidation=Strict", o);
  EXPECT_EQ(strict.status, 400);
  EXPECT_NE(get_string(strict.body, "message").find("unknown field \"spec.zzz\""),
            std::string::npos);
  auto warned = call("POST", kWidgets, o);
  ASSERT_EQ(warned.status, 201);
  EXPECT_EQ(header(warned.headers, "Warning"), "299 - \"unknown field \\\"spec.zzz\\\"\"");
  EXPECT_FALSE(warned.body["spec"].contains("zzz"));
  EXPECT_EQ(warned.body["spec"]["color"], "red");
  auto ignored = call("POST", std::string(kWidgets) + "?fieldValidation=Ignore", [&] {
    o["metadata"]["name"] = "b";
    return o;
  }());
  EXPECT_EQ(header(ignored.headers, "Warning"), "");
  Json no_version = warned.body;
  no_version["metadata"].erase("resourceVersion");
  EXPECT_EQ(call("PUT", std::string(kWidgets) + "/a", no_version).status, 422);
}

TEST_F(ApiTest, StatusIsASubresource) {
  make_widgets();
  Json o = widget("a", 1);
  o["status"] = {{"x", 1}};
  auto made = call("POST", kWidgets, o);
  EXPECT_FALSE(made.body.contains("status"));
  EXPECT_EQ(made.body["metadata"]["generation"], 1);
  std::string one = std::string(kWidgets) + "/a";
  auto status = merge(one + "/status", {{"status", {{"x", 2}}}, {"spec", {{"size", 9}}}});
  ASSERT_EQ(status.status, 200) << status.body;
  EXPECT_EQ(status.body["status"]["x"], 2);
  EXPECT_EQ(status.body["spec"]["size"], 1);
  EXPECT_EQ(status.body["metadata"]["generation"], 1);
  auto spec = merge(one, {{"status", {{"x", 3}}}, {"spec", {{"size", 9}}}});
  EXPECT_EQ(spec.body["status"]["x"], 2);
  EXPECT_EQ(spec.body["metadata"]["generation"], 2);
  // Carrying an old resourceVersion fences a writer.
  EXPECT_EQ(merge(one + "/status",
                  {{"metadata", {{"resourceVersion", rv(made.body)}}}, {"status", {{"x", 9}}}})
                .status,
            409);
}

TEST_F(ApiTest, ServerSideApplyOverHttp) {
  make_widgets();
  std::string one = std::string(kWidgets) + "/a";
  EXPECT_EQ(apply(one, widget("a", 1), "").status, 422);  // no fieldManager
  EXPECT_EQ(apply(one, widget("a", 1)).status, 201);
  auto again = apply(one, widget("a", 1));
  EXPECT_EQ(again.status, 200);
  auto conflict = apply(one, widget("a", 2), "fieldManager=two");
  EXPECT_EQ(conflict.status, 409);
  EXPECT_EQ(conflict.body["details"]["causes"][0]["reason"], "FieldManagerConflict");
  EXPECT_EQ(rv(call("GET", one).body), rv(again.body));
  EXPECT_EQ(apply(one, widget("a", 2), "fieldManager=two&force=true").body["spec"]["size"], 2);
  // Status has its own owners.
  Json s = {{"apiVersion", "t.io/v1"},
            {"kind", "Widget"},
            {"metadata", {{"name", "a"}}},
            {"status", {{"ok", true}}}};
  EXPECT_EQ(apply(one + "/status", s, "fieldManager=ctl").body["status"]["ok"], true);
}

TEST_F(ApiTest, StrategicMergeIsForBuiltInsOnly) {
  make_widgets();
  call("POST", kWidgets, widget("a", 1));
  EXPECT_EQ(call("PATCH", std::string(kWidgets) + "/a", {{"spec", {{"size", 2}}}},
                 "application/strategic-merge-patch+json")
                .status,
            415);
  call("POST", kMaps, config_map("a"));
  EXPECT_EQ(call("PATCH", std::string(kMaps) + "/a", {{"data", {{"n", "1"}}}},
                 "application/strategic-merge-patch+json")
                .body["data"]["n"],
            "1");
  EXPECT_EQ(call("PATCH", std::string(kMaps) + "/a", {{"data", 1}}, "text/plain").status, 415);
}

TEST_F(ApiTest, AdmissionHookRefusesWithCauses) {
  close();
  admission_ = [](const ResourceInfo& r, const Json&, const Json*) {
    return r.plural == "configmaps"
               ? std::vector<Cause>{{"FieldValueInvalid", "Invalid value: no", "data"}}
               : std::vector<Cause>{};
  };
  open();
  auto refused = call("POST", kMaps, config_map("a"));
  EXPECT_EQ(refused.status, 422);
  EXPECT_EQ(refused.body["details"]["causes"][0]["field"], "data");
}

TEST_F(ApiTest, SelectorsAndPaging) {
  for (int i = 0; i < 7; ++i)
    call("POST", kMaps, config_map("m" + std::to_string(i), {{"odd", i % 2 ? "yes" : "no"}}));
  EXPECT_EQ(call("GET", std::string(kMaps) + "?labelSelector=odd%3Dyes").body["items"].size(), 3u);
  EXPECT_EQ(
      call("GET", std::string(kMaps) + "?fieldSelector=metadata.name%3Dm3").body["items"].size(),
      1u);
  EXPECT_EQ(call("GET", std::string(kMaps) + "?fieldSelector=data.k%3Dv").status, 400);
  EXPECT_EQ(call("GET", std::string(kMaps) + "?labelSelector=a%20b").status, 400);
  auto page = call("GET", std::string(kMaps) + "?limit=3");
  EXPECT_EQ(page.body["items"].size(), 3u);
  EXPECT_EQ(page.body["metadata"]["remainingItemCount"], 4);
  // What happens between two pages does not show: the list is of one instant.
  call("DELETE", std::string(kMaps) + "/m5");
  call("POST", kMaps, config_map("m9"));
  std::vector<std::string> names;
  std::string token = page.body["metadata"]["continue"];
  while (!token.empty()) {
    page = call("GET", std::string(kMaps) + "?limit=3&continue=" + url_encode(token));
    ASSERT_EQ(page.status, 200);
    for (const Json& item : page.body["items"]) names.push_back(item["metadata"]["name"]);
    token = get_string(page.body["metadata"], "continue");
  }
  EXPECT_EQ(names, (std::vector<std::string>{"m3", "m4", "m5", "m6"}));
  EXPECT_EQ(call("GET", std::string(kMaps) + "?continue=rubbish").status, 400);
}

TEST_F(ApiTest, TablesForListAndWatch) {
  make_widgets();
  call("POST", kWidgets, widget("a", 4));
  merge(std::string(kWidgets) + "/a/status",
        {{"status", {{"conditions", Json::array({{{"type", "Ready"}, {"reason", "Online"}}})}}}});
  const char* accept =
      "application/json;as=Table;v=v1;g=meta.k8s.io,application/"
      "json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
  auto table = call("GET", kWidgets, nullptr, "application/json", accept);
  EXPECT_EQ(table.body["kind"], "Table");
  EXPECT_EQ(table.body["columnDefinitions"].size(), 3u);
  EXPECT_EQ(table.body["rows"][0]["cells"], Json::parse(R"(["a",4,"Online"])"));
  EXPECT_EQ(table.body["rows"][0]["object"]["kind"], "PartialObjectMetadata");
  auto old = call("GET", kWidgets, nullptr, "application/json",
                  "application/json;as=Table;v=v1beta1;g=meta.k8s.io");
  EXPECT_EQ(old.body["apiVersion"], "meta.k8s.io/v1beta1");
  auto stream = watch(std::string(kWidgets) + "?watch=1", accept);
  auto events = stream->events(1);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]["object"]["rows"][0]["cells"][1], 4);
  call("POST", kWidgets, widget("b", 5));
  events = stream->events(2);
  EXPECT_EQ(events[1]["object"]["rows"][0]["cells"][0], "b");
  EXPECT_TRUE(events[1]["object"]["columnDefinitions"].empty());
}

TEST_F(ApiTest, WatchDeliversEveryEventInOrder) {
  std::string from = rv(call("GET", kMaps).body);
  call("POST", kMaps, config_map("a", {{"s", "in"}}));
  auto all = watch(std::string(kMaps) + "?watch=true&resourceVersion=" + from);
  auto selected =
      watch(std::string(kMaps) + "?watch=true&labelSelector=s%3Din&resourceVersion=" + from);
  std::string one = std::string(kMaps) + "/a";
  merge(one, {{"data", {{"k", "2"}}}});
  merge(one, {{"metadata", {{"labels", {{"s", "out"}}}}}});
  merge(one, {{"metadata", {{"labels", {{"s", "in"}}}}}});
  call("DELETE", one);
  auto types = [](const std::vector<Json>& events) {
    std::string out;
    for (const Json& e : events) out += get_string(e, "type") + " ";
    return out;
  };
  EXPECT_EQ(types(all->events(5)), "ADDED MODIFIED MODIFIED MODIFIED DELETED ");
  // Leaving the selection reads as a deletion, coming back as an addition.
  EXPECT_EQ(types(selected->events(5)), "ADDED MODIFIED DELETED ADDED DELETED ");
  std::int64_t last = 0;
  for (const Json& e : all->events(5)) {
    std::int64_t v = std::stoll(rv(e["object"]));
    EXPECT_GT(v, last);
    last = v;
  }
}

TEST_F(ApiTest, WatchWithoutAVersionStartsWithWhatIsThere) {
  call("POST", kMaps, config_map("a"));
  call("POST", kMaps, config_map("b"));
  auto stream = watch(std::string(kMaps) + "?watch=true&resourceVersion=0");
  EXPECT_EQ(stream->events(2).size(), 2u);
}

TEST_F(ApiTest, WatchTimeoutBookmarksAndRefusals) {
  close();
  open({}, Millis{300});
  auto stream = watch(std::string(kMaps) + "?watch=true&allowWatchBookmarks=true&timeoutSeconds=1");
  ASSERT_TRUE(stream->wait_closed());
  auto events = stream->events(2);
  ASSERT_GE(events.size(), 2u);
  EXPECT_EQ(events[0]["type"], "BOOKMARK");
  EXPECT_EQ(rv(events[0]["object"]), rv(call("GET", kMaps).body));
  EXPECT_EQ(call("GET", std::string(kMaps) + "?watch=true&sendInitialEvents=true").status, 422);
  auto future = call("GET", std::string(kMaps) + "?watch=true&resourceVersion=999999");
  EXPECT_EQ(future.status, 504);
  EXPECT_EQ(future.body["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

TEST_F(ApiTest, OldVersionsAreGone) {
  close();
  open(StoreOptions{.history = 10});
  std::string old = rv(call("POST", kMaps, config_map("a")).body);
  auto page = call("GET", "/api/v1/namespaces?limit=1");
  for (int i = 0; i < 20; ++i)
    merge(std::string(kMaps) + "/a", {{"data", {{"k", std::to_string(i)}}}});
  auto stream = watch(std::string(kMaps) + "?watch=true&resourceVersion=" + old);
  auto events = stream->events(1);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]["type"], "ERROR");
  EXPECT_EQ(events[0]["object"]["code"], 410);
  EXPECT_EQ(events[0]["object"]["reason"], "Expired");
  auto gone = call("GET", "/api/v1/namespaces?limit=1&continue=" +
                              get_string(page.body["metadata"], "continue"));
  EXPECT_EQ(gone.status, 410);
}

TEST_F(ApiTest, StateAndHistorySurviveARestart) {
  std::string from = rv(call("GET", kMaps).body);
  make_widgets();
  call("POST", kMaps, config_map("a"));
  std::string last = rv(call("POST", kWidgets, widget("a", 1)).body);
  call("DELETE", std::string(kMaps) + "/a");
  close();
  open();
  EXPECT_EQ(rv(call("GET", std::string(kWidgets) + "/a").body), last);
  auto stream = watch(std::string(kMaps) + "?watch=true&resourceVersion=" + from);
  EXPECT_EQ(stream->events(2)[1]["type"], "DELETED");
  EXPECT_GT(std::stoll(rv(call("POST", kMaps, config_map("b")).body)), std::stoll(last));
}

TEST_F(ApiTest, DefinitionsComeAndGo) {
  run_controllers();
  make_widgets();
  EXPECT_EQ(
      call("GET", std::string(kCrds) + "/widgets.t.io").body["status"]["conditions"][1]["type"],
      "Established");
  call("POST", kWidgets, widget("a", 1));
  EXPECT_EQ(call("GET", "/apis/t.io/v1").body["resources"][0]["shortNames"][0], "wd");
  Json broken = {
      {"apiVersion", "apiextensions.k8s.io/v1"},
      {"kind", "CustomResourceDefinition"},
      {"metadata", {{"name", "x.t.io"}}},
      {"spec",
       {{"group", "t.io"},
        {"scope", "Namespaced"},
        {"names", {{"plural", "x"}, {"kind", "X"}}},
        {"versions", Json::array({{{"name", "v1"}, {"served", true}, {"storage", true}}})}}}};
  EXPECT_EQ(call("POST", kCrds, broken).status, 422);
  call("DELETE", std::string(kCrds) + "/widgets.t.io");
  EXPECT_TRUE(eventually([&] { return call("GET", kWidgets).status == 404; }));
  EXPECT_TRUE(server_->store().list("t.io/widgets").objects.empty());
}

TEST_F(ApiTest, GarbageCollection) {
  run_controllers();
  auto owned = [&](const std::string& name, const Json& owner) {
    Json o = config_map(name);
    o["metadata"]["ownerReferences"] = Json::array({{{"apiVersion", "v1"},
                                                     {"kind", "ConfigMap"},
                                                     {"name", "owner"},
                                                     {"uid", owner["metadata"]["uid"]},
                                                     {"blockOwnerDeletion", true}}});
    return call("POST", kMaps, o).status == 201;
  };
  for (const char* policy : {"Background", "Foreground", "Orphan"}) {
    Json owner = call("POST", kMaps, config_map("owner")).body;
    ASSERT_TRUE(owned("child", owner));
    call("DELETE", std::string(kMaps) + "/owner", {{"propagationPolicy", policy}});
    EXPECT_TRUE(eventually([&] {
      return call("GET", std::string(kMaps) + "/owner").status == 404;
    })) << policy;
    if (std::string_view(policy) == "Orphan") {
      auto child = call("GET", std::string(kMaps) + "/child");
      EXPECT_EQ(child.status, 200);
      EXPECT_FALSE(child.body["metadata"].contains("ownerReferences"));
      call("DELETE", std::string(kMaps) + "/child");
    } else {
      EXPECT_TRUE(eventually([&] {
        return call("GET", std::string(kMaps) + "/child").status == 404;
      })) << policy;
    }
  }
}

TEST_F(ApiTest, NamespacesHaveAnAccountAndEndWithTheirContent) {
  run_controllers();
  EXPECT_TRUE(eventually([&] {
    return call("GET", "/api/v1/namespaces/default/serviceaccounts/default").status == 200;
  }));
  call("POST", "/api/v1/namespaces", {{"metadata", {{"name", "team"}}}});
  Json held = config_map("a");
  held["metadata"]["finalizers"] = {"t.io/hold"};
  call("POST", "/api/v1/namespaces/team/configmaps", held);
  auto deleted = call("DELETE", "/api/v1/namespaces/team");
  EXPECT_EQ(deleted.body["status"]["phase"], "Terminating");
  EXPECT_EQ(call("POST", "/api/v1/namespaces/team/configmaps", config_map("b")).status, 403);
  merge("/api/v1/namespaces/team/configmaps/a", {{"metadata", {{"finalizers", nullptr}}}});
  EXPECT_TRUE(eventually([&] { return call("GET", "/api/v1/namespaces/team").status == 404; }));
  EXPECT_EQ(call("DELETE", "/api/v1/namespaces/default").status, 403);
}

TEST_F(ApiTest, AuthenticationAndAuthorisation) {
  run_controllers();
  ASSERT_TRUE(eventually([&] {
    return call("GET", "/api/v1/namespaces/default/serviceaccounts/default").status == 200;
  }));
  auto token = call("POST", "/api/v1/namespaces/default/serviceaccounts/default/token",
                    {{"spec", {{"audiences", {"tango"}}}}});
  ASSERT_EQ(token.status, 201);
  std::string text = token.body["status"]["token"];
  auto review = [&](const std::string& t, const char* audience) {
    return call("POST", "/apis/authentication.k8s.io/v1/tokenreviews",
                {{"spec", {{"token", t}, {"audiences", {audience}}}}})
        .body["status"];
  };
  EXPECT_EQ(review(text, "tango")["user"]["username"], "system:serviceaccount:default:default");
  EXPECT_EQ(review(text, "other")["authenticated"], false);
  EXPECT_EQ(review("x" + text, "tango")["authenticated"], false);
  EXPECT_EQ(review(server_->admin_token(), "https://kubernetes.default.svc")["user"]["groups"][0],
            "system:masters");
  auto allowed = [&](const Json& groups) {
    return call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                {{"spec", {{"user", "x"}, {"groups", groups}}}})
        .body["status"]["allowed"];
  };
  EXPECT_EQ(allowed({"system:masters"}), true);
  EXPECT_EQ(allowed({"system:authenticated"}), false);

  subject_ = "";
  EXPECT_EQ(call("GET", kMaps).status, 401);
  EXPECT_EQ(raw("GET", "/healthz").response.status, 200);
  subject_ = "CN=somebody";
  EXPECT_EQ(call("GET", kMaps).status, 403);
  EXPECT_EQ(call("GET", "/api/v1").status, 200);
  HttpRequest wrong;
  wrong.url = kMaps;
  wrong.headers = {{"Authorization", "Bearer nonsense"}};
  wrong.client_cert_subject = "CN=admin,O=system:masters";
  EXPECT_EQ(server_->handle(wrong).response.status, 401);
}

TEST_F(ApiTest, JobsAreDefaultedLikeAnApiServerDoes) {
  Json job = Json::parse(
      R"({"metadata":{"name":"j"},"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}})");
  auto bad = call("POST", "/apis/batch/v1/namespaces/default/jobs", job);
  EXPECT_EQ(bad.status, 422);
  EXPECT_NE(get_string(bad.body, "message").find("restartPolicy: Unsupported value: \"Always\""),
            std::string::npos);
  job["spec"]["template"]["spec"]["restartPolicy"] = "Never";
  auto made = call("POST", "/apis/batch/v1/namespaces/default/jobs", job);
  ASSERT_EQ(made.status, 201);
  EXPECT_EQ(made.body["spec"]["backoffLimit"], 6);
  EXPECT_EQ(made.body["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
  EXPECT_EQ(merge("/apis/batch/v1/namespaces/default/jobs/j",
                  {{"spec", {{"template", {{"spec", {{"restartPolicy", "OnFailure"}}}}}}}})
                .status,
            422);
}

TEST_F(ApiTest, WhatIsNotServedSaysSo) {
  EXPECT_EQ(
      call("GET", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations").status,
      404);
  EXPECT_EQ(call("GET", "/apis/apps/v1/namespaces/default/replicasets").status, 404);
  EXPECT_EQ(call("POST", "/api/v1/namespaces/default/pods/x/exec").status, 404);
  EXPECT_EQ(call("DELETE", "/api/v1/namespaces/default/configmaps/none").status, 404);
  EXPECT_EQ(call("TRACE", kMaps).status, 405);
}

}  // namespace
}  // namespace tango::standalone

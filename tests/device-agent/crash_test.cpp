// The crash matrix: for every persisted step of the agent, kill it there (once, twice in a row, and
// again during the recovery), go on as an operator would, and check that the old or the new release
// runs, that the result was reported under one id only, and that nothing is left over.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <set>
#include <thread>

#include "device-agent/crash_point.h"
#include "device-agent/journal.h"
#include "tests/device-agent/agent_fixture.h"

namespace tango::agent {
namespace {

using test::Channel;
using test::code_of;

constexpr int kWorkers = 4;
constexpr Nanos kScenarioDeadline = Seconds{40};

// Killing a process loses no written byte, so the runs may live in memory, where there is one that
// lets programs run.
void prefer_memory() {
  struct statvfs st {};
  if (::statvfs("/dev/shm", &st) != 0 || (st.f_flag & ST_NOEXEC) != 0) return;
  if (st.f_bavail * st.f_frsize < (512u << 20) || ::access("/dev/shm", W_OK) != 0) return;
  ::setenv("TMPDIR", "/dev/shm", 1);
}

// Releases and a device with A committed, made once and copied for every run.
struct World {
  TempDir dir{"tango-crash"};
  test::Operator op;
  artifacts::Bundle a, b, bad, slow, next;
  World()
      : a(test::make_release(dir / "a", "A", {}, {}, 100'000)),
        b(test::make_release(dir / "b", "B", {}, {}, 200'000)),
        bad(test::make_release(dir / "bad", "bad", {{"exit_on_start", "3"}}, {}, 100'000)),
        slow(test::make_release(
            dir / "slow", "slow", {}, [](auto& s) { s.health_gate.soak_ms = 60'000; }, 100'000)),
        next(test::make_release(dir / "next", "next", {}, {}, 100'000)) {
    test::DaemonProcess daemon(test::agent_program(), dir / "template");
    Channel channel = daemon.connect().value();
    (void)op.hello(channel);
    const Json done = op.deploy(channel, a).value();
    if (get_string(get(done, "result"), "outcome") != "committed") std::abort();
    (void)channel.request({{"op", "ack"}, {"ids", {done["result"]["id"]}}});
  }
};

World& world() {
  static World& w = []() -> World& {
    prefer_memory();
    static World made;
    return made;
  }();
  return w;
}

// Without sockets, and with folders that anybody may write (releases are protected).
void copy_tree(const fs::path& from, const fs::path& to) {
  (void)make_dirs(to);
  for (const auto& entry : fs::directory_iterator(from)) {
    const fs::path target = to / entry.path().filename();
    if (entry.is_symlink()) {
      fs::copy_symlink(entry.path(), target);
    } else if (entry.is_directory()) {
      copy_tree(entry.path(), target);
    } else if (entry.is_regular_file()) {
      fs::copy_file(entry.path(), target);
    }
  }
}

// An operator that lives through crashes of the agent.
class Driver {
 public:
  Driver(bool empty, std::vector<std::string> crashes, std::string trace = {})
      : op_(world().op), crashes_(std::move(crashes)), trace_(std::move(trace)) {
    op_sequence_ = 1;
    if (empty) {
      // The same device, before its first release.
      (void)make_dirs(root() / "identity");
      fs::copy_file(world().dir / "template/identity/agent.key", root() / "identity/agent.key");
    } else {
      copy_tree(world().dir / "template", root());
    }
    end_ = system_clock().monotonic() + kScenarioDeadline;
  }

  fs::path root() const { return dir_ / "root"; }
  fs::path log() const { return dir_ / "crashes"; }
  std::size_t crashes_seen() const {
    std::error_code ec;
    const auto size = fs::file_size(log(), ec);
    return ec ? 0 : size;
  }

  // A request that is repeated over crashes until it is answered with something else than Busy.
  Json call(const std::function<Result<Json>(Channel&)>& request) {
    while (!late()) {
      if (!connected()) continue;
      auto reply = request(channel_);
      if (!reply.ok()) {
        channel_ = Channel();
        continue;
      }
      if (code_of(*reply) == "Busy") {
        system_clock().sleep_for(Millis{20});
        continue;
      }
      return *reply;
    }
    return Json{{"ok", false}, {"failure", {{"code", "Late"}}}};
  }

  std::uint64_t new_sequence() { return ++op_sequence_; }

  Json plan(const artifacts::Bundle& bundle, std::uint64_t sequence) {
    return call([&](Channel& c) {
      test::PlanOptions options;
      options.sequence = sequence;
      return op_.plan(c, bundle, options);
    });
  }
  // Plan and chunks; true when the release is staged.
  bool stage(const artifacts::Bundle& bundle, std::uint64_t sequence) {
    while (!late()) {
      const Json planned = plan(bundle, sequence);
      if (!code_of(planned).empty()) return false;
      if (get_string(planned, "state") != "Needed") return true;
      auto moved = op_.transfer(channel_, bundle, planned);
      if (moved.ok() && code_of(*moved).empty()) return true;
      if (!moved.ok()) channel_ = Channel();
    }
    return false;
  }
  Json activate(std::uint64_t sequence) {
    return call([&](Channel& c) { return op_.activate(c, "main", sequence); });
  }
  // Until there is an outcome for this sequence, whatever happens on the way.
  std::string deploy(const artifacts::Bundle& bundle) {
    const std::uint64_t sequence = new_sequence();
    while (!late()) {
      stage(bundle, sequence);
      const Json done = activate(sequence);
      const std::string outcome = get_string(get(done, "result"), "outcome");
      if (!outcome.empty()) return outcome;
      // InvalidRequest: still staging. SequenceStale without an outcome: it was dropped; give up.
      if (code_of(done) == "SequenceStale") return "dropped";
    }
    return "late";
  }
  Json request(Json what) {
    return call([&](Channel& c) { return c.request(what, {}, Seconds{20}); });
  }
  Json slot() {
    const Json status = request({{"op", "status"}});
    const Json& slots = get(status, "slots");
    return slots.is_array() && !slots.empty() ? slots[0] : Json::object();
  }
  // A second channel's request while the first one waits in an activation.
  void in_trial(const Json& what) {
    const std::uint64_t sequence = new_sequence();
    if (!stage(world().slow, sequence)) return;
    (void)channel_.begin({{"op", "activate"}, {"slot", "main"}, {"sequence", sequence}});
    Channel first = std::move(channel_);
    channel_ = Channel();
    for (int i = 0; i < 200 && !late() && get_string(slot(), "state") == "Staged"; ++i) {
      system_clock().sleep_for(Millis{10});
    }
    if (get_string(slot(), "state") == "Trial") request(what);
  }

  void kill_agent() {
    channel_ = Channel();
    daemon_.reset();
  }
  bool late() const { return system_clock().monotonic() > end_; }

  // What must hold whatever was killed; "" or what is wrong.
  std::string check(const std::set<std::string>& versions) {
    crashes_.clear();
    kill_agent();
    Json last;
    const bool settled = test::eventually([&] {
      last = slot();
      const std::string state = get_string(last, "state");
      if (state == "Empty") return versions.contains("");
      if (state == "Broken") return versions.contains("broken");
      return state != "Trial" && state != "RollingBack" && get_bool(last, "ready");
    });
    if (!settled || late()) return "did not settle: " + last.dump() + "\n" + tail();
    const std::string listen = get_string(last, "listen");
    const std::string version = get_string(last, "state") == "Broken" ? "broken"
                                : listen.empty()                      ? ""
                                                 : test::http_get(listen, "/version");
    if (!versions.contains(version)) return "version '" + version + "' runs: " + last.dump();
    // One report per outcome, under one id, over the whole run; gone after its acknowledgement.
    collect(get(request({{"op", "status"}}), "outbox"));
    Json ids = Json::array();
    for (const auto& [what, seen] : reports_) {
      if (seen.size() != 1) return "'" + what + "' was reported under several ids";
      for (const std::string& id : seen) ids.push_back(id);
    }
    const Json acknowledged = request({{"op", "ack"}, {"ids", ids}});
    if (!get_bool(acknowledged, "ok")) return "ack failed: " + acknowledged.dump();
    kill_agent();
    const Json status = request({{"op", "status"}});
    if (!get(status, "outbox").empty())
      return "reported again after the acknowledgement: " + status.dump();
    return leftovers();
  }

 private:
  bool connected() {
    if (channel_.open()) return true;
    if (!daemon_ || !daemon_->alive()) {
      std::map<std::string, std::string> env;
      if (!crashes_.empty() && starts_ < crashes_.size() + 10) {
        // Each planned crash is used up by dying of it.
        const std::size_t done = crashes_seen();
        if (done < crashes_.size()) env["TANGO_CRASH_AT"] = crashes_[done];
      }
      env["TANGO_CRASH_LOG"] = log().string();
      if (!trace_.empty()) env["TANGO_CRASH_TRACE"] = trace_;
      ++starts_;
      daemon_ = std::make_unique<test::DaemonProcess>(test::test_program("tango_agent_faults"),
                                                      root(), env);
    }
    auto opened = daemon_->connect();
    if (!opened.ok()) return false;
    channel_ = std::move(*opened);
    op_.device_id.clear();
    const auto hello = op_.hello(channel_);
    if (!hello.ok() || !get_bool(*hello, "ok")) {
      channel_ = Channel();
      return false;
    }
    collect(get(*hello, "outbox"));
    return true;
  }

  void collect(const Json& outbox) {
    for (const Json& report : outbox) {
      reports_[report["sequence"].dump() + " " + get_string(report, "outcome")].insert(
          get_string(report, "id"));
    }
  }

  // Releases, plans and staging that the journal does not name.
  std::string leftovers() {
    kill_agent();
    const auto journal = SlotJournal::open(root() / "slots/main/journal");
    if (!journal.ok()) return journal.error().to_string();
    const SlotRecord& record = journal->record();
    std::set<std::string> digests, sequences;
    for (const auto& ref : {record.current, record.previous, record.candidate}) {
      if (!ref) continue;
      digests.insert(ref->digest.hex());
      sequences.insert(std::to_string(ref->sequence));
    }
    std::error_code ec;
    for (const auto& entry : fs::directory_iterator(root() / "releases", ec)) {
      if (!digests.contains(entry.path().filename())) return "left over: " + entry.path().string();
    }
    for (const auto& entry : fs::directory_iterator(root() / "slots/main/plans", ec)) {
      if (!sequences.contains(entry.path().filename()))
        return "left over: " + entry.path().string();
    }
    if (!record.candidate && !fs::is_empty(root() / "staging")) return "staging is left over";
    return {};
  }
  std::string tail() const {
    const auto text = read_file(root() / "daemon-test.log");
    return text.ok() ? text->substr(text->size() > 1500 ? text->size() - 1500 : 0) : std::string{};
  }

  TempDir dir_{"tango-crash-run"};
  test::Operator op_;
  std::vector<std::string> crashes_;
  std::string trace_;
  std::uint64_t op_sequence_ = 0;
  std::size_t starts_ = 0;
  std::unique_ptr<test::DaemonProcess> daemon_;
  Channel channel_;
  std::map<std::string, std::set<std::string>> reports_;  // "<sequence> <outcome>" -> ids
  Nanos end_{0};
};

struct Scenario {
  std::string name;
  bool empty;
  std::function<void(Driver&)> steps;
  std::set<std::string> versions;  // that may run in the end; "" is none
};

void damage(const fs::path& file) {
  ::chmod(file.c_str(), 0644);
  if (std::FILE* f = std::fopen(file.c_str(), "r+")) {
    std::fputc('!', f);
    std::fclose(f);
  }
}

const std::vector<Scenario>& scenarios() {
  static const Json rollback = {{"op", "rollback"}, {"slot", "main"}};
  static const Json remove = {{"op", "remove"}, {"slot", "main"}};
  static const std::vector<Scenario> all = {
      {"good", false, [](Driver& d) { d.deploy(world().b); }, {"A", "B"}},
      {"twice",
       false,
       [](Driver& d) {
         d.deploy(world().b);
         d.deploy(world().next);
       },
       {"A", "B", "next"}},
      {"bad", false, [](Driver& d) { d.deploy(world().bad); }, {"A"}},
      {"first", true, [](Driver& d) { d.deploy(world().b); }, {"B", ""}},
      {"first-bad", true, [](Driver& d) { d.deploy(world().bad); }, {""}},
      {"rollback",
       false,
       [](Driver& d) {
         d.deploy(world().b);
         d.request(rollback);
       },
       {"A", "B"}},
      {"remove", false, [](Driver& d) { d.request(remove); }, {""}},
      {"superseded-staging",
       false,
       [](Driver& d) {
         d.plan(world().b, d.new_sequence());
         d.deploy(world().next);
       },
       {"A", "next"}},
      {"superseded-staged",
       false,
       [](Driver& d) {
         d.stage(world().b, d.new_sequence());
         d.deploy(world().next);
       },
       {"A", "next"}},
      {"remove-staging",
       false,
       [](Driver& d) {
         d.plan(world().b, d.new_sequence());
         d.request(remove);
       },
       {""}},
      {"remove-staged",
       false,
       [](Driver& d) {
         d.stage(world().b, d.new_sequence());
         d.request(remove);
       },
       {""}},
      {"rollback-staging",
       false,
       [](Driver& d) {
         d.deploy(world().b);
         d.plan(world().next, d.new_sequence());
         d.request(rollback);
       },
       {"A", "B"}},
      {"rollback-staged",
       false,
       [](Driver& d) {
         d.deploy(world().b);
         d.stage(world().next, d.new_sequence());
         d.request(rollback);
       },
       {"A", "B"}},
      {"trial-rollback", false, [](Driver& d) { d.in_trial(rollback); }, {"A"}},
      {"trial-remove", false, [](Driver& d) { d.in_trial(remove); }, {"A", ""}},
      {"killed-in-trial",
       false,
       [](Driver& d) {
         d.in_trial({{"op", "status"}});
         d.kill_agent();
         d.slot();
       },
       {"A"}},
      {"staging-refused",
       false,
       [](Driver& d) {
         (void)make_dirs(d.root() / "staging/main.data/in-the-way");
         d.plan(world().b, d.new_sequence());
         fs::remove_all(d.root() / "staging/main.data");
         d.slot();
       },
       {"A"}},
      {"staged-rotted",
       false,
       [](Driver& d) {
         const auto sequence = d.new_sequence();
         d.stage(world().b, sequence);
         damage(d.root() / "staging/main.data");
         d.activate(sequence);
       },
       {"A", "B"}},
      {"broken",
       false,
       [](Driver& d) {
         damage(d.root() / "releases" / world().a.digest().hex() / "model/weights.bin");
         d.deploy(world().bad);
         d.kill_agent();
         d.slot();
         d.deploy(world().next);
       },
       {"A", "next", "broken"}},
      {"broken-removed",
       false,
       [](Driver& d) {
         damage(d.root() / "releases" / world().a.digest().hex() / "model/weights.bin");
         d.deploy(world().bad);
         d.request(remove);
       },
       {""}},
  };
  return all;
}

// Deadlines take hours; their rows share the code of Abandon, Fail and PreviousUnusable.
bool exempt(const std::string& point) { return point.find(".Deadline.") != std::string::npos; }

template <typename Item, typename Work>
void in_parallel(const std::vector<Item>& items, const Work& work) {
  std::atomic<std::size_t> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kWorkers; ++i) {
    threads.emplace_back([&] {
      for (std::size_t k = next++; k < items.size(); k = next++) work(items[k]);
    });
  }
  for (auto& t : threads) t.join();
}

struct Case {
  const Scenario* scenario;
  std::string point;
};

class CrashMatrix : public testing::Test {
 protected:
  // Runs every scenario undisturbed once: it must end well, and says which points it passes.
  static const std::vector<Case>& cases() {
    static const std::vector<Case> all = [] {
      world();
      std::mutex mutex;
      std::map<std::string, std::set<std::string>> passed;
      std::vector<const Scenario*> list;
      for (const Scenario& s : scenarios()) list.push_back(&s);
      in_parallel(list, [&](const Scenario* s) {
        const TempDir dir;
        Driver driver(s->empty, {}, dir / "trace");
        s->steps(driver);
        const std::string wrong = driver.check(s->versions);
        const std::string trace = read_file(dir / "trace").value_or(std::string{});
        const std::lock_guard lock(mutex);
        if (!wrong.empty()) failures_.push_back(s->name + " undisturbed: " + wrong);
        for (std::size_t at = 0; at < trace.size();) {
          const std::size_t end = trace.find('\n', at);
          passed[s->name].insert(trace.substr(at, end - at));
          at = end + 1;
        }
      });
      std::vector<Case> out;
      for (const std::string& point : crash_points()) {
        if (exempt(point)) continue;
        const auto found = std::find_if(list.begin(), list.end(), [&](const Scenario* s) {
          return passed[s->name].contains(point);
        });
        if (found == list.end()) {
          failures_.push_back("no scenario passes " + point);
        } else {
          out.push_back({*found, point});
        }
      }
      return out;
    }();
    return all;
  }

  static void run(const std::function<std::vector<std::string>(const std::string&)>& crashes) {
    const auto& all = cases();
    std::mutex mutex;
    std::vector<std::string> failures = failures_;
    in_parallel(all, [&](const Case& c) {
      Driver driver(c.scenario->empty, crashes(c.point));
      c.scenario->steps(driver);
      const std::size_t crashed = driver.crashes_seen();
      std::string wrong = crashed == 0 ? "was never reached" : driver.check(c.scenario->versions);
      const std::lock_guard lock(mutex);
      if (!wrong.empty())
        failures.push_back(c.scenario->name + " killed at " + c.point + ": " + wrong);
    });
    for (const std::string& failure : failures) ADD_FAILURE() << failure;
    std::printf("%zu points\n", all.size());
  }
  static std::vector<std::string> failures_;
};
std::vector<std::string> CrashMatrix::failures_;

TEST_F(CrashMatrix, OnceAtEveryPoint) {
  run([](const std::string& point) { return std::vector<std::string>{point}; });
}

TEST_F(CrashMatrix, TwiceInARowAtEveryPoint) {
  run([](const std::string& point) { return std::vector<std::string>{point, point}; });
}

TEST_F(CrashMatrix, AndAgainDuringTheRecovery) {
  run([](const std::string& point) { return std::vector<std::string>{point, "*"}; });
}

}  // namespace
}  // namespace tango::agent

// CPU per watch event and per listed object: a server process streams Devices over loopback HTTP,
// this process reads them through the libcurl client and the reflector into a typed Store. Prints
// one JSON object. The server is another process, so its CPU is not counted.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "crds/device.h"
#include "lib/base/random.h"
#include "lib/kube/reflector.h"

namespace {

using namespace tango;

constexpr int kObjects = 2000;
constexpr int kEvents = 40'000;

// About 1.9 KB, as a Device with inventory and one slot is.
std::string device_json(int i, int version) {
  Json labels = {{"site", "seoul"}, {"line", "a"}, {"unit", "edge-" + std::to_string(i)}};
  Json flags = Json::array();
  for (const char* f : {"avx", "avx2", "avx512f", "avx512_vnni", "bmi1", "bmi2", "f16c", "fma",
                        "sse4_1", "sse4_2", "ssse3"}) {
    flags.push_back(f);
  }
  Json conditions = Json::array();
  for (const char* type : {"Accepted", "Reachable", "HostKeyVerified", "Provisioned", "Healthy",
                           "UpToDate", "Ready"}) {
    conditions.push_back({{"type", type},
                          {"status", "True"},
                          {"reason", "Online"},
                          {"message", ""},
                          {"observedGeneration", 3},
                          {"lastTransitionTime", "2026-11-21T12:00:00Z"}});
  }
  Json o = {{"apiVersion", "ml-tango.io/v1alpha1"},
            {"kind", "Device"},
            {"metadata",
             {{"name", "edge-" + std::to_string(i)},
              {"namespace", "default"},
              {"uid", "0b6f0c1e-0000-4000-8000-" + std::to_string(100000000000 + i)},
              {"resourceVersion", std::to_string(version)},
              {"generation", 3},
              {"creationTimestamp", "2026-11-21T12:00:00Z"},
              {"labels", labels}}},
            {"spec",
             {{"profileRef", {{"name", "linux-x86"}}},
              {"connection",
               {{"type", "Direct"},
                {"address", "10.20.0.17"},
                {"port", 22},
                {"user", "tango"},
                {"hold", "OnDemand"}}},
              {"hostKey",
               {{"policy", "Pinned"},
                {"fingerprints", {"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}}},
              {"sandbox", "BestEffort"},
              {"suspend", false}}},
            {"status",
             {{"conditions", conditions},
              {"inventory",
               {{"arch", "amd64"},
                {"os", "debian 12"},
                {"cpus", 4},
                {"cpuFlags", flags},
                {"memoryBytes", 8589934592},
                {"diskBytes", 64424509440}}},
              {"slots",
               {{{"name", "main"},
                 {"sequence", version},
                 {"current", "sha256:" + std::string(64, 'a')},
                 {"state", "Committed"}}}}}}};
  return dump_json(o);
}

int serve(int ready_fd) {
  HttpServerOptions options;
  options.max_queued_bytes = 1u << 30;
  auto server = start_beast_server(options, [](const HttpRequest& request) {
    HttpReply reply;
    reply.response.status = 200;
    reply.response.headers = {{"Content-Type", "application/json"}};
    if (split_target(request.url).get("watch").empty()) {
      std::string body =
          R"({"kind":"DeviceList","apiVersion":"ml-tango.io/v1alpha1","metadata":{"resourceVersion":"1000000"},"items":[)";
      for (int i = 0; i < kObjects; ++i) body += (i ? "," : "") + device_json(i, i + 1);
      reply.response.body = body + "]}";
      return reply;
    }
    reply.stream = [](std::shared_ptr<HttpStream> stream) {
      std::thread([stream] {
        std::string block;
        for (int e = 0; e < kEvents; ++e) {
          block +=
              R"({"type":"MODIFIED","object":)" + device_json(e % kObjects, 1'000'001 + e) + "}\n";
          if (block.size() > 256 * 1024 || e + 1 == kEvents) {
            stream->send(std::move(block));
            block.clear();
          }
        }
      }).detach();
    };
    return reply;
  });
  if (!server.ok()) return 1;
  std::uint16_t port = (*server)->port();
  if (::write(ready_fd, &port, sizeof port) != sizeof port) return 1;
  ::pause();
  return 0;
}

double cpu_seconds() {
  rusage u{};
  ::getrusage(RUSAGE_SELF, &u);
  auto s = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return s(u.ru_utime) + s(u.ru_stime);
}

}  // namespace

int main() {
  int fds[2];
  if (::pipe(fds) != 0) return 1;
  pid_t child = ::fork();
  if (child == 0) return serve(fds[1]);
  std::uint16_t port = 0;
  if (::read(fds[0], &port, sizeof port) != sizeof port) return 1;
  kube::ClientConfig config;
  config.server = "http://127.0.0.1:" + std::to_string(port);
  auto client = kube::KubeClient::connect(config);
  if (!client.ok()) return 1;
  kube::Store store(kube::erased_kind<crds::Device>());
  std::atomic<int> listed{0}, events{0};
  double begin = cpu_seconds(), synced = 0;
  {
    kube::Reflector reflector(**client, store, {}, system_clock(), system_random(),
                              [&](const kube::Change& c) {
                                if (c.type == kube::Change::Type::kAdded) {
                                  if (++listed == kObjects) synced = cpu_seconds();
                                } else {
                                  ++events;
                                }
                              });
    for (int i = 0; i < 6000 && events < kEvents; ++i) std::this_thread::sleep_for(Millis{10});
  }
  double end = cpu_seconds();
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  if (events < kEvents) {
    std::fprintf(stderr, "only %d of %d events arrived\n", events.load(), kEvents);
    return 1;
  }
  std::printf(
      "{\"objectBytes\":%zu,\"listMicros\":%.2f,\"eventMicros\":%.2f,\"objects\":%d,\"events\":%d}"
      "\n",
      device_json(1, 1).size(), (synced - begin) / kObjects * 1e6, (end - synced) / kEvents * 1e6,
      kObjects, kEvents);
  return 0;
}

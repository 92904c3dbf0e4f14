// Stands in for bin/tango-infer in test releases: the same verbs and outputs, with faults chosen by
// the release's own file `behaviour` (lines key=value). Statically linked, so that it runs with the
// clean environment of a release.
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace {

std::map<std::string, std::string> behaviour() {
  std::map<std::string, std::string> out;
  std::ifstream in("behaviour");
  for (std::string line; std::getline(in, line);) {
    const auto eq = line.find('=');
    if (eq != std::string::npos) out[line.substr(0, eq)] = line.substr(eq + 1);
  }
  return out;
}

std::string flag(const std::vector<std::string>& args, const std::string& name) {
  for (std::size_t i = 0; i + 1 < args.size(); ++i) {
    if (args[i] == name) return args[i + 1];
  }
  return {};
}

double seconds_up() {
  static const auto start = [] {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t;
  }();
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec - start.tv_sec) +
         1e-9 * static_cast<double>(now.tv_nsec - start.tv_nsec);
}

int serve(const std::vector<std::string>& args, std::map<std::string, std::string>& b) {
  seconds_up();
  if (b.contains("exit_on_start")) {
    std::fprintf(stderr, "fatal: cannot load the model\n");
    return std::atoi(b["exit_on_start"].c_str());
  }
  const std::string listen_at = flag(args, "--listen");
  const int port = std::atoi(listen_at.substr(listen_at.rfind(':') + 1).c_str());
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<std::uint16_t>(port));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 || ::listen(fd, 8) != 0) {
    std::perror("bind");
    return 1;
  }
  std::printf("{\"ready\":true,\"listen\":\"%s\"}\n", listen_at.c_str());
  std::printf("serving version %s parameters=%s\n", b["version"].c_str(),
              getenv("TANGO_RUN_DIR") != nullptr ? getenv("TANGO_RUN_DIR") : "none");
  std::fflush(stdout);
  if (b.contains("spam")) {
    for (int i = 0; i < std::atoi(b["spam"].c_str()); ++i)
      std::printf("line %d of a talkative release\n", i);
    std::fflush(stdout);
  }
  const double crash_after =
      b.contains("crash_after_ms") ? std::atof(b["crash_after_ms"].c_str()) / 1000 : 1e9;
  while (true) {
    if (seconds_up() > crash_after) raise(SIGKILL);
    timeval wait{0, 20'000};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    if (select(fd + 1, &set, nullptr, nullptr, &wait) <= 0) continue;
    const int peer = accept(fd, nullptr, nullptr);
    std::string request;
    char buffer[65536];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t n = read(peer, buffer, sizeof buffer);
      if (n <= 0) break;
      request.append(buffer, static_cast<std::size_t>(n));
    }
    std::size_t length = 0;
    if (const auto l = request.find("Content-Length: "); l != std::string::npos) {
      length = static_cast<std::size_t>(std::atol(request.c_str() + l + 16));
    }
    const std::size_t head = request.find("\r\n\r\n") + 4;
    while (request.size() < head + length) {
      const ssize_t n = read(peer, buffer, sizeof buffer);
      if (n <= 0) break;
      request.append(buffer, static_cast<std::size_t>(n));
    }
    std::string status = "200 OK", body = "{}";
    if (request.starts_with("GET /readyz")) {
      const bool sick = b.contains("sick_after_ms") &&
                        seconds_up() > std::atof(b["sick_after_ms"].c_str()) / 1000;
      if (b.contains("never_ready") || sick) status = "503 Service Unavailable";
    } else if (request.starts_with("GET /version")) {
      body = b["version"];
    } else if (request.starts_with("POST /predict")) {
      body = "{\"class\":\"" + b["version"] +
             "\",\"bytes\":" + std::to_string(request.size() - head) + "}";
    } else if (request.starts_with("GET /chunked")) {
      const std::string answer =
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n "
          "world\r\n0\r\n\r\n";
      [[maybe_unused]] const ssize_t n = write(peer, answer.data(), answer.size());
      close(peer);
      continue;
    } else {
      status = "404 Not Found";
    }
    const std::string answer =
        "HTTP/1.1 " + status +
        "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
        "\r\n\r\n" + body;
    [[maybe_unused]] const ssize_t n = write(peer, answer.data(), answer.size());
    close(peer);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  auto b = behaviour();
  const std::string verb = args.empty() ? "" : args[0];
  // The contract of supervision: nothing inherited but what the agent sets.
  if (getenv("LD_LIBRARY_PATH") == nullptr || std::string(getenv("LD_LIBRARY_PATH")) != "lib")
    return 9;
  if (verb == "serve") return serve(args, b);
  if (verb == "selftest") {
    if (b.contains("selftest_sleep_ms"))
      usleep(static_cast<unsigned>(std::atoi(b["selftest_sleep_ms"].c_str())) * 1000u);
    if (b.contains("selftest_fails")) {
      std::printf(
          "{\"ok\":false,\"reason\":\"KnownAnswerFailed\",\"message\":\"3 of 8 samples "
          "differ\"}\n");
      return 1;
    }
    std::printf("{\"ok\":true}\n");
    return 0;
  }
  if (verb == "bench") {
    const std::string p95 = b.contains("p95Ms") ? b["p95Ms"] : "2.5";
    std::printf("{\"p50Ms\":1.25,\"p95Ms\":%s,\"iterations\":50,\"peakRssBytes\":20000000}\n",
                p95.c_str());
    return 0;
  }
  if (verb == "eval") {
    int files = 0;
    if (DIR* d = opendir(flag(args, "--data").c_str())) {
      while (const dirent* e = readdir(d)) files += e->d_name[0] != '.' ? 1 : 0;
      closedir(d);
    }
    std::printf(
        "{\"accuracy\":0.9,\"samples\":%d,\"format\":\"%s\",\"latencyMs\":{\"p50\":1.0,\"p95\":2.0}"
        "}\n",
        files, flag(args, "--format").c_str());
    return 0;
  }
  return 2;
}

#include "inference/cli.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <map>
#include <optional>

#include "inference/checks.h"
#include "inference/http_server.h"
#include "inference/model.h"
#include "inference/service.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/vision/codec.h"
#include "lib/vision/draw.h"

namespace tango::inference {
namespace {

constexpr std::string_view kUsage =
    R"(tango-infer: runs the network of a bundle

  tango-infer serve    --bundle DIR --listen 127.0.0.1:PORT|unix:PATH [--threads N]
  tango-infer predict  --bundle DIR [--output text|json|image] [--output-dir DIR] [--top N] PATH...
  tango-infer selftest --bundle DIR [--json]
  tango-infer bench    --bundle DIR [--json] [--iterations N] [--threads N]
  tango-infer eval     --bundle DIR --data DIR [--format idx|folder] [--split train|val|test]
                       [--max-samples N] [--json]

Exit codes: 0 done, 1 failed, 2 wrong command line.
)";

constexpr int kMaxThreads = 256;
constexpr int kDefaultThreads = 4;  // small networks gain nothing beyond
constexpr std::uint64_t kMaxFolderImages = 100'000;

struct Args {
  std::string verb;
  std::map<std::string, std::string> values;
  bool json = false;
  std::vector<std::string> paths;

  std::string get(const std::string& key, std::string_view fallback = {}) const {
    const auto it = values.find(key);
    return it == values.end() ? std::string(fallback) : it->second;
  }
};

const std::map<std::string, std::vector<std::string>, std::less<>> kVerbs{
    {"serve", {"bundle", "listen", "threads"}},
    {"predict", {"bundle", "output", "output-dir", "top", "threads"}},
    {"selftest", {"bundle", "threads"}},
    {"bench", {"bundle", "iterations", "threads"}},
    {"eval", {"bundle", "data", "format", "split", "max-samples", "threads"}},
};

Error usage(std::string message) {
  return make_error(Code::kInvalid, "InvalidArguments", std::move(message));
}

Result<Args> parse_args(const std::vector<std::string>& args) {
  if (args.empty()) return usage("a verb is missing");
  Args out;
  out.verb = args[0];
  const auto verb = kVerbs.find(out.verb);
  if (verb == kVerbs.end()) return usage("unknown verb \"" + out.verb + "\"");
  bool only_paths = false;
  for (std::size_t i = 1; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (only_paths || !arg.starts_with("--")) {
      out.paths.push_back(arg);
    } else if (arg == "--") {
      only_paths = true;
    } else if (arg == "--json") {
      out.json = true;
    } else {
      const auto equals = arg.find('=');
      const std::string key = arg.substr(2, equals == std::string::npos ? equals : equals - 2);
      if (std::find(verb->second.begin(), verb->second.end(), key) == verb->second.end()) {
        return usage("unknown option --" + key + " of " + out.verb);
      }
      if (equals != std::string::npos) {
        out.values[key] = arg.substr(equals + 1);
      } else if (i + 1 < args.size()) {
        out.values[key] = args[++i];
      } else {
        return usage("option --" + key + " needs a value");
      }
    }
  }
  if (out.get("bundle").empty()) return usage("--bundle DIR is missing");
  if (out.verb != "predict" && !out.paths.empty()) {
    return usage("unexpected argument \"" + out.paths.front() + "\"");
  }
  return out;
}

Result<int> number(const Args& args, const std::string& key, int fallback, int low, int high) {
  const std::string text = args.get(key);
  if (text.empty()) return fallback;
  int value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc{} || end != text.data() + text.size() || value < low || value > high) {
    return usage("--" + key + " must be a number from " + std::to_string(low) + " to " +
                 std::to_string(high));
  }
  return value;
}

// CPUs this process may use: a container's cpuset counts, not the machine.
int usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

Result<int> threads(const Args& args) {
  return number(args, "threads", std::min(kDefaultThreads, usable_cpus()), 1, kMaxThreads);
}

void print(const Json& value) { std::cout << dump_json(value) << std::endl; }

// ---- serve

int signal_pipe[2] = {-1, -1};

void on_signal(int) {
  const char byte = 1;
  (void)!::write(signal_pipe[1], &byte, 1);  // async-signal-safe; a full pipe means "asked already"
}

Status serve(const Args& args, Model& model) {
  if (args.get("listen").empty()) return usage("--listen ADDRESS is missing");
  TRY_ASSIGN(const ListenAddress address, parse_listen(args.get("listen")));
  if (::pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
    return errno_error(errno, "cannot make a pipe");
  }
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  Service service(model, {});
  TRY_ASSIGN(const auto server,
             SmallHttpServer::start(
                 address, {}, [&](const HttpRequest& request) { return service.handle(request); }));
  Json ready{{"ready", true},
             {"listen", server->address()},
             {"engine", model.engine_name()},
             {"network", model.network().name},
             {"classes", model.network().classes.size()}};
  if (address.unix_path.empty()) ready["port"] = server->port();
  print(ready);
  pollfd fd{signal_pipe[0], POLLIN, 0};
  while (::poll(&fd, 1, -1) < 0 && errno == EINTR) {
  }
  server->stop();
  log_info("Server stopped");
  return ok_status();
}

// ---- predict

Result<std::vector<fs::path>> expand(const std::vector<std::string>& paths) {
  std::vector<fs::path> out;
  std::error_code ec;
  for (const std::string& path : paths) {
    if (!fs::is_directory(path, ec)) {
      out.emplace_back(path);
      continue;
    }
    std::vector<fs::path> files;
    for (auto it = fs::recursive_directory_iterator(path, ec);
         !ec && it != fs::recursive_directory_iterator(); it.increment(ec)) {
      if (!it->is_regular_file(ec)) continue;
      std::string extension = it->path().extension().string();
      std::transform(extension.begin(), extension.end(), extension.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      if (extension == ".png" || extension == ".jpg" || extension == ".jpeg") {
        files.push_back(it->path());
      }
      if (files.size() > kMaxFolderImages) {
        return make_error(Code::kExhausted, "TooManyImages", path + " holds too many images");
      }
    }
    if (ec) return errno_error(ec.value(), "cannot list " + path);
    std::sort(files.begin(), files.end());
    out.insert(out.end(), files.begin(), files.end());
  }
  if (out.empty()) return usage("no image is named");
  return out;
}

Status annotate(const fs::path& folder, const fs::path& source, const vision::Image& image,
                const std::string& caption, std::map<std::string, int>& used) {
  TRY(make_dirs(folder));
  std::string stem = source.stem().string();
  // Images of different folders may share a name; none overwrites another.
  const int n = used[stem]++;
  if (n > 0) stem += "-" + std::to_string(n);
  TRY_ASSIGN(const std::string png, vision::encode_png(vision::draw_caption(image, caption)));
  const fs::path target = folder / (stem + ".png");
  TRY(write_file_atomic(target, png));
  std::cout << target.string() << "\n";
  return ok_status();
}

// False when an image could not be answered; the others are.
Result<bool> predict(const Args& args, Model& model) {
  const std::string output = args.get("output", args.json ? "json" : "text");
  if (output != "text" && output != "json" && output != "image") {
    return usage("--output must be text, json or image");
  }
  TRY_ASSIGN(const int top, number(args, "top", 5, 1, 100));
  TRY_ASSIGN(const auto files, expand(args.paths));
  const vision::DecodeLimits limits;
  std::map<std::string, int> used;
  bool all_good = true;
  for (const fs::path& file : files) {
    const auto one = [&]() -> Status {
      TRY_ASSIGN(const std::string bytes, read_file(file, limits.max_encoded_bytes));
      TRY_ASSIGN(const vision::Image image, vision::decode_image(bytes, 0, limits));
      TRY_ASSIGN(const Answer answer, model.classify(image, top));
      const std::string& name =
          model.network().classes[static_cast<std::size_t>(answer.best.index)];
      char score[32];
      std::snprintf(score, sizeof score, "%.4f", static_cast<double>(answer.best.score));
      if (output == "json") {
        Json row = model.to_json(answer);
        row["file"] = file.string();
        print(row);
      } else if (output == "image") {
        TRY(annotate(args.get("output-dir", "annotated"), file, image, name + " " + score, used));
      } else {
        std::cout << file.string() << "\t" << name << "\t" << score << "\n";
      }
      return ok_status();
    }();
    if (one.ok()) continue;
    all_good = false;
    if (output == "json") {
      print({{"file", file.string()},
             {"error", {{"reason", one.error().reason}, {"message", one.error().message}}}});
    } else {
      std::cerr << file.string() << ": " << one.error().to_string() << "\n";
    }
  }
  return all_good;
}

void print_flat(const Json& value, const std::string& prefix = {}) {
  for (const auto& [key, entry] : value.items()) {
    if (entry.is_object()) {
      print_flat(entry, prefix + key + ".");
    } else {
      std::cout << prefix << key << "\t"
                << (entry.is_string() ? entry.get<std::string>() : entry.dump()) << "\n";
    }
  }
}

void report(const Args& args, const Json& value) { args.json ? print(value) : print_flat(value); }

Result<int> dispatch(const Args& args) {
  TRY_ASSIGN(const int thread_count, threads(args));
  TRY_ASSIGN(const auto model, Model::load(args.get("bundle"), {thread_count}));
  if (args.verb == "serve") {
    TRY(serve(args, *model));
    return 0;
  }
  if (args.verb == "predict") {
    TRY_ASSIGN(const bool good, predict(args, *model));
    return good ? 0 : 1;
  }
  if (args.verb == "selftest") {
    TRY_ASSIGN(const Json result, self_test(*model));
    report(args, result);
    return get_bool(result, "passed") ? 0 : 1;
  }
  if (args.verb == "bench") {
    BenchOptions options;
    TRY_ASSIGN(options.iterations, number(args, "iterations", options.iterations, 1, 1'000'000));
    TRY_ASSIGN(const Json result, bench(*model, options, thread_count));
    report(args, result);
    return 0;
  }
  EvalOptions options;
  options.data = args.get("data");
  if (options.data.empty()) return usage("--data DIR is missing");
  options.format = args.get("format", "Auto");
  options.split = args.get("split");
  TRY_ASSIGN(const int max_samples, number(args, "max-samples", 0, 0, 1'000'000'000));
  options.max_samples = static_cast<std::uint64_t>(max_samples);
  TRY_ASSIGN(const Json result, evaluate(*model, options));
  report(args, result);
  return 0;
}

}  // namespace

int run_cli(const std::vector<std::string>& args) {
  if (!args.empty() && (args[0] == "--help" || args[0] == "help" || args[0] == "-h")) {
    std::cout << kUsage;
    return 0;
  }
  const auto parsed = parse_args(args);
  if (!parsed.ok()) {
    std::cerr << "tango-infer: " << parsed.error().message << "\n\n" << kUsage;
    return 2;
  }
  const auto result = dispatch(*parsed);
  if (result.ok()) return *result;
  const Error& error = result.error();
  if (parsed->json) {
    // One JSON object in every case; `passed` is what a gate looks at.
    print({{"passed", false}, {"reason", error.reason}, {"message", error.to_string()}});
  }
  std::cerr << "tango-infer: " << error.reason << ": " << error.to_string() << "\n";
  return error.reason == "InvalidArguments" || error.reason == "InvalidAddress" ? 2 : 1;
}

}  // namespace tango::inference

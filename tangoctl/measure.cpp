// predict and device evaluate: calls that go through the operator to a device.
#include <ostream>

#include "lib/base/file.h"
#include "tangoctl/tar_stream.h"
#include "tangoctl/verbs.h"

namespace tango::ctl {
namespace {

constexpr std::uint64_t kMaxImage = 64u << 20;

std::string_view media_type(std::string_view bytes) {
  if (bytes.substr(0, 4) == "\x89PNG") return "image/png";
  if (bytes.substr(0, 2) == "\xff\xd8") return "image/jpeg";
  return {};
}

Result<std::string> device_path(Session& session, const std::string& device, std::string_view call,
                                const std::string& slot) {
  TRY_ASSIGN(std::string ns, session.ns());
  return "/api/v1/namespaces/" + url_encode(ns) + "/devices/" + url_encode(device) + "/" +
         std::string(call) + "?slot=" + url_encode(slot);
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

// The files of one split: Idx files by their prefix; folders below <split>/ when there is one, else
// all.
Result<std::vector<std::pair<std::string, fs::path>>> evaluation_files(
    const EvaluateOptions& options) {
  std::vector<std::pair<std::string, fs::path>> out;
  std::error_code ec;
  fs::path root = options.data;
  if (!fs::is_directory(root, ec)) {
    return make_error(Code::kNotFound, "NotFound", options.data + " is not a folder");
  }
  if (options.format == "idx") {
    std::string prefix = options.split == "test"    ? "t10k-"
                         : options.split == "train" ? "train-"
                                                    : options.split + "-";
    for (const auto& entry : fs::directory_iterator(root, ec)) {
      std::string name = entry.path().filename();
      if (entry.is_regular_file(ec) && name.rfind(prefix, 0) == 0)
        out.emplace_back(name, entry.path());
    }
  } else {
    bool divided = fs::is_directory(root / options.split, ec);
    fs::path from = divided ? root / options.split : root;
    for (auto it = fs::recursive_directory_iterator(from, ec);
         it != fs::recursive_directory_iterator(); it.increment(ec)) {
      if (ec) return make_error(Code::kIo, "IoError", from.string() + ": " + ec.message());
      if (it->is_regular_file(ec) && !it->is_symlink(ec))
        out.emplace_back(fs::relative(it->path(), root, ec).string(), it->path());
    }
  }
  if (out.empty()) {
    return make_error(
        Code::kNotFound, "EmptyDataset",
        options.data + " has no files of split " + options.split + " in format " + options.format);
  }
  return out;
}

}  // namespace

int device_evaluate(Session& session, const EvaluateOptions& options) {
  if (options.data.empty()) return session.usage("device evaluate needs --data DIR");
  if (options.format != "idx" && options.format != "folder")
    return session.usage("--format must be idx or folder");
  auto timeout = parse_duration(options.timeout);
  if (!timeout.ok()) return session.usage(timeout.error().message);
  auto files = evaluation_files(options);
  if (!files.ok()) return session.fail(files.error());
  auto tar = make_tar(*files);
  if (!tar.ok()) return session.fail(tar.error());
  auto rest = session.rest();
  if (!rest.ok()) return session.fail(rest.error());
  auto path = device_path(session, options.device, "evaluate", options.slot);
  if (!path.ok()) return session.fail(path.error());
  auto answer = (*rest)->call("POST", *path + "&format=" + options.format, *tar,
                              "application/x-tar", *timeout);
  if (!answer.ok()) return session.fail(answer.error());
  if (options.output == "json") {
    session.out() << dump_json(*answer, 2) << "\n";
    return kOk;
  }
  session.out() << "accuracy  " << fixed(get_double(*answer, "accuracy"), 4) << " on "
                << get_int(*answer, "samples") << " images\n";
  const Json& latency = get(*answer, "latencyMs");
  if (latency.is_object()) {
    session.out() << "latency   p50 " << fixed(get_double(latency, "p50"), 2) << " ms, p95 "
                  << fixed(get_double(latency, "p95"), 2) << " ms\n";
  }
  return kOk;
}

int predict(Session& session, const PredictOptions& options) {
  if (options.device.empty()) return session.usage("predict needs --device NAME");
  auto rest = session.rest();
  if (!rest.ok()) return session.fail(rest.error());
  auto path = device_path(session, options.device, "predict", options.slot);
  if (!path.ok()) return session.fail(path.error());
  Json answers = Json::array();
  TextTable table({"IMAGE", "CLASS", "SCORE", "LATENCY"});
  int code = kOk;
  for (const auto& image : options.images) {
    auto bytes = read_file(image, kMaxImage);
    if (!bytes.ok()) {
      code = session.fail(bytes.error());
      continue;
    }
    std::string_view type = media_type(*bytes);
    if (type.empty()) {
      code = session.fail(
          make_error(Code::kInvalid, "NotAnImage", image + " is neither PNG nor JPEG"));
      continue;
    }
    auto answer = (*rest)->call("POST", *path, *bytes, type);
    if (!answer.ok()) {
      code = session.fail(std::move(answer).error().with_context("while sending " + image));
      continue;
    }
    double latency = get_double(*answer, "latencyMs", -1);
    table.row({image, get_string(*answer, "class"), fixed(get_double(*answer, "score"), 3),
               latency < 0 ? std::string("<none>") : fixed(latency, 2) + " ms"});
    Json row = std::move(*answer);
    row["image"] = image;
    answers.push_back(std::move(row));
  }
  if (options.output == "json") {
    session.out() << dump_json(answers, 2) << "\n";
  } else if (!table.empty()) {
    table.print(session);
  }
  return code;
}

}  // namespace tango::ctl

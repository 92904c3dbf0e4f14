#include "tangoctl/session.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ostream>

#include "lib/base/file.h"
#include "lib/kube/config.h"

namespace tango::ctl {
namespace {

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

// Where operator.json may be: the state folder that was named, or the one that the kubeconfig is
// in.
std::vector<fs::path> operator_files(const Globals& globals) {
  std::vector<fs::path> out;
  std::string state = globals.state.empty() ? env("TANGO_STATE") : globals.state;
  if (!state.empty()) out.push_back(fs::path(state) / "operator.json");
  std::string kubeconfig = globals.kubeconfig.empty() ? env("KUBECONFIG") : globals.kubeconfig;
  if (!kubeconfig.empty() && kubeconfig.find(':') == std::string::npos) {
    out.push_back(fs::path(kubeconfig).parent_path() / "operator.json");
  }
  return out;
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

RestClient::RestClient(std::unique_ptr<HttpClient> http, std::string url, Secret<std::string> token)
    : http_(std::move(http)), url_(std::move(url)), token_(std::move(token)) {
  while (!url_.empty() && url_.back() == '/') url_.pop_back();
}

Result<Json> RestClient::call(std::string_view method, std::string_view path, std::string_view body,
                              std::string_view content_type, Nanos timeout) {
  HttpRequest request;
  request.method = method;
  request.url = url_ + std::string(path);
  request.body = body;
  request.timeout = timeout;
  request.headers.emplace("Accept", "application/json");
  if (!content_type.empty()) request.headers.emplace("Content-Type", std::string(content_type));
  if (!token_.empty()) request.headers.emplace("Authorization", "Bearer " + token_.reveal());
  auto response = http_->send(request);
  if (!response.ok()) {
    return std::move(response).error().with_context("while calling the operator at " + url_);
  }
  auto parsed = parse_json(response->body);
  if (response->status >= 200 && response->status < 300) {
    if (!parsed.ok()) return std::move(parsed).error().with_context("while reading " + request.url);
    return parsed;
  }
  std::string reason = parsed.ok() ? get_string(*parsed, "reason", "HttpError") : "HttpError";
  std::string message = parsed.ok() ? get_string(*parsed, "message") : std::string();
  if (message.empty()) {
    message =
        "the operator answered " + std::to_string(response->status) + " to " + std::string(path);
  }
  Code code = response->status == 404                              ? Code::kNotFound
              : response->status == 401 || response->status == 403 ? Code::kDenied
              : response->status >= 500                            ? Code::kUnavailable
                                                                   : Code::kInvalid;
  return make_error(code, reason, message);
}

Result<kube::KubeClient*> Session::kube() {
  if (kube_ == nullptr) {
    kube::ConfigOptions options;
    options.kubeconfig = globals_.kubeconfig;
    options.context = globals_.context;
    options.ns = globals_.ns;
    if (options.kubeconfig.empty() && env("KUBECONFIG").empty()) {
      std::string state = globals_.state.empty() ? env("TANGO_STATE") : globals_.state;
      std::error_code ec;
      if (!state.empty() && fs::exists(fs::path(state) / "kubeconfig", ec)) {
        options.kubeconfig = fs::path(state) / "kubeconfig";
      }
    }
    TRY_ASSIGN(auto config, kube::load_config(options));
    config.user_agent = "tangoctl/0.1";
    TRY_ASSIGN(kube_, kube::KubeClient::connect(config));
  }
  return kube_.get();
}

Result<std::string> Session::ns() {
  if (!globals_.ns.empty()) return globals_.ns;
  TRY_ASSIGN(auto* client, kube());
  return client->config().ns.empty() ? std::string("default") : client->config().ns;
}

Result<RestClient*> Session::rest() {
  if (rest_ != nullptr) return rest_.get();
  std::string url = env("TANGO_SERVER"), token = env("TANGO_TOKEN"), ca, tried;
  for (const fs::path& file : operator_files(globals_)) {
    if (!url.empty()) break;
    tried += (tried.empty() ? "" : ", ") + file.string();
    auto text = read_file(file, 1u << 20);
    if (!text.ok()) continue;
    TRY_ASSIGN(Json json, parse_json(*text));
    url = get_string(json, "api");
    token = get_string(json, "token");
    std::string token_file = get_string(json, "tokenFile", get_string(json, "token_file"));
    if (!token_file.empty()) {
      // A relative path is meant from the folder of operator.json.
      auto secret = read_file(file.parent_path() / token_file, 1u << 16);
      if (!secret.ok())
        return std::move(secret).error().with_context("while reading " + file.string());
      token = trimmed(*secret);
    }
    if (std::string ca_file = get_string(json, "caFile"); !ca_file.empty()) {
      auto pem = read_file(file.parent_path() / ca_file, 1u << 20);
      if (pem.ok()) ca = *pem;
    }
  }
  if (url.empty()) {
    return make_error(
        Code::kNotFound, "OperatorUnknown",
        "the operator's API is not known (looked at " +
            (tried.empty() ? std::string("nothing") : tried) +
            "); name the state folder of `tangoctl up` with --state or TANGO_STATE, or set "
            "TANGO_SERVER and TANGO_TOKEN");
  }
  HttpClientOptions options;
  options.tls.ca_pem = ca;
  options.user_agent = "tangoctl/0.1";
  rest_ = std::make_unique<RestClient>(make_curl_client(options), url, Secret<std::string>(token));
  return rest_.get();
}

bool Session::colors() const {
  if (globals_.color == "always") return true;
  if (globals_.color == "never") return false;
  // https://no-color.org: set and not empty wins over everything but the flag.
  if (!env("NO_COLOR").empty()) return false;
  if (std::string force = env("CLICOLOR_FORCE"); !force.empty() && force != "0") return true;
  return io_.out_tty && env("TERM") != "dumb";
}

int Session::fail(const Error& error) {
  io_.err << "error: " << error.to_string() << "\n";
  return kError;
}

int Session::usage(std::string_view message) {
  io_.err << "error: " << message << "\n";
  return kUsage;
}

std::string painted(const Session& session, std::string_view word) {
  static constexpr std::array<std::string_view, 12> kGood{
      "True",    "Ready",    "Online",    "Succeeded", "Completed", "Available",
      "Healthy", "UpToDate", "Committed", "Running",   "Enforced",  "Complete"};
  static constexpr std::array<std::string_view, 13> kBad{
      "False",          "Failed",    "Offline",           "RolledBack",
      "Degraded",       "Unhealthy", "Quarantined",       "Unsupported",
      "Invalid",        "Error",     "DuplicateIdentity", "RolloutFailed",
      "LatencyExceeded"};
  if (!session.colors() || word.empty() || word == "<none>") return std::string(word);
  const char* code = "33";  // under way
  if (std::find(kGood.begin(), kGood.end(), word) != kGood.end()) code = "32";
  if (std::find(kBad.begin(), kBad.end(), word) != kBad.end()) code = "31";
  return "\033[" + std::string(code) + "m" + std::string(word) + "\033[0m";
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < text.size();) {
    unsigned char c = static_cast<unsigned char>(text[i]);
    if (c == 0x1b) {  // colour codes take no room
      while (i < text.size() && text[i] != 'm') ++i;
      ++i;
      continue;
    }
    std::size_t length = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    unsigned point = length == 3 && i + 2 < text.size()
                         ? (static_cast<unsigned>(c & 0x0f) << 12) |
                               (static_cast<unsigned>(text[i + 1] & 0x3f) << 6) |
                               static_cast<unsigned>(text[i + 2] & 0x3f)
                         : 0;
    bool wide = (point >= 0x1100 && point <= 0x115f) || (point >= 0x2e80 && point <= 0xa4cf) ||
                (point >= 0xac00 && point <= 0xd7a3) || (point >= 0xff00 && point <= 0xff60);
    width += wide ? 2 : 1;
    i += length;
  }
  return width;
}

std::string_view one_line(std::string_view text) { return text.substr(0, text.find('\n')); }

void TextTable::print(Session& session, bool with_header, std::string_view indent) const {
  constexpr std::size_t kGap = 3;
  std::vector<std::size_t> widths(header_.size(), 0);
  auto measure = [&](const std::vector<std::string>& cells) {
    for (std::size_t i = 0; i < cells.size() && i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(cells[i]));
    }
  };
  if (with_header) measure(header_);
  for (const auto& row : rows_) measure(row);
  auto tells_state = [&](std::size_t i) {
    for (std::string_view name : {"STATUS", "STATE", "REACHABLE", "RELEASE", "HEALTH"}) {
      if (i < header_.size() && header_[i] == name) return true;
    }
    return false;
  };
  auto line = [&](const std::vector<std::string>& cells, bool paint) {
    std::string text(indent);
    for (std::size_t i = 0; i < cells.size(); ++i) {
      bool last = i + 1 == cells.size();
      text += paint && tells_state(i) ? painted(session, cells[i]) : cells[i];
      if (!last) text += std::string(widths[i] - display_width(cells[i]) + kGap, ' ');
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    session.out() << text << "\n";
  };
  if (with_header) line(header_, false);
  for (const auto& row : rows_) line(row, true);
}

}  // namespace tango::ctl

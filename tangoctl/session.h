// What every verb of tangoctl works with: where to print, which namespace, the API server and the
// operator's REST API (both connected on first use). Verbs return exit codes; errors go to stderr.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/http.h"
#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/kube/client.h"

namespace tango::ctl {

enum ExitCode : int {
  kOk = 0,
  kError = 1,
  kUsage = 2,
  kWaitTimeout = 4,
  kFinishedFailed = 5,
};

struct Io {
  std::ostream& out;
  std::ostream& err;
  std::istream& in;
  bool out_tty = false;
};

struct Globals {
  std::string kubeconfig;
  std::string context;
  std::string ns;
  bool all_namespaces = false;
  std::string color = "auto";  // auto | always | never
  std::string
      state;  // state folder of `tangoctl up`; else $TANGO_STATE, else beside the kubeconfig
};

// The operator's management API (operator/openapi.yaml).
class RestClient {
 public:
  RestClient(std::unique_ptr<HttpClient> http, std::string url, Secret<std::string> token);
  // The JSON answer of a success. Errors: the API's {code, reason, message}, or ConnectFailed, ...
  Result<Json> call(std::string_view method, std::string_view path, std::string_view body = {},
                    std::string_view content_type = {}, Nanos timeout = Seconds{30});
  const std::string& url() const { return url_; }

 private:
  std::unique_ptr<HttpClient> http_;
  std::string url_;
  Secret<std::string> token_;
};

class Session {
 public:
  Session(Io io, Globals globals) : io_(io), globals_(std::move(globals)) {}

  Io& io() { return io_; }
  Globals& globals() { return globals_; }
  std::ostream& out() { return io_.out; }
  std::ostream& err() { return io_.err; }

  // Errors: as load_config and connect.
  Result<kube::KubeClient*> kube();
  // Where a namespaced request goes: -n, else the context's namespace.
  Result<std::string> ns();
  // Errors: OperatorUnknown (says where it looked), ConnectFailed.
  Result<RestClient*> rest();
  bool colors() const;
  // Prints "error: ..." and answers kError.
  int fail(const Error& error);
  int usage(std::string_view message);

 private:
  Io io_;
  Globals globals_;
  std::unique_ptr<kube::KubeClient> kube_;
  std::unique_ptr<RestClient> rest_;
};

// A status word in the colour of its kind (green: good, yellow: under way, red: bad) when colours
// are on.
std::string painted(const Session& session, std::string_view word);

// A table as kubectl prints it: columns as wide as needed, three spaces between, no trailing
// blanks.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : header_(std::move(header)) {}
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  void print(Session& session, bool with_header = true, std::string_view indent = {}) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// Columns that a terminal needs for a text (UTF-8, East Asian wide characters count twice).
std::size_t display_width(std::string_view text);
std::string_view one_line(std::string_view text);  // up to the first newline

}  // namespace tango::ctl

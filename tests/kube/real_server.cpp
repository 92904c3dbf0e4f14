// The environment on Debian's kube-apiserver 1.20, built beforehand by scripts/real-kube.
#include <unistd.h>

#include <cstdlib>

#include "lib/base/file.h"
#include "lib/base/subprocess.h"
#include "tests/kube/server_environment.h"

namespace tango::kube::test {
namespace {

class RealServer : public ServerEnvironment {
 public:
  RealServer() {
    const char* source = std::getenv("TANGO_SOURCE_DIR");
    script_ = std::string(source ? source : ".") + "/scripts/real-kube";
    const Status up = run("up");
    if (!up.ok()) {
      missing = up.error().message;
      return;
    }
    kubeconfig = (state_ / "kubeconfig").string();
    auto loaded = load_config({.kubeconfig = kubeconfig});
    if (loaded.ok()) {
      config = std::move(*loaded);
    } else {
      missing = loaded.error().to_string();
    }
  }
  ~RealServer() override { (void)run("down"); }

 private:
  Status run(const std::string& verb) {
    ProcessOptions options;
    // Files, not pipes: the servers that `up` leaves running would hold a pipe open.
    options.argv = {"bash",  "-c", "\"$0\" \"$@\" > \"$2/out\" 2>&1",
                    script_, verb, state_.path().string()};
    options.env["TANGO_KUBE_OWNER"] = std::to_string(::getpid());
    auto done = run_process(options, Seconds{100});
    if (!done.ok()) return std::move(done).error();
    if (done->status.ok()) return ok_status();
    return make_error(Code::kUnavailable, "NoServer",
                      read_file(state_ / "out").value_or("scripts/real-kube failed"));
  }
  TempDir state_{"tango-real-kube"};
  std::string script_;
};

}  // namespace

std::unique_ptr<ServerEnvironment> start_server() { return std::make_unique<RealServer>(); }

}  // namespace tango::kube::test

// The bounded HTTP server: cpprestsdk behind lib/base/http.h. Everything of that library stays in
// this file. Requests are read whole and answered whole; handlers run on a small pool of their own,
// so that a slow one never blocks the library's I/O threads.
#include <arpa/inet.h>
#include <cpprest/http_listener.h>
#include <netinet/in.h>
#include <pplx/threadpool.h>
#include <sys/socket.h>

#include <condition_variable>
#include <deque>
#include <system_error>
#include <thread>

#include "lib/base/file.h"
#include "lib/base/http.h"
#include "lib/base/json.h"
#include "lib/base/log.h"

namespace tango {
namespace {

namespace rest = web::http;
using rest::experimental::listener::http_listener;
using rest::experimental::listener::http_listener_config;

constexpr std::size_t kMaxQueued = 256;  // requests that wait for a handler thread
constexpr int kIoThreads = 2;
constexpr int kBindAttempts = 8;

// The library cannot tell which port it got for port 0, so one is chosen before; and a failed open
// of a port that another listener of this process has would take that one down with it.
Result<std::uint16_t> probe_port(const std::string& address, std::uint16_t port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in sa{};
  sa.sin_family = AF_INET;
  sa.sin_port = htons(port);
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (inet_pton(AF_INET, address.c_str(), &sa.sin_addr) != 1) {
    return make_error(Code::kInvalid, "ListenFailed",
                      "the listen address " + address + " is not an IPv4 address");
  }
  socklen_t size = sizeof sa;
  if (!fd.valid() || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&sa), size) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&sa), &size) != 0) {
    return make_error(Code::kUnavailable, "ListenFailed",
                      "cannot listen on " + address + ":" + std::to_string(port) + ": " +
                          std::generic_category().message(errno));
  }
  return ntohs(sa.sin_port);
}

class HandlerPool {
 public:
  explicit HandlerPool(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~HandlerPool() { stop(); }

  bool submit(std::function<void()> job) {
    const std::lock_guard lock(mutex_);
    if (stopping_ || jobs_.size() >= kMaxQueued) return false;
    jobs_.push_back(std::move(job));
    wake_.notify_one();
    return true;
  }
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& t : threads_) {
      if (t.joinable()) t.join();
    }
  }

 private:
  void work() {
    while (true) {
      std::function<void()> job;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
        if (jobs_.empty()) return;
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      job();
    }
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

void answer(const rest::http_request& request, HttpResponse response) {
  try {
    rest::http_response out(static_cast<rest::status_code>(response.status));
    const auto begin = reinterpret_cast<const unsigned char*>(response.body.data());
    out.set_body(std::vector<unsigned char>(begin, begin + response.body.size()));
    for (const auto& [name, value] : response.headers) {
      out.headers().remove(name);
      out.headers().add(name, value);
    }
    request.reply(out).then([](const pplx::task<void>& sent) {
      try {
        sent.get();
      } catch (const std::exception& e) {
        log_debug("Sending an answer failed", {{"error", e.what()}});
      }
    });
  } catch (const std::exception& e) {
    log_warn("Answering a request failed", {{"error", e.what()}});
  }
}

HttpResponse error_response(int status, std::string_view reason, std::string message) {
  const Json body{{"error", {{"reason", std::string(reason)}, {"message", std::move(message)}}}};
  return HttpResponse{status, {{"Content-Type", "application/json"}}, dump_json(body)};
}

class CpprestServer : public HttpServer {
 public:
  CpprestServer(const HttpServerOptions& options, HttpHandler handler)
      : options_(options), handler_(std::move(handler)), pool_(std::max(options.threads, 1)) {}
  ~CpprestServer() override { CpprestServer::stop(); }

  Status open() {
    static const bool initialised = [] {
      try {
        crossplat::threadpool::initialize_with_threads(kIoThreads);
      } catch (const std::exception&) {
        // Another listener of this process did it before.
      }
      return true;
    }();
    (void)initialised;
    std::string problem;
    const int attempts = options_.port == 0 ? kBindAttempts : 1;
    for (int i = 0; i < attempts; ++i) {
      TRY_ASSIGN(port_, probe_port(options_.address, options_.port));
      try {
        listen();
        return ok_status();
      } catch (const std::exception& e) {
        problem = e.what();
        listener_.reset();
      }
    }
    return make_error(
        Code::kUnavailable, "ListenFailed",
        "cannot listen on " + options_.address + ":" + std::to_string(port_) + ": " + problem);
  }

  std::uint16_t port() const override { return port_; }

  void stop() override {
    if (listener_) {
      try {
        listener_->close().wait();
      } catch (const std::exception& e) {
        log_warn("Closing the HTTP listener failed", {{"error", e.what()}});
      }
    }
    pool_.stop();
    listener_.reset();
  }

 private:
  void listen() {
    http_listener_config config;
    config.set_timeout(utility::seconds(120));
    const bool tls = !options_.cert_pem.empty();
    if (tls) {
      config.set_ssl_context_callback([this](boost::asio::ssl::context& context) {
        context.set_options(
            boost::asio::ssl::context::default_workarounds | boost::asio::ssl::context::no_sslv2 |
            boost::asio::ssl::context::no_sslv3 | boost::asio::ssl::context::no_tlsv1 |
            boost::asio::ssl::context::no_tlsv1_1);
        const std::string& key = options_.key_pem.reveal();
        context.use_certificate_chain(boost::asio::buffer(options_.cert_pem));
        context.use_private_key(boost::asio::buffer(key), boost::asio::ssl::context::pem);
      });
    }
    const std::string url =
        (tls ? "https://" : "http://") + options_.address + ":" + std::to_string(port_) + "/";
    listener_ = std::make_unique<http_listener>(web::uri(url), config);
    listener_->support([this](const rest::http_request& request) { accept(request); });
    for (const auto& method :
         {rest::methods::GET, rest::methods::POST, rest::methods::PUT, rest::methods::DEL,
          rest::methods::PATCH, rest::methods::HEAD, rest::methods::OPTIONS}) {
      listener_->support(method, [this](const rest::http_request& request) { accept(request); });
    }
    listener_->open().wait();
  }

  void accept(const rest::http_request& request) {
    const auto& headers = request.headers();
    if (headers.has("Transfer-Encoding")) {
      // Chunked bodies have no length to check beforehand.
      refuse(request, error_response(411, "LengthRequired", "send the body with a Content-Length"));
      return;
    }
    if (headers.content_length() > options_.max_body) {
      refuse(request, error_response(413, "BodyTooLarge",
                                     "the body has more than " + std::to_string(options_.max_body) +
                                         " bytes"));
      return;
    }
    auto self = this;
    request.content_ready().then([self](const pplx::task<rest::http_request>& ready) {
      try {
        rest::http_request whole = ready.get();
        whole.extract_vector().then(
            [self, whole](const pplx::task<std::vector<unsigned char>>& body) {
              try {
                const auto bytes = body.get();
                self->dispatch(whole, std::string(bytes.begin(), bytes.end()));
              } catch (const std::exception& e) {
                answer(whole, error_response(400, "BadRequest",
                                             std::string("reading the body failed: ") + e.what()));
              }
            });
      } catch (const std::exception& e) {
        log_debug("Reading a request failed", {{"error", e.what()}});
      }
    });
  }

  // Answers without the body; closing its buffer keeps the library from collecting it in memory.
  static void refuse(const rest::http_request& request, HttpResponse response) {
    response.headers.emplace("Connection", "close");
    answer(request, std::move(response));
    try {
      request.body().close();
    } catch (const std::exception& e) {
      log_debug("Closing a refused body failed", {{"error", e.what()}});
    }
  }

  void dispatch(const rest::http_request& request, std::string body) {
    HttpRequest in;
    in.method = request.method();
    in.url = request.request_uri().to_string();
    for (const auto& [name, value] : request.headers()) in.headers.emplace(name, value);
    in.remote = request.remote_address();
    in.body = std::move(body);
    const bool queued = pool_.submit([this, request, in = std::move(in)] {
      HttpReply reply = handler_(in);
      if (reply.stream) {
        answer(request, error_response(501, "Unsupported", "this port does not stream"));
        return;
      }
      answer(request, std::move(reply.response));
    });
    if (!queued)
      answer(request, error_response(503, "Overloaded", "too many requests wait; try again"));
  }

  HttpServerOptions options_;
  HttpHandler handler_;
  HandlerPool pool_;
  std::uint16_t port_ = 0;
  std::unique_ptr<http_listener> listener_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> start_cpprest_server(const HttpServerOptions& options,
                                                         HttpHandler handler) {
  if (!options.client_ca_pem.empty()) {
    return make_error(
        Code::kUnsupported, "Unsupported",
        "client certificates cannot identify callers on this port; use bearer tokens");
  }
  auto server = std::make_unique<CpprestServer>(options, std::move(handler));
  TRY(server->open());
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace tango

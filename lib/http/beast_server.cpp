#include <openssl/ssl.h>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <thread>

#include "lib/base/log.h"
#include "lib/http/beast_session.h"

namespace tango {
namespace {

namespace asio = boost::asio;
using beast_http::ServerState;
using boost::system::error_code;

constexpr int kMaxConnections = 4096;
constexpr auto kAcceptBackoff = std::chrono::milliseconds(50);

Status set_up_tls(ServerState& state) {
  try {
    auto tls = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_server);
    SSL_CTX_set_min_proto_version(tls->native_handle(), TLS1_2_VERSION);
    tls->use_certificate_chain(asio::buffer(state.options.cert_pem));
    const std::string& key = state.options.key_pem.reveal();
    tls->use_private_key(asio::buffer(key), asio::ssl::context::pem);
    if (!state.options.client_ca_pem.empty()) {
      // A certificate is optional (tokens are the other way in), but one that is sent must verify.
      tls->add_certificate_authority(asio::buffer(state.options.client_ca_pem));
      tls->set_verify_mode(asio::ssl::verify_peer);
    }
    // Session resumption would need a session id context with client certificates; not worth it.
    SSL_CTX_set_session_cache_mode(tls->native_handle(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(tls->native_handle(), SSL_OP_NO_TICKET);
    state.tls = std::move(tls);
  } catch (const std::exception& e) {
    return make_error(Code::kInvalid, "TlsFailed",
                      std::string("TLS certificate or key was not accepted: ") + e.what());
  }
  return ok_status();
}

class BeastServer : public HttpServer {
 public:
  BeastServer(std::shared_ptr<ServerState> state, asio::ip::tcp::acceptor acceptor)
      : state_(std::move(state)),
        acceptor_(std::move(acceptor)),
        backoff_(state_->io),
        port_(acceptor_.local_endpoint().port()) {
    accept();
    thread_ = std::thread([state = state_] {
      auto work = asio::make_work_guard(state->io);
      state->io.run();
    });
  }
  ~BeastServer() override { stop(); }

  std::uint16_t port() const override { return port_; }

  void stop() override {
    if (state_->stopping.exchange(true)) return;
    asio::post(state_->io, [this] {
      error_code ignored;
      acceptor_.close(ignored);
      backoff_.cancel();
      std::vector<std::weak_ptr<beast_http::Connection>> all;
      {
        std::lock_guard lock(state_->mutex);
        all.swap(state_->connections);
      }
      for (auto& weak : all) {
        if (auto c = weak.lock()) c->abort();
      }
    });
    state_->handlers.join();  // running handlers end; their answers go nowhere
    asio::post(state_->io, [this] { state_->io.stop(); });
    thread_.join();
    // Pending operations hold sessions, which hold the state: drop the handler so that nothing of
    // the owner's is reached any more.
    state_->handler = nullptr;
  }

 private:
  void accept() {
    acceptor_.async_accept([this](error_code ec, asio::ip::tcp::socket socket) {
      if (state_->stopping) return;
      if (ec) {
        // Out of descriptors, most likely: breathe instead of spinning.
        backoff_.expires_after(kAcceptBackoff);
        backoff_.async_wait([this](error_code e) {
          if (!e) accept();
        });
        return;
      }
      if (state_->open < kMaxConnections) {
        auto connection = beast_http::make_connection(state_, std::move(socket));
        {
          std::lock_guard lock(state_->mutex);
          auto& list = state_->connections;
          if (list.size() >= sweep_at_) {
            std::erase_if(list, [](const auto& w) { return w.expired(); });
            sweep_at_ = list.size() * 2 + 64;
          }
          list.push_back(connection);
        }
        connection->start();
      }
      accept();
    });
  }

  std::shared_ptr<ServerState> state_;
  asio::ip::tcp::acceptor acceptor_;
  asio::steady_timer backoff_;
  std::uint16_t port_;
  std::size_t sweep_at_ = 64;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> start_beast_server(const HttpServerOptions& options,
                                                       HttpHandler handler) {
  auto state = std::make_shared<ServerState>(options, std::move(handler));
  if (!options.cert_pem.empty()) TRY(set_up_tls(*state));
  try {
    asio::ip::tcp::endpoint endpoint(asio::ip::make_address(options.address), options.port);
    asio::ip::tcp::acceptor acceptor(state->io);
    acceptor.open(endpoint.protocol());
    acceptor.set_option(asio::socket_base::reuse_address(true));
    acceptor.bind(endpoint);
    acceptor.listen(asio::socket_base::max_listen_connections);
    return std::unique_ptr<HttpServer>(std::make_unique<BeastServer>(state, std::move(acceptor)));
  } catch (const std::exception& e) {
    return make_error(Code::kUnavailable, "ListenFailed",
                      "Cannot listen on " + options.address + ":" + std::to_string(options.port) +
                          ": " + e.what());
  }
}

}  // namespace tango

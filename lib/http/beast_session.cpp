#include "lib/http/beast_session.h"

#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <deque>
#include <optional>

#include "lib/base/log.h"

namespace tango::beast_http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using boost::system::error_code;

constexpr std::uint32_t kMaxHeaderBytes = 64 * 1024;
constexpr auto kIdleTimeout = std::chrono::seconds(90);
constexpr auto kBodyTimeout = std::chrono::seconds(120);
constexpr auto kWriteTimeout = std::chrono::seconds(60);
constexpr std::size_t kMaxGather = 64;  // queued pieces per write

std::string subject_of(SSL* ssl) {
  X509* cert = SSL_get_peer_certificate(ssl);
  if (cert == nullptr) return {};
  std::string out;
  if (SSL_get_verify_result(ssl) == X509_V_OK) {
    BIO* bio = BIO_new(BIO_s_mem());
    X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253);
    char* data = nullptr;
    long n = BIO_get_mem_data(bio, &data);
    out.assign(data, static_cast<std::size_t>(n));
    BIO_free(bio);
  }
  X509_free(cert);
  return out;
}

const char* reason_of(int status) {
  auto text = bhttp::obsolete_reason(bhttp::int_to_status(static_cast<unsigned>(status)));
  return text.empty() ? "Unknown" : text.data();
}

// Head of a response as bytes. Content-Length or chunked is ours to say; header values are cut at
// line ends so that no handler can inject a header.
std::string head_of(const HttpResponse& response, bool keep_alive, bool chunked, bool http11) {
  std::string out =
      "HTTP/1.1 " + std::to_string(response.status) + " " + reason_of(response.status) + "\r\n";
  for (const auto& [name, value] : response.headers) {
    HeaderLess less;
    auto same = [&](std::string_view other) { return !less(name, other) && !less(other, name); };
    if (same("Content-Length") || same("Transfer-Encoding") || same("Connection")) continue;
    out += name + ": " + value.substr(0, value.find_first_of("\r\n")) + "\r\n";
  }
  if (chunked && http11) out += "Transfer-Encoding: chunked\r\n";
  if (!chunked && response.status != 204 && response.status != 304) {
    out += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  }
  if (!keep_alive) out += "Connection: close\r\n";
  return out + "\r\n";
}

std::string chunk_of(std::string_view data) {
  char size[24];
  std::snprintf(size, sizeof size, "%zx\r\n", data.size());
  std::string out(size);
  out.append(data).append("\r\n");
  return out;
}

template <typename Stream>
class Session;

// Bounded queue between any thread and the connection's writes.
template <typename Stream>
class QueuedStream : public HttpStream {
 public:
  QueuedStream(std::weak_ptr<Session<Stream>> session, std::shared_ptr<ServerState> state,
               bool chunked)
      : session_(std::move(session)), state_(std::move(state)), chunked_(chunked) {}
  bool send(std::string data) override {
    if (data.empty()) return !closed();
    if (chunked_) data = chunk_of(data);
    std::lock_guard lock(mutex_);
    if (closed_ || finishing_) return false;
    queued_ += data.size();
    if (queued_ > state_->options.max_queued_bytes) {
      finishing_ = true;
      post_abort();
      return false;
    }
    queue_.push_back(std::move(data));
    wake();
    return true;
  }
  void close() override {
    std::lock_guard lock(mutex_);
    if (closed_ || finishing_) return;
    finishing_ = true;
    if (chunked_) queue_.push_back("0\r\n\r\n");
    end_queued_ = true;
    wake();
  }
  bool closed() const override {
    std::lock_guard lock(mutex_);
    return closed_ || finishing_;
  }
  void on_close(std::function<void()> callback) override {
    {
      std::lock_guard lock(mutex_);
      if (!closed_) {
        callback_ = std::move(callback);
        return;
      }
    }
    callback();
  }

  // I/O thread only, from here on.
  void begin() {
    std::lock_guard lock(mutex_);
    started_ = true;
    if (!queue_.empty() || end_queued_) wake();
  }
  void woken() {
    std::lock_guard lock(mutex_);
    woken_ = false;
  }
  // Moves up to kMaxGather pieces out; false: nothing to write now.
  bool take(std::vector<std::string>& out, bool& last) {
    std::lock_guard lock(mutex_);
    out.clear();
    while (!queue_.empty() && out.size() < kMaxGather) {
      out.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    last = end_queued_ && queue_.empty();
    writing_ = !out.empty() || last;
    return writing_;
  }
  void written(std::size_t bytes) {
    std::lock_guard lock(mutex_);
    queued_ -= std::min(queued_, bytes);
    writing_ = false;
    if (!queue_.empty() || end_queued_) wake();
  }
  void ended() {
    std::function<void()> callback;
    {
      std::lock_guard lock(mutex_);
      if (closed_) return;
      closed_ = true;
      queue_.clear();
      callback = std::move(callback_);
      callback_ = nullptr;
    }
    if (callback) callback();
  }

 private:
  void wake();
  void post_abort();

  std::weak_ptr<Session<Stream>> session_;
  std::shared_ptr<ServerState> state_;
  const bool chunked_;
  mutable std::mutex mutex_;
  std::deque<std::string> queue_;
  std::size_t queued_ = 0;
  bool started_ = false, writing_ = false, woken_ = false, finishing_ = false, end_queued_ = false,
       closed_ = false;
  std::function<void()> callback_;
};

template <typename Stream>
class Session : public Connection, public std::enable_shared_from_this<Session<Stream>> {
 public:
  static constexpr bool kTls = !std::is_same_v<Stream, beast::tcp_stream>;

  Session(std::shared_ptr<ServerState> state, asio::ip::tcp::socket socket) requires(!kTls)
      : state_(std::move(state)), stream_(std::move(socket)) {
    note_peer();
  }
  Session(std::shared_ptr<ServerState> state, asio::ip::tcp::socket socket) requires kTls
      : state_(std::move(state)),
        stream_(beast::tcp_stream(std::move(socket)), *state_->tls) {
    note_peer();
  }
  ~Session() override {
    if (out_) out_->ended();
    --state_->open;
  }

  void start() override {
    if constexpr (kTls) {
      lowest().expires_after(state_->options.header_timeout);
      stream_.async_handshake(asio::ssl::stream_base::server,
                              [self = this->shared_from_this()](error_code ec) {
                                if (ec) return;
                                self->subject_ = subject_of(self->stream_.native_handle());
                                self->read_request(true);
                              });
    } else {
      read_request(true);
    }
  }

  void abort() override {
    error_code ignored;
    lowest().socket().close(ignored);
    if (out_) out_->ended();
  }

  // A queue's wake-up arrived.
  void pump() {
    if (!out_) return;
    out_->woken();
    flush();
  }

  void flush() {
    if (!out_) return;
    bool last = false;
    if (!out_->take(pieces_, last)) return;
    std::vector<asio::const_buffer> buffers;
    for (const std::string& p : pieces_) buffers.emplace_back(p.data(), p.size());
    // Watches may be silent for hours, but a write that makes no progress is a dead peer.
    write_deadline(true);
    asio::async_write(stream_, buffers,
                      [self = this->shared_from_this(), last](error_code ec, std::size_t n) {
                        self->write_deadline(false);
                        if (ec) return self->abort();
                        if (self->out_) self->out_->written(n);
                        if (last) self->finish_stream();
                      });
  }

 private:
  beast::tcp_stream& lowest() {
    if constexpr (kTls) {
      return stream_.next_layer();
    } else {
      return stream_;
    }
  }
  void note_peer() {
    ++state_->open;
    error_code ec;
    auto peer = lowest().socket().remote_endpoint(ec);
    if (!ec) remote_ = peer.address().to_string();
    lowest().socket().set_option(asio::ip::tcp::no_delay(true), ec);
    lowest().socket().set_option(asio::socket_base::keep_alive(true), ec);
  }
  // While a stream is open, a read stays pending, so its expiry must not be touched: writes get a
  // timer of their own.
  void write_deadline(bool arm) {
    if (!arm) {
      timer_.cancel();
      return;
    }
    timer_.expires_after(kWriteTimeout);
    timer_.async_wait([weak = this->weak_from_this()](error_code ec) {
      if (ec) return;
      if (auto self = weak.lock()) self->abort();
    });
  }

  void read_request(bool first) {
    if (state_->stopping) return abort();
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(state_->options.max_body);
    if (first || buffer_.size() > 0) {
      lowest().expires_after(state_->options.header_timeout);
    } else {
      lowest().expires_after(kIdleTimeout);
    }
    if (buffer_.size() > 0 || first) return read_header();
    // An idle connection may wait long; once the first byte is here the header deadline counts.
    stream_.async_read_some(buffer_.prepare(4096),
                            [self = this->shared_from_this()](error_code ec, std::size_t n) {
                              if (ec) return;
                              self->buffer_.commit(n);
                              self->lowest().expires_after(self->state_->options.header_timeout);
                              self->read_header();
                            });
  }

  void read_header() {
    bhttp::async_read_header(
        stream_, buffer_, *parser_,
        [self = this->shared_from_this()](error_code ec, std::size_t) { self->on_header(ec); });
  }

  void on_header(error_code ec) {
    if (ec == bhttp::error::end_of_stream || ec == beast::error::timeout) return abort();
    if (ec == bhttp::error::header_limit) return refuse(431, "Request headers are too large.");
    if (ec == bhttp::error::body_limit) return refuse(413, "Request body is too large.");
    if (ec) {
      if (ec.category() == bhttp::make_error_code(bhttp::error::bad_version).category()) {
        return refuse(400, "Malformed HTTP request.");
      }
      return abort();
    }
    lowest().expires_after(kBodyTimeout);
    if (beast::iequals(parser_->get()[bhttp::field::expect], "100-continue")) {
      interim_ = "HTTP/1.1 100 Continue\r\n\r\n";
      asio::async_write(stream_, asio::buffer(interim_),
                        [self = this->shared_from_this()](error_code e, std::size_t) {
                          if (!e) self->read_body();
                        });
      return;
    }
    read_body();
  }

  void read_body() {
    bhttp::async_read(stream_, buffer_, *parser_,
                      [self = this->shared_from_this()](error_code ec, std::size_t) {
                        if (ec == bhttp::error::body_limit)
                          return self->refuse(413, "Request body is too large.");
                        if (ec) return self->abort();
                        self->dispatch();
                      });
  }

  void dispatch() {
    lowest().expires_never();
    auto message = parser_->release();
    keep_alive_ = message.keep_alive();
    http11_ = message.version() >= 11;
    HttpRequest request;
    request.method = std::string(message.method_string());
    request.url = std::string(message.target());
    for (const auto& field : message) {
      request.headers.emplace(std::string(field.name_string()), std::string(field.value()));
    }
    request.body = std::move(message.body());
    request.remote = remote_;
    request.client_cert_subject = subject_;
    head_only_ = request.method == "HEAD";
    asio::post(state_->handlers, [self = this->shared_from_this(), request = std::move(request)] {
      HttpReply reply;
      try {
        reply = self->state_->handler(request);
      } catch (const std::exception& e) {
        log_error("HTTP handler threw", {{"error", e.what()}, {"path", request.url}});
        reply.response = HttpResponse{500, {}, "internal error\n"};
      }
      asio::post(self->state_->io,
                 [self, reply = std::move(reply)]() mutable { self->answer(std::move(reply)); });
    });
  }

  void answer(HttpReply reply) {
    if (reply.stream) return answer_stream(std::move(reply));
    outgoing_ = head_of(reply.response, keep_alive_, false, http11_);
    if (!head_only_) outgoing_ += reply.response.body;
    lowest().expires_after(kWriteTimeout);
    asio::async_write(stream_, asio::buffer(outgoing_),
                      [self = this->shared_from_this()](error_code ec, std::size_t) {
                        if (ec) return self->abort();
                        if (!self->keep_alive_) return self->shutdown();
                        self->outgoing_.clear();
                        self->read_request(false);
                      });
  }

  void answer_stream(HttpReply reply) {
    if (!http11_) keep_alive_ = false;
    outgoing_ = head_of(reply.response, keep_alive_, true, http11_);
    out_ = std::make_shared<QueuedStream<Stream>>(this->weak_from_this(), state_, http11_);
    auto out = out_;
    asio::async_write(stream_, asio::buffer(outgoing_),
                      [self = this->shared_from_this(), out](error_code ec, std::size_t) {
                        if (ec) return self->abort();
                        out->begin();
                        self->watch_peer();
                      });
    // The producer starts on a handler thread; what it sends meanwhile is queued.
    asio::post(state_->handlers, [out, start = std::move(reply.stream)] { start(out); });
  }

  // A pending read is the only way to learn that an idle peer went away.
  void watch_peer() {
    if (!out_) return;
    reading_ = true;
    stream_.async_read_some(buffer_.prepare(4096),
                            [self = this->shared_from_this()](error_code ec, std::size_t n) {
                              self->reading_ = false;
                              if (ec) return self->abort();
                              self->buffer_.commit(n);
                              if (self->resume_) {
                                self->resume_ = false;
                                return self->read_request(false);
                              }
                              if (self->buffer_.size() > kMaxHeaderBytes) return self->abort();
                              self->watch_peer();
                            });
  }

  void finish_stream() {
    out_->ended();
    out_.reset();
    if (!keep_alive_) return shutdown();
    // The pending read now belongs to the next request.
    if (reading_) {
      resume_ = true;
      return;
    }
    read_request(false);
  }

  void refuse(int status, std::string text) {
    HttpResponse response{status, {{"Content-Type", "text/plain"}}, text + "\n"};
    keep_alive_ = false;
    outgoing_ = head_of(response, false, false, true) + response.body;
    lowest().expires_after(kWriteTimeout);
    asio::async_write(
        stream_, asio::buffer(outgoing_),
        [self = this->shared_from_this()](error_code, std::size_t) { self->shutdown(); });
  }

  void shutdown() {
    if constexpr (kTls) {
      lowest().expires_after(std::chrono::seconds(2));
      stream_.async_shutdown([self = this->shared_from_this()](error_code) { self->abort(); });
    } else {
      error_code ignored;
      lowest().socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
      // Unread bytes of a refused body would turn the close into a reset that eats the answer.
      drain(0);
    }
  }
  void drain(std::size_t seen) {
    if (seen > (1u << 20)) return abort();
    buffer_.clear();
    lowest().expires_after(std::chrono::seconds(1));
    stream_.async_read_some(buffer_.prepare(16384),
                            [self = this->shared_from_this(), seen](error_code ec, std::size_t n) {
                              if (ec) return self->abort();
                              self->drain(seen + n);
                            });
  }

  std::shared_ptr<ServerState> state_;
  Stream stream_;
  beast::flat_buffer buffer_;
  std::optional<bhttp::request_parser<bhttp::string_body>> parser_;
  asio::steady_timer timer_{state_->io};
  std::shared_ptr<QueuedStream<Stream>> out_;
  std::vector<std::string> pieces_;
  std::string outgoing_, interim_, remote_, subject_;
  bool keep_alive_ = true, http11_ = true, head_only_ = false, reading_ = false, resume_ = false;
};

template <typename Stream>
void QueuedStream<Stream>::wake() {
  if (!started_ || writing_ || woken_) return;
  woken_ = true;
  asio::post(state_->io, [weak = session_] {
    if (auto session = weak.lock()) session->pump();
  });
}

template <typename Stream>
void QueuedStream<Stream>::post_abort() {
  asio::post(state_->io, [weak = session_] {
    if (auto session = weak.lock()) session->abort();
  });
}

}  // namespace

std::shared_ptr<Connection> make_connection(std::shared_ptr<ServerState> state,
                                            asio::ip::tcp::socket socket) {
  if (state->tls) {
    return std::make_shared<Session<beast::ssl_stream<beast::tcp_stream>>>(std::move(state),
                                                                           std::move(socket));
  }
  return std::make_shared<Session<beast::tcp_stream>>(std::move(state), std::move(socket));
}

}  // namespace tango::beast_http

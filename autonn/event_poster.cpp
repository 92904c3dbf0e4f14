#include "autonn/event_poster.h"

#include <fstream>

namespace tango::autonn {
namespace {

constexpr std::size_t kMaxBody = 1u << 20;
constexpr Nanos kTimeout = Seconds{5};
constexpr Nanos kLastTimeout = Seconds{2};

}  // namespace

EventPoster::EventPoster(HttpClient& http, std::string url, Secret<std::string> token,
                         std::filesystem::path file)
    : http_(http), url_(std::move(url)), token_(std::move(token)), file_(std::move(file)) {
  thread_ = std::thread([this] { loop(); });
}

EventPoster::~EventPoster() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
  post(kLastTimeout);
}

void EventPoster::loop() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    lock.unlock();
    post(kTimeout);
    lock.lock();
    wake_.wait_for(lock, Seconds{1}, [this] { return stop_; });
  }
}

void EventPoster::post(Nanos timeout) {
  std::ifstream in(file_, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(sent_));
  std::string body(kMaxBody, '\0');
  in.read(body.data(), static_cast<std::streamsize>(body.size()));
  body.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, in.gcount())));
  const auto end = body.rfind('\n');
  if (end == std::string::npos) return;
  body.resize(end + 1);
  HttpRequest request;
  request.method = "POST";
  request.url = url_;
  request.timeout = timeout;
  request.connect_timeout = timeout;
  request.headers.emplace("Content-Type", "application/x-ndjson");
  if (!token_.empty()) request.headers.emplace("Authorization", "Bearer " + token_.reveal());
  request.body = std::move(body);
  const std::size_t bytes = request.body.size();
  const auto response = http_.send(request);
  if (response.ok() && response->status >= 200 && response->status < 300) sent_ += bytes;
}

}  // namespace tango::autonn

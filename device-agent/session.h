// One connection to the daemon: frames in, requests carried out, frames out. Each request runs on a
// thread of its own, so logs or a measurement never hold up a transfer; the reader never waits for
// a write. The end of the connection cancels its requests, never an activation.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "device-agent/device.h"
#include "lib/artifacts/frame.h"
#include "lib/base/file.h"

namespace tango::agent {

struct SessionLimits {
  Nanos hello_within = Seconds{30};
  Nanos silence = Seconds{45};          // nothing heard
  std::size_t requests = 16;            // in flight
  std::size_t queued_bytes = 8u << 20;  // waiting to be written
  Nanos durable_every = Millis{500};
  std::uint64_t durable_bytes = 4u << 20;
};

class Session {
 public:
  // A local session (the CLI on the device itself) needs no hello and may do less.
  Session(Device& device, Fd socket, bool local, const SessionLimits& limits = {});
  ~Session();
  // Until the peer is gone, silent, or broke the protocol.
  void run();
  // From another thread: makes run() return.
  void stop();

 private:
  struct Call {
    std::uint32_t id = 0;
    Json request;
    std::string element;  // for a failure
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::string> data;  // payloads of Data frames
    std::uint64_t queued = 0;      // bytes in `data`
    std::uint64_t credit = 0;      // received by the peer, of our Data
    std::atomic<bool> cancelled{false};
    std::atomic<bool> done{false};
    std::thread thread;
  };

  Status on_frame(artifacts::Frame frame);
  Status on_request(const artifacts::Frame& frame);
  void serve_call(Call& call);
  Result<Json> carry_out(Call& call);
  Result<Json> transfer(Call& call);
  Result<Json> activate(Call& call, const std::string& op);
  // The body announced by `bodyBytes`. Errors: InvalidRequest, Cancelled, BodyTooLarge.
  Result<std::string> read_body(Call& call, std::uint64_t max);
  Status send_body(Call& call, std::string_view body);
  // Waits for a Data payload. Errors: Cancelled, Timeout.
  Result<std::string> next_data(Call& call, Nanos timeout);
  void send(artifacts::FrameType type, std::uint32_t id, std::string_view payload);
  void reap(bool all);
  void write_loop();

  Device& device_;
  Fd socket_;
  const bool local_;
  const SessionLimits limits_;
  std::atomic<bool> hello_done_{false};
  std::atomic<bool> closing_{false};
  std::map<std::uint32_t, std::shared_ptr<Call>> calls_;  // the reader's own

  std::mutex write_mutex_;
  std::condition_variable write_changed_;
  std::deque<std::string> outgoing_;
  std::size_t outgoing_bytes_ = 0;
  std::thread writer_;
};

}  // namespace tango::agent

// A device in the test's process, reached by sessions over socket pairs. Used by the component
// tests of the protocol and of releases.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <memory>
#include <thread>

#include "device-agent/device.h"
#include "device-agent/session.h"
#include "tests/device-agent/agent_fixture.h"

namespace tango::agent::test {

class DeviceTest : public testing::Test {
 protected:
  void SetUp() override { reopen(); }
  void TearDown() override {
    disconnect_all();
    device_.reset();
  }

  void reopen() {
    disconnect_all();
    device_.reset();
    DeviceOptions options;
    options.root = dir_ / "root";
    options.arch = arch_;
    options.slot = slot_;
    options.slot.health.ready_timeout = ready_timeout_;
    options.slot.supervisor.stop_grace = Millis{500};
    options.slot.supervisor.backoff_initial = Millis{50};
    auto device = Device::open(options);
    ASSERT_TRUE(device.ok()) << device.error().to_string();
    device_ = std::move(*device);
  }

  Channel raw(bool local = false, const SessionLimits& limits = {}) {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return {};
    sessions_.push_back(std::make_unique<Session>(*device_, Fd(fds[0]), local, limits));
    threads_.emplace_back([s = sessions_.back().get()] { s->run(); });
    return Channel(Fd(fds[1]));
  }
  Channel connected() {
    Channel channel = raw();
    auto hello = op_.hello(channel);
    EXPECT_TRUE(hello.ok() && get_bool(*hello, "ok"))
        << (hello.ok() ? hello->dump() : hello.error().to_string());
    return channel;
  }
  void disconnect_all() {
    for (auto& s : sessions_) s->stop();
    for (auto& t : threads_) t.join();
    threads_.clear();
    sessions_.clear();
  }
  artifacts::Bundle release(const std::string& version, Behaviour behaviour = {},
                            const std::function<void(artifacts::BundleSpec&)>& edit = {},
                            std::size_t weights = 300'000) {
    return make_release(dir_ / ("tree-" + version), version, std::move(behaviour), edit, weights);
  }
  Json slot_status(Channel& channel) {
    const auto status = channel.request({{"op", "status"}});
    return status.ok() && !(*status)["slots"].empty() ? (*status)["slots"][0] : Json::object();
  }

  TempDir dir_{"tango-agent"};
  Operator op_;
  std::string arch_ = "amd64";
  SlotOptions slot_;
  Nanos ready_timeout_ = Seconds{5};
  std::unique_ptr<Device> device_;
  std::vector<std::unique_ptr<Session>> sessions_;
  std::vector<std::thread> threads_;
};

}  // namespace tango::agent::test

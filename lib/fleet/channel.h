// A two-way byte stream to an agent, as the protocol client needs it: an SSH exec channel, or a
// pair of descriptors (tests, a local agent). It never interprets what passes.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::fleet {

class ByteChannel {
 public:
  virtual ~ByteChannel() = default;
  // Never block; 0: nothing now. Errors: ConnectionLost.
  virtual Result<std::size_t> read_some(char* buffer, std::size_t size) = 0;
  virtual Result<std::size_t> write_some(std::string_view data) = 0;
  virtual bool eof() const = 0;
  // Until something can be read (or written, when asked), or the time is over.
  virtual Status wait(bool to_write, Nanos timeout) = 0;
  // What the other side said on its error stream, newest 4 KiB: for messages.
  virtual std::string error_text() const { return {}; }
};

class FdChannel : public ByteChannel {
 public:
  // Takes over both (they may be the same number, given once) and makes them non-blocking.
  FdChannel(Fd read, Fd write);
  Result<std::size_t> read_some(char* buffer, std::size_t size) override;
  Result<std::size_t> write_some(std::string_view data) override;
  bool eof() const override { return eof_; }
  Status wait(bool to_write, Nanos timeout) override;

 private:
  Fd read_;
  Fd write_;
  bool eof_ = false;
};

}  // namespace tango::fleet

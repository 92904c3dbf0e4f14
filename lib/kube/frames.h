// Watch streams and list pages as bytes: cutting a stream into lines and finding what the watch
// needs in each, without building a document. Used by the reflector; no socket is near.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace tango::kube {

// Cuts a byte stream at newlines. Every byte is looked at once, however the stream was chopped up.
class FrameSplitter {
 public:
  explicit FrameSplitter(std::size_t max_frame_bytes = 64u << 20) : max_(max_frame_bytes) {}
  // Calls `frame` for each complete line; stops at its first error. Errors: FrameTooLarge.
  Status feed(std::string_view chunk, const std::function<Status(std::string_view)>& frame);
  std::size_t pending() const { return partial_.size(); }

 private:
  std::size_t max_;
  std::string partial_;
};

enum class FrameType { kAdded, kModified, kDeleted, kBookmark, kError };
struct Frame {
  FrameType type = FrameType::kAdded;
  std::string resource_version;
  std::string object;  // the JSON text of the object, or of the Status
};
// Errors: InvalidFrame (not JSON, no object, an unknown type).
Result<Frame> parse_frame(std::string_view line);

struct Page {
  std::vector<std::string> items;  // JSON texts
  std::string resource_version;
  std::string continue_token;
};
// Errors: InvalidList.
Result<Page> parse_page(std::string_view body);

}  // namespace tango::kube

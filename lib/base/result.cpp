#include "lib/base/result.h"

#include <cerrno>
#include <cstring>

namespace tango {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::kInvalid:
      return "Invalid";
    case Code::kNotFound:
      return "NotFound";
    case Code::kExists:
      return "Exists";
    case Code::kConflict:
      return "Conflict";
    case Code::kDenied:
      return "Denied";
    case Code::kUnsupported:
      return "Unsupported";
    case Code::kUnavailable:
      return "Unavailable";
    case Code::kTimeout:
      return "Timeout";
    case Code::kExhausted:
      return "Exhausted";
    case Code::kCancelled:
      return "Cancelled";
    case Code::kIo:
      return "Io";
    case Code::kInternal:
      return "Internal";
  }
  return "Internal";
}

std::string Error::to_string() const {
  std::string out = message;
  for (std::size_t i = 0; i < context.size(); ++i) {
    out += i == 0 ? " (" : ", ";
    out += context[i];
  }
  if (!context.empty()) out += ")";
  return out;
}

Error errno_error(int err, std::string what) {
  Code code = Code::kIo;
  std::string_view reason = "IoError";
  switch (err) {
    case ENOENT:
    case ENOTDIR:
      code = Code::kNotFound, reason = "NotFound";
      break;
    case EEXIST:
      code = Code::kExists, reason = "AlreadyExists";
      break;
    case EACCES:
    case EPERM:
      code = Code::kDenied, reason = "PermissionDenied";
      break;
    case EROFS:
      code = Code::kDenied, reason = "ReadOnlyFileSystem";
      break;
    case ENOSPC:
    case EDQUOT:
      code = Code::kExhausted, reason = "DiskFull";
      break;
    case EMFILE:
    case ENFILE:
      code = Code::kExhausted, reason = "TooManyOpenFiles";
      break;
    case ENOMEM:
      code = Code::kExhausted, reason = "OutOfMemory";
      break;
    case ECONNREFUSED:
      code = Code::kUnavailable, reason = "ConnectionRefused";
      break;
    case ETIMEDOUT:
      code = Code::kTimeout, reason = "Timeout";
      break;
    case EADDRINUSE:
      code = Code::kConflict, reason = "AddressInUse";
      break;
    default:
      break;
  }
  return make_error(code, reason, std::move(what) + ": " + std::strerror(err));
}

}  // namespace tango

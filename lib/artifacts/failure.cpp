#include "lib/artifacts/failure.h"

#include <algorithm>

namespace tango::artifacts {
namespace {

constexpr CodeInfo kCodes[] = {
    {code::kUnreachable, true, Code::kUnavailable,
     "No connection to the device: check address, port, power and network."},
    {code::kHostKeyChanged, false, Code::kDenied,
     "The device shows another host key than the pinned one: find out why before approving it."},
    {code::kHostKeyUnknown, false, Code::kDenied,
     "No host key is pinned: compare the fingerprint and approve the device."},
    {code::kAuthFailed, false, Code::kDenied,
     "The device refused the key or password: check user and credential."},
    {code::kConnectionLost, true, Code::kUnavailable,
     "The connection broke; what was durable is kept and the transfer resumes."},
    {code::kTimeout, true, Code::kTimeout, "No answer within the deadline."},
    {code::kCancelled, true, Code::kCancelled, "Stopped on request."},
    {code::kWrongArchitecture, false, Code::kInvalid,
     "The device's architecture is not the one this is built for: choose another target profile."},
    {code::kUnsupportedSystem, false, Code::kUnsupported,
     "The device's operating system is not one the agent runs on."},
    {code::kInstallFailed, true, Code::kIo, "The agent could not be installed below agent.root."},
    {code::kProtocolError, false, Code::kInternal,
     "The peer sent bytes that are not this protocol: look for output of shell start-up files."},
    {code::kProtocolUnsupported, false, Code::kUnsupported,
     "Agent and operator have no protocol version in common: upgrade the older one."},
    {code::kHelloRequired, false, Code::kInvalid, "A request came before hello."},
    {code::kInvalidRequest, false, Code::kInvalid,
     "The request lacks a member or has a wrong one."},
    {code::kUnsupported, false, Code::kUnsupported, "This version does not have this operation."},
    {code::kBusy, true, Code::kUnavailable, "Another operation on this slot is running."},
    {code::kIdentityMismatch, false, Code::kDenied,
     "The device could not prove the identity it claims, or is another device than before."},
    {code::kEpochBehind, false, Code::kConflict,
     "The device has seen a newer control plane: see `tangoctl fleet recover`."},
    {code::kRootMissing, false, Code::kNotFound,
     "The device has no root.json: provision it again."},
    {code::kRootConflict, false, Code::kDenied,
     "Another root.json of the same version is trusted by the device."},
    {code::kRootStale, false, Code::kConflict, "The root.json is older than the device's."},
    {code::kRootGap, true, Code::kConflict, "Versions of root.json are missing: send the chain."},
    {code::kRootInvalid, false, Code::kInvalid, "The root.json breaks its own rules."},
    {code::kSignatureInvalid, false, Code::kDenied,
     "A signature does not fit the bytes: they were changed, or signed by another key."},
    {code::kThresholdUnmet, false, Code::kDenied,
     "Too few keys of the role signed this: sign it with the release keys that root.json names."},
    {code::kDocumentTooLarge, false, Code::kExhausted, "A document is larger than its limit."},
    {code::kAssignmentInvalid, false, Code::kInvalid, "The assignment breaks its schema."},
    {code::kAssignmentMismatch, false, Code::kDenied,
     "The assignment is for another device, slot, bundle or configuration."},
    {code::kAssignmentExpired, true, Code::kDenied, "The assignment has expired: it is renewed."},
    {code::kSequenceStale, false, Code::kConflict,
     "The device has accepted a newer plan for this slot."},
    {code::kDowngradeRefused, false, Code::kDenied,
     "The release's security version is below the one committed on the device."},
    {code::kIndexInvalid, false, Code::kInvalid, "The bundle index breaks its schema."},
    {code::kChunkListInvalid, false, Code::kInvalid, "The chunk list breaks its layout."},
    {code::kPathUnsafe, false, Code::kDenied, "A path of the bundle could leave its folder."},
    {code::kHashMismatch, true, Code::kDenied, "Bytes do not have the hash that was signed."},
    {code::kConfigInvalid, false, Code::kInvalid, "The device's configuration breaks its schema."},
    {code::kReleaseRejected, false, Code::kConflict,
     "This release was rolled back on this device before: change it or set a new retryToken."},
    {code::kDiskFull, true, Code::kExhausted, "Not enough free space on the device."},
    {code::kMemoryShort, true, Code::kExhausted, "Not enough memory on the device."},
    {code::kIoError, true, Code::kIo, "Reading or writing on the device failed."},
    {code::kPermissionDenied, false, Code::kDenied,
     "The agent's account may not write there: check agent.root."},
    {code::kSandboxUnavailable, false, Code::kUnsupported,
     "A required part of the sandbox cannot be enforced on this device."},
    {code::kEngineMissing, false, Code::kUnsupported, "The device lacks the release's engine."},
    {code::kStartFailed, false, Code::kInternal, "The release's program could not be started."},
    {code::kKnownAnswerFailed, false, Code::kInternal,
     "The network gives other answers on this device than its golden samples say."},
    {code::kReadyTimeout, false, Code::kTimeout, "The release did not become ready in time."},
    {code::kLatencyExceeded, false, Code::kInternal,
     "The network is slower on this device than healthGate.latency allows."},
    {code::kMemoryExceeded, false, Code::kInternal,
     "The release needs more memory than healthGate.memory allows."},
    {code::kCrashed, false, Code::kInternal, "The release's program ended by itself."},
    {code::kInterrupted, true, Code::kUnavailable,
     "The device restarted during the trial, so it went back to the previous release."},
    {code::kReleaseNotReady, true, Code::kUnavailable, "No release is ready in this slot."},
    {code::kNoPrevious, false, Code::kNotFound, "There is no previous release to go back to."},
    {code::kHookDeferred, true, Code::kUnavailable, "A hook on the device asked to wait."},
    {code::kInternal, false, Code::kInternal, "A defect: please report it with the message."},
};

}  // namespace

const CodeInfo* find_code(std::string_view name) {
  const auto* it = std::find_if(std::begin(kCodes), std::end(kCodes),
                                [&](const CodeInfo& c) { return c.name == name; });
  return it == std::end(kCodes) ? nullptr : it;
}

std::string failure_codes_markdown() {
  std::string out =
      "# Failure codes\n\nGenerated from `lib/artifacts/failure.cpp`; the same word appears in "
      "device "
      "replies, conditions, events and metrics.\n\n| code | retried | what to do "
      "|\n|---|---|---|\n";
  for (const CodeInfo& c : kCodes) {
    out += "| `" + std::string(c.name) + "` | " + (c.retryable ? "yes" : "no") + " | " +
           std::string(c.help) + " |\n";
  }
  return out;
}

Failure make_failure(std::string_view code, std::string_view phase, std::string_view component,
                     std::string message, std::string_view element) {
  const CodeInfo* info = find_code(code);
  Failure f;
  f.phase = phase;
  f.component = component;
  f.element = element;
  f.code = code;
  f.retryable = info != nullptr && info->retryable;
  f.message = std::move(message);
  return f;
}

Failure failure_from(const Error& error, std::string_view phase, std::string_view component) {
  // The base room's words for two things that have their own code here.
  std::string_view reason = error.reason;
  if (reason == "UnsafePath") reason = code::kPathUnsafe;
  if (find_code(reason) != nullptr) {
    return make_failure(reason, phase, component, error.to_string());
  }
  return make_failure(code::kInternal, phase, component, error.reason + ": " + error.to_string());
}

Error to_error(const Failure& failure) {
  const CodeInfo* info = find_code(failure.code);
  Code code =
      info != nullptr ? info->code : (failure.retryable ? Code::kUnavailable : Code::kInternal);
  std::string message = failure.message;
  if (!failure.element.empty()) message += " (" + failure.element + ")";
  return make_error(code, failure.code, std::move(message));
}

Json encode(const Failure& f) {
  return Json{{"phase", f.phase},        {"component", f.component}, {"element", f.element},
              {"code", f.code},          {"retryable", f.retryable}, {"attempt", f.attempt},
              {"at", format_time(f.at)}, {"message", f.message}};
}

Result<Failure> parse_failure(const Json& value) {
  if (!value.is_object()) {
    return make_error(Code::kInvalid, "WrongType", "a failure must be a JSON object");
  }
  Failure f;
  TRY_ASSIGN(f.code, require_string(value, "code", "failure"));
  TRY_ASSIGN(f.message, require_string(value, "message", "failure"));
  f.phase = get_string(value, "phase");
  f.component = get_string(value, "component");
  f.element = get_string(value, "element");
  f.retryable = get_bool(value, "retryable");
  f.attempt = static_cast<int>(std::clamp<std::int64_t>(get_int(value, "attempt", 1), 1, 1 << 20));
  if (std::string at = get_string(value, "at"); !at.empty()) {
    TRY_ASSIGN(f.at, parse_time(at));
  }
  return f;
}

}  // namespace tango::artifacts

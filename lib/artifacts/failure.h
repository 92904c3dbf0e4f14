// The one list of failure codes and the Failure record that travels from a device into conditions,
// events and metrics. Used by the agent, the fleet client and the controllers; it never decides
// anything about them: `retryable` is a property of the code.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::artifacts {

namespace code {
// Reaching the device
inline constexpr std::string_view kUnreachable = "Unreachable";
inline constexpr std::string_view kHostKeyChanged = "HostKeyChanged";
inline constexpr std::string_view kHostKeyUnknown = "HostKeyUnknown";
inline constexpr std::string_view kAuthFailed = "AuthFailed";
inline constexpr std::string_view kConnectionLost = "ConnectionLost";
inline constexpr std::string_view kTimeout = "Timeout";
inline constexpr std::string_view kCancelled = "Cancelled";
// Provisioning
inline constexpr std::string_view kWrongArchitecture = "WrongArchitecture";
inline constexpr std::string_view kUnsupportedSystem = "UnsupportedSystem";
inline constexpr std::string_view kInstallFailed = "InstallFailed";
// Protocol
inline constexpr std::string_view kProtocolError = "ProtocolError";
inline constexpr std::string_view kProtocolUnsupported = "ProtocolUnsupported";
inline constexpr std::string_view kHelloRequired = "HelloRequired";
inline constexpr std::string_view kInvalidRequest = "InvalidRequest";
inline constexpr std::string_view kUnsupported = "Unsupported";
inline constexpr std::string_view kBusy = "Busy";
inline constexpr std::string_view kIdentityMismatch = "IdentityMismatch";
inline constexpr std::string_view kEpochBehind = "EpochBehind";
// Trust
inline constexpr std::string_view kRootMissing = "RootMissing";
inline constexpr std::string_view kRootConflict = "RootConflict";
inline constexpr std::string_view kRootStale = "RootStale";
inline constexpr std::string_view kRootGap = "RootGap";
inline constexpr std::string_view kRootInvalid = "RootInvalid";
inline constexpr std::string_view kSignatureInvalid = "SignatureInvalid";
inline constexpr std::string_view kThresholdUnmet = "ThresholdUnmet";
inline constexpr std::string_view kDocumentTooLarge = "DocumentTooLarge";
inline constexpr std::string_view kAssignmentInvalid = "AssignmentInvalid";
inline constexpr std::string_view kAssignmentMismatch = "AssignmentMismatch";
inline constexpr std::string_view kAssignmentExpired = "AssignmentExpired";
inline constexpr std::string_view kSequenceStale = "SequenceStale";
inline constexpr std::string_view kDowngradeRefused = "DowngradeRefused";
// Bundle
inline constexpr std::string_view kIndexInvalid = "IndexInvalid";
inline constexpr std::string_view kChunkListInvalid = "ChunkListInvalid";
inline constexpr std::string_view kPathUnsafe = "PathUnsafe";
inline constexpr std::string_view kHashMismatch = "HashMismatch";
inline constexpr std::string_view kConfigInvalid = "ConfigInvalid";
inline constexpr std::string_view kReleaseRejected = "ReleaseRejected";
// The device's own means
inline constexpr std::string_view kDiskFull = "DiskFull";
inline constexpr std::string_view kMemoryShort = "MemoryShort";
inline constexpr std::string_view kIoError = "IoError";
inline constexpr std::string_view kPermissionDenied = "PermissionDenied";
inline constexpr std::string_view kSandboxUnavailable = "SandboxUnavailable";
inline constexpr std::string_view kEngineMissing = "EngineMissing";
// Running
inline constexpr std::string_view kStartFailed = "StartFailed";
inline constexpr std::string_view kKnownAnswerFailed = "KnownAnswerFailed";
inline constexpr std::string_view kReadyTimeout = "ReadyTimeout";
inline constexpr std::string_view kLatencyExceeded = "LatencyExceeded";
inline constexpr std::string_view kMemoryExceeded = "MemoryExceeded";
inline constexpr std::string_view kCrashed = "Crashed";
inline constexpr std::string_view kInterrupted = "Interrupted";
inline constexpr std::string_view kReleaseNotReady = "ReleaseNotReady";
inline constexpr std::string_view kNoPrevious = "NoPrevious";
inline constexpr std::string_view kHookDeferred = "HookDeferred";
inline constexpr std::string_view kInternal = "Internal";
}  // namespace code

struct CodeInfo {
  std::string_view name;
  bool retryable;  // trying the same again can help without anyone changing anything
  Code code;       // class of the Error it becomes
  std::string_view help;
};
// Every code above, in that order (docs/formats/failure-codes.md is generated from it by a test).
const CodeInfo* find_code(std::string_view name);  // nullptr: unknown
std::string failure_codes_markdown();

struct Failure {
  std::string phase;      // hello | plan | transfer | activate | ...
  std::string component;  // agent | gate | tango-infer | ssh | ...
  std::string element;    // file path, chunk number, slot; may be empty
  std::string code = std::string(code::kInternal);
  bool retryable = false;
  int attempt = 1;
  TimePoint at{};
  std::string message;  // one sentence for a person

  bool operator==(const Failure&) const = default;
};
// Fills `retryable` from the code list.
Failure make_failure(std::string_view code, std::string_view phase, std::string_view component,
                     std::string message, std::string_view element = {});
// `reason` becomes the code when the list has it, else Internal with the reason in the message.
Failure failure_from(const Error& error, std::string_view phase, std::string_view component);
Error to_error(const Failure& failure);

Json encode(const Failure& failure);
// Errors: MissingField, WrongType. Unknown codes are kept.
Result<Failure> parse_failure(const Json& value);

}  // namespace tango::artifacts

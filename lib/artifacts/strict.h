// Strict reading of one JSON object: every member is asked for by name and type, the first mistake
// is kept, and finish() refuses members that nobody asked for. Used by the parsers of signed
// documents.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/digest.h"
#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::artifacts {

inline constexpr std::uint64_t kMaxJsonInteger = (1ull << 53) - 1;  // exact in every JSON reader

class StrictObject {
 public:
  // `reason` is that of all errors; `where` the path of the object in messages ("" is the
  // document).
  StrictObject(const Json& value, std::string where, std::string_view reason);

  bool has(std::string_view key);
  std::string text(std::string_view key, std::size_t min, std::size_t max);
  std::uint64_t number(std::string_view key, std::uint64_t max = kMaxJsonInteger);
  bool boolean(std::string_view key);
  Digest digest(std::string_view key);      // "sha256:<hex>"
  Digest digest_hex(std::string_view key);  // "<hex>"
  const Json& object(std::string_view key);
  const Json& array(std::string_view key, std::size_t max);
  std::vector<std::string> texts(std::string_view key, std::size_t max, std::size_t max_text);
  void expect(std::string_view key, std::string_view text);
  // Records an error of one's own about `key`.
  void fail(std::string_view key, std::string why);
  bool ok() const { return status_.ok(); }
  Status finish();

  // Takes over the outcome of a nested object.
  void nest(Status status);
  std::string path(std::string_view key) const;

 private:
  const Json* member(std::string_view key);
  const Json& value_;
  std::string where_;
  std::string reason_;
  std::set<std::string, std::less<>> seen_;
  Status status_ = ok_status();
};

// Parses bytes that must be in canonical form already: so one meaning has one digest.
Result<Json> parse_canonical(std::string_view bytes, std::size_t max_bytes, std::string_view reason,
                             std::string_view what);

}  // namespace tango::artifacts

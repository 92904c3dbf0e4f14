// Shapes of values in a graph, symbolic in batch (N), height (H) and width (W) until the input is
// frozen. Used by shape inference, cost and every exporter; it knows nothing of operators.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"

namespace tango::graph {

enum class Symbol : char { kNone = 0, kN = 'N', kH = 'H', kW = 'W' };

// One extent: a constant, or a chain of floor((x * mul + add) / div) applied to N, H or W. Chains
// are kept in one normal form, so equal chains compare equal ((H-1)/2+1 is stored as (H+1)/2).
class Dim {
 public:
  Dim(std::int64_t value = 0) : value_(value) {}  // NOLINT: constants are dims
  static Dim symbol(Symbol s);

  bool is_constant() const { return symbol_ == Symbol::kNone; }
  std::int64_t value() const { return value_; }  // of a constant
  // floor((x * mul + add) / div); div > 0, mul > 0.
  Dim affine(std::int64_t mul, std::int64_t add, std::int64_t div) const;
  // The value with N, H, W replaced.
  std::int64_t evaluate(std::int64_t n, std::int64_t h, std::int64_t w) const;
  Dim freeze(std::int64_t n, std::int64_t h, std::int64_t w) const {
    return Dim(evaluate(n, h, w));
  }
  std::string to_string() const;  // "64", "N", "(H+1)/2"
  bool operator==(const Dim&) const = default;

 private:
  struct Step {
    std::int64_t mul = 1;
    std::int64_t add = 0;
    std::int64_t div = 1;
    bool operator==(const Step&) const = default;
  };
  std::int64_t value_ = 0;
  Symbol symbol_ = Symbol::kNone;
  std::vector<Step> steps_;
};

using Shape = std::vector<Dim>;  // images are [N, C, H, W]
std::string to_string(const Shape& shape);
// The extents as integers; nothing when one is still symbolic.
std::optional<std::vector<std::int64_t>> constant_shape(const Shape& shape);
// Product of the extents; nothing when symbolic or above 2^62.
std::optional<std::int64_t> element_count(const Shape& shape);

}  // namespace tango::graph

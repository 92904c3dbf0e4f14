#include "lib/graph/shape.h"

#include <numeric>

namespace tango::graph {
namespace {

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  const std::int64_t q = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? q - 1 : q;
}

}  // namespace

Dim Dim::symbol(Symbol s) {
  Dim d;
  d.symbol_ = s;
  return d;
}

Dim Dim::affine(std::int64_t mul, std::int64_t add, std::int64_t div) const {
  if (is_constant()) return Dim(floor_div(value_ * mul + add, div));
  Dim out = *this;
  Step step{mul, add, div};
  if (!out.steps_.empty()) {
    const Step last = out.steps_.back();
    // floor of a floor with integers in between is one floor, unless a product comes in between.
    if (last.div == 1) {
      step = {last.mul * mul, last.add * mul + add, div};
      out.steps_.pop_back();
    } else if (mul == 1) {
      step = {last.mul, last.add + add * last.div, last.div * div};
      out.steps_.pop_back();
    }
  }
  const std::int64_t g = std::gcd(step.mul, step.div);
  step = {step.mul / g, floor_div(step.add, g), step.div / g};
  if (step != Step{}) out.steps_.push_back(step);
  return out;
}

std::int64_t Dim::evaluate(std::int64_t n, std::int64_t h, std::int64_t w) const {
  if (is_constant()) return value_;
  std::int64_t x = symbol_ == Symbol::kN ? n : symbol_ == Symbol::kH ? h : w;
  for (const Step& s : steps_) x = floor_div(x * s.mul + s.add, s.div);
  return x;
}

std::string Dim::to_string() const {
  if (is_constant()) return std::to_string(value_);
  std::string out(1, static_cast<char>(symbol_));
  for (const Step& s : steps_) {
    if (out.size() > 1) out = "(" + out + ")";
    if (s.mul != 1) out += "*" + std::to_string(s.mul);
    if (s.add != 0) out += (s.add > 0 ? "+" : "") + std::to_string(s.add);
    if (s.div != 1)
      out = (s.add != 0 || s.mul != 1 ? "(" + out + ")/" : out + "/") + std::to_string(s.div);
  }
  return out;
}

std::string to_string(const Shape& shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + shape[i].to_string();
  return out + "]";
}

std::optional<std::vector<std::int64_t>> constant_shape(const Shape& shape) {
  std::vector<std::int64_t> out;
  for (const Dim& d : shape) {
    if (!d.is_constant()) return std::nullopt;
    out.push_back(d.value());
  }
  return out;
}

std::optional<std::int64_t> element_count(const Shape& shape) {
  constexpr std::int64_t kMax = std::int64_t{1} << 62;
  std::int64_t count = 1;
  for (const Dim& d : shape) {
    if (!d.is_constant() || d.value() < 0) return std::nullopt;
    if (d.value() != 0 && count > kMax / d.value()) return std::nullopt;
    count *= d.value();
  }
  return count;
}

}  // namespace tango::graph

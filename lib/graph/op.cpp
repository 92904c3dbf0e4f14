#include <cmath>
#include <initializer_list>
#include <set>

#include "lib/graph/graph.h"

namespace tango::graph {
namespace {

constexpr OpInfo kOps[] = {
    {Op::kInput, "input", 1, 0, 0},
    {Op::kConv, "conv", 1, 1, 1},
    {Op::kBatchNorm, "batch_norm", 1, 1, 1},
    {Op::kLinear, "linear", 1, 1, 1},
    {Op::kRelu, "relu", 1, 1, 1},
    {Op::kLeakyRelu, "leaky_relu", 1, 1, 1},
    {Op::kSilu, "silu", 1, 1, 1},
    {Op::kSigmoid, "sigmoid", 1, 1, 1},
    {Op::kAdd, "add", 1, 2, 2},
    {Op::kMul, "mul", 1, 2, 2},
    {Op::kConcat, "concat", 1, 1, -1},
    {Op::kMaxPool, "max_pool", 1, 1, 1},
    {Op::kAvgPool, "avg_pool", 1, 1, 1},
    {Op::kGlobalAvgPool, "global_avg_pool", 1, 1, 1},
    {Op::kUpsample, "upsample", 1, 1, 1},
    {Op::kPadChannels, "pad_channels", 1, 1, 1},
    {Op::kSubsample, "subsample", 1, 1, 1},
    {Op::kFlatten, "flatten", 1, 1, 1},
};

// Reads attributes with the set of keys that were asked for, so that the rest can be refused.
class AttrReader {
 public:
  AttrReader(const Json& value, std::string_view where) : value_(value), where_(where) {}

  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high,
                       std::optional<std::int64_t> fallback) {
    const Json* v = take(key);
    if (v == nullptr) {
      if (!fallback) fail(key, "is missing");
      return fallback.value_or(low);
    }
    if (!v->is_number_integer()) {
      fail(key, "must be an integer");
      return low;
    }
    return bounded(key, v->get<std::int64_t>(), low, high);
  }
  std::optional<std::int64_t> optional_integer(const char* key, std::int64_t low,
                                               std::int64_t high) {
    if (!value_.contains(key)) {
      known_.insert(key);
      return std::nullopt;
    }
    return integer(key, low, high, std::nullopt);
  }
  // One integer for both directions, or [height, width].
  Pair pair(const char* key, std::int64_t low, std::int64_t high, std::optional<Pair> fallback) {
    const Json* v = take(key);
    if (v == nullptr) {
      if (!fallback) fail(key, "is missing");
      return fallback.value_or(Pair{low, low});
    }
    if (v->is_number_integer()) {
      const std::int64_t x = bounded(key, v->get<std::int64_t>(), low, high);
      return {x, x};
    }
    if (v->is_array() && v->size() == 2 && (*v)[0].is_number_integer() &&
        (*v)[1].is_number_integer()) {
      return {bounded(key, (*v)[0].get<std::int64_t>(), low, high),
              bounded(key, (*v)[1].get<std::int64_t>(), low, high)};
    }
    fail(key, "must be an integer or [height, width]");
    return {low, low};
  }
  double number(const char* key, double low, double high) {
    const Json* v = take(key);
    if (v == nullptr) {
      fail(key, "is missing");
      return low;
    }
    if (!v->is_number()) {
      fail(key, "must be a number");
      return low;
    }
    const double x = v->get<double>();
    if (!std::isfinite(x) || x < low || x > high) fail(key, "is out of range");
    return x;
  }
  bool boolean(const char* key, bool fallback) {
    const Json* v = take(key);
    if (v == nullptr) return fallback;
    if (!v->is_boolean()) {
      fail(key, "must be true or false");
      return fallback;
    }
    return v->get<bool>();
  }
  Result<Attrs> finish(Attrs attrs) {
    if (error_) return *error_;
    for (const auto& [key, unused] : value_.items()) {
      if (!known_.contains(key)) {
        return make_error(
            Code::kInvalid, "UnknownField",
            std::string(where_) + "." + key + " is not an attribute of this operator");
      }
    }
    return attrs;
  }

 private:
  const Json* take(const char* key) {
    known_.insert(key);
    auto it = value_.find(key);
    return it == value_.end() ? nullptr : &*it;
  }
  std::int64_t bounded(const char* key, std::int64_t x, std::int64_t low, std::int64_t high) {
    if (x >= low && x <= high) return x;
    fail(key, ("must be between " + std::to_string(low) + " and " + std::to_string(high) +
               ", not " + std::to_string(x))
                  .c_str());
    return low;
  }
  void fail(const char* key, const char* what) {
    if (error_) return;
    error_ =
        make_error(Code::kInvalid, "InvalidGraph", std::string(where_) + "." + key + " " + what);
  }

  const Json& value_;
  std::string_view where_;
  std::set<std::string> known_;
  std::optional<Error> error_;
};

constexpr std::int64_t kMaxChannels = 1 << 20;
constexpr std::int64_t kMaxExtent = 1 << 16;
constexpr std::int64_t kMaxKernel = 1 << 10;

Json pair_json(const Pair& p) { return Json::array({p[0], p[1]}); }

}  // namespace

const OpInfo& op_info(Op op) { return kOps[static_cast<std::size_t>(op)]; }

Result<Op> find_op(std::string_view name, int version) {
  for (const OpInfo& info : kOps) {
    if (info.name != name) continue;
    if (info.version == version) return info.op;
    return make_error(Code::kInvalid, "UnknownOp",
                      "operator " + std::string(name) + " version " + std::to_string(version) +
                          " is not known; this build knows version " +
                          std::to_string(info.version));
  }
  return make_error(Code::kInvalid, "UnknownOp",
                    "operator \"" + std::string(name) + "\" is not known");
}

Result<Attrs> parse_attrs(Op op, const Json& value, std::string_view where) {
  if (!value.is_object()) {
    return make_error(Code::kInvalid, "InvalidGraph", std::string(where) + " must be an object");
  }
  AttrReader r(value, where);
  switch (op) {
    case Op::kInput: {
      InputAttrs a;
      a.channels = r.integer("channels", 1, kMaxChannels, std::nullopt);
      a.n = r.optional_integer("n", 1, kMaxExtent);
      a.h = r.optional_integer("h", 1, kMaxExtent);
      a.w = r.optional_integer("w", 1, kMaxExtent);
      return r.finish(a);
    }
    case Op::kConv: {
      ConvAttrs a;
      a.out = r.integer("out", 1, kMaxChannels, std::nullopt);
      a.kernel = r.pair("kernel", 1, kMaxKernel, std::nullopt);
      a.stride = r.pair("stride", 1, kMaxKernel, Pair{1, 1});
      a.pad = r.pair("pad", 0, kMaxKernel, Pair{0, 0});
      a.dilation = r.pair("dilation", 1, kMaxKernel, Pair{1, 1});
      a.groups = r.integer("groups", 1, kMaxChannels, 1);
      a.bias = r.boolean("bias", false);
      return r.finish(a);
    }
    case Op::kBatchNorm: {
      BatchNormAttrs a;
      a.eps = r.number("eps", 0, 1);
      a.momentum = r.number("momentum", 0, 1);
      return r.finish(a);
    }
    case Op::kLinear: {
      LinearAttrs a;
      a.out = r.integer("out", 1, kMaxChannels, std::nullopt);
      a.bias = r.boolean("bias", true);
      return r.finish(a);
    }
    case Op::kMaxPool:
    case Op::kAvgPool: {
      PoolAttrs a;
      a.kernel = r.pair("kernel", 1, kMaxKernel, std::nullopt);
      a.stride = r.pair("stride", 1, kMaxKernel, std::nullopt);
      a.pad = r.pair("pad", 0, kMaxKernel, Pair{0, 0});
      return r.finish(a);
    }
    case Op::kLeakyRelu:
      return r.finish(LeakyReluAttrs{r.number("slope", 0, 1)});
    case Op::kUpsample:
      return r.finish(UpsampleAttrs{r.integer("scale", 1, 64, std::nullopt)});
    case Op::kPadChannels: {
      PadChannelsAttrs a;
      a.before = r.integer("before", 0, kMaxChannels, 0);
      a.after = r.integer("after", 0, kMaxChannels, 0);
      return r.finish(a);
    }
    case Op::kSubsample:
      return r.finish(SubsampleAttrs{r.integer("stride", 1, 64, std::nullopt)});
    case Op::kConcat:
      return r.finish(ConcatAttrs{});
    default:
      return r.finish(NoAttrs{});
  }
}

Json encode_attrs(const Attrs& attrs) {
  struct Encoder {
    Json operator()(const NoAttrs&) const { return Json::object(); }
    Json operator()(const ConcatAttrs&) const { return Json::object(); }
    Json operator()(const InputAttrs& a) const {
      Json out{{"channels", a.channels}};
      if (a.n) out["n"] = *a.n;
      if (a.h) out["h"] = *a.h;
      if (a.w) out["w"] = *a.w;
      return out;
    }
    Json operator()(const ConvAttrs& a) const {
      return {{"out", a.out},
              {"kernel", pair_json(a.kernel)},
              {"stride", pair_json(a.stride)},
              {"pad", pair_json(a.pad)},
              {"dilation", pair_json(a.dilation)},
              {"groups", a.groups},
              {"bias", a.bias}};
    }
    Json operator()(const BatchNormAttrs& a) const {
      return {{"eps", a.eps}, {"momentum", a.momentum}};
    }
    Json operator()(const LinearAttrs& a) const { return {{"out", a.out}, {"bias", a.bias}}; }
    Json operator()(const PoolAttrs& a) const {
      return {{"kernel", pair_json(a.kernel)},
              {"stride", pair_json(a.stride)},
              {"pad", pair_json(a.pad)}};
    }
    Json operator()(const LeakyReluAttrs& a) const { return {{"slope", a.slope}}; }
    Json operator()(const UpsampleAttrs& a) const { return {{"scale", a.scale}}; }
    Json operator()(const PadChannelsAttrs& a) const {
      return {{"before", a.before}, {"after", a.after}};
    }
    Json operator()(const SubsampleAttrs& a) const { return {{"stride", a.stride}}; }
  };
  return std::visit(Encoder{}, attrs);
}

}  // namespace tango::graph

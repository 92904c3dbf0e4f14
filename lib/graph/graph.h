// The one intermediate representation of a network: typed operator nodes in topological order.
// Every builder (YAML definitions, passes) and every reader (trainer, exporters, console) uses it;
// it holds no weights (tensor_store.h) and runs nothing. JSON form: docs/formats/graph.md.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/graph/shape.h"

namespace tango::graph {

enum class Section { kNone, kBackbone, kNeck, kHead };
enum class When { kBoth, kTrain, kEval };  // auxiliary branches exist in training only
std::string_view to_string(Section section);
std::string_view to_string(When when);

using Pair = std::array<std::int64_t, 2>;  // height, width

// Attributes, one struct per operator shape. Missing extents of the input are symbolic.
struct InputAttrs {
  std::int64_t channels = 3;
  std::optional<std::int64_t> n = {}, h = {}, w = {};
  bool operator==(const InputAttrs&) const = default;
};
struct ConvAttrs {  // cross-correlation, symmetric zero padding
  std::int64_t out = 0;
  Pair kernel{1, 1}, stride{1, 1}, pad{0, 0}, dilation{1, 1};
  std::int64_t groups = 1;
  bool bias = false;
  bool operator==(const ConvAttrs&) const = default;
};
struct BatchNormAttrs {  // no defaults: both are explicit in every definition
  double eps = 0;
  double momentum = 0;  // weight of the new batch in the running statistics
  bool operator==(const BatchNormAttrs&) const = default;
};
struct LinearAttrs {
  std::int64_t out = 0;
  bool bias = true;
  bool operator==(const LinearAttrs&) const = default;
};
struct PoolAttrs {  // max_pool (padding is -inf), avg_pool (padding is not counted)
  Pair kernel{2, 2}, stride{2, 2}, pad{0, 0};
  bool operator==(const PoolAttrs&) const = default;
};
struct LeakyReluAttrs {
  double slope = 0;
  bool operator==(const LeakyReluAttrs&) const = default;
};
struct ConcatAttrs {  // along channels
  bool operator==(const ConcatAttrs&) const = default;
};
struct UpsampleAttrs {  // nearest neighbour
  std::int64_t scale = 2;
  bool operator==(const UpsampleAttrs&) const = default;
};
struct PadChannelsAttrs {  // zeros before and after the channels
  std::int64_t before = 0, after = 0;
  bool operator==(const PadChannelsAttrs&) const = default;
};
struct SubsampleAttrs {  // every stride-th row and column: x[:, :, ::s, ::s]
  std::int64_t stride = 2;
  bool operator==(const SubsampleAttrs&) const = default;
};
struct NoAttrs {  // relu, silu, sigmoid, add, mul, global_avg_pool, flatten
  bool operator==(const NoAttrs&) const = default;
};
using Attrs =
    std::variant<NoAttrs, InputAttrs, ConvAttrs, BatchNormAttrs, LinearAttrs, PoolAttrs,
                 LeakyReluAttrs, ConcatAttrs, UpsampleAttrs, PadChannelsAttrs, SubsampleAttrs>;

// (op, version) never changes meaning; parsing refuses pairs that are not in the table.
enum class Op {
  kInput,
  kConv,
  kBatchNorm,
  kLinear,
  kRelu,
  kLeakyRelu,
  kSilu,
  kSigmoid,
  kAdd,
  kMul,
  kConcat,
  kMaxPool,
  kAvgPool,
  kGlobalAvgPool,
  kUpsample,
  kPadChannels,
  kSubsample,
  kFlatten,
};
struct OpInfo {
  Op op;
  std::string_view name;
  int version;
  int min_inputs;
  int max_inputs;  // -1: any number
};
const OpInfo& op_info(Op op);
// Errors: UnknownOp (name or version that this build does not know).
Result<Op> find_op(std::string_view name, int version);
// Attributes from JSON; every key is checked. Errors: InvalidGraph, UnknownField.
Result<Attrs> parse_attrs(Op op, const Json& value, std::string_view where);
Json encode_attrs(const Attrs& attrs);

struct Node {
  std::string path;  // stable and unique: "layer1.0.conv1"; parameters are keyed by path + role
  Op op = Op::kInput;
  int version = 1;
  Section section = Section::kNone;
  When when = When::kBoth;
  std::vector<std::string> inputs = {};  // paths of earlier nodes
  Attrs attrs = {};
  bool operator==(const Node&) const = default;

  template <typename T>
  const T& as() const {
    return std::get<T>(attrs);
  }
};

struct Graph {
  std::string name;
  std::vector<Node> nodes;                  // topological order; the first is the input
  std::vector<std::string> outputs;         // paths
  std::map<std::string, std::string> taps;  // name -> path of an intermediate value
  bool operator==(const Graph&) const = default;

  const Node* find(std::string_view path) const;
  const Node& input() const { return nodes.front(); }
};

inline constexpr std::size_t kMaxNodes = 20'000;

// Structure: one input that comes first, unique safe paths, inputs defined before use, counts of
// inputs, outputs and taps that exist. Errors: InvalidGraph.
Status check(const Graph& graph);

Json encode(const Graph& graph);  // {"schema": "tango.graph/1", ...}
// Errors: InvalidGraph, UnknownOp, UnknownField, UnsupportedSchema.
Result<Graph> parse_graph(const Json& value);

}  // namespace tango::graph

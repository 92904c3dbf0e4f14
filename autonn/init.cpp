#include <cmath>
#include <numbers>

#include "autonn/torch_network.h"
#include "lib/base/digest.h"
#include "lib/base/random.h"
#include "lib/graph/infer.h"

namespace tango::autonn {
namespace {

// One stream per tensor name: adding a layer leaves the others' values alone.
std::uint64_t stream_of(const std::string& key) {
  const Digest digest = sha256("tango.init.v1:" + key);
  std::uint64_t stream = 0;
  for (std::size_t i = 0; i < 8; ++i) stream = stream << 8 | digest.bytes()[i];
  return stream;
}

double normal(CounterRandom& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
  return radius * std::cos(2 * std::numbers::pi * random.uniform());
}

}  // namespace

Result<graph::TensorStore> initial_weights(const graph::Graph& graph, std::uint64_t seed) {
  TRY_ASSIGN(const std::vector<graph::ParamSpec> specs, graph::param_specs(graph));
  graph::TensorStore out;
  for (const graph::ParamSpec& p : specs) {
    std::int64_t count = 1;
    for (const std::int64_t d : p.shape) count *= d;
    std::vector<float> values(static_cast<std::size_t>(count), 0.0F);
    CounterRandom random(seed, stream_of(p.key));
    const graph::Op op = graph.find(p.path)->op;
    if (op == graph::Op::kConv && p.role == "weight") {
      const double fan_out = static_cast<double>(p.shape[0] * p.shape[2] * p.shape[3]);
      const double scale = std::sqrt(2.0 / fan_out);
      for (float& v : values) v = static_cast<float>(scale * normal(random));
    } else if (op == graph::Op::kLinear) {
      // Biases start at zero.
      const double bound =
          p.role == "weight" ? 1 / std::sqrt(static_cast<double>(p.shape[1])) : 0.0;
      for (float& v : values) v = static_cast<float>(bound * (2 * random.uniform() - 1));
    } else if (op == graph::Op::kBatchNorm && (p.role == "weight" || p.role == "running_var")) {
      std::fill(values.begin(), values.end(), 1.0F);
    }
    out.put(p.key, graph::Tensor::f32(p.shape, values));
  }
  return out;
}

}  // namespace tango::autonn

#include "tests/graph/reference_interpreter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "lib/base/random.h"
#include "lib/graph/infer.h"

namespace tango::graph::testing {
namespace {

using I = std::int64_t;

std::size_t at4(const std::vector<I>& s, I n, I c, I h, I w) {
  return static_cast<std::size_t>(((n * s[1] + c) * s[2] + h) * s[3] + w);
}
std::size_t u(I i) { return static_cast<std::size_t>(i); }

// Calls f(n, c, h, w, output index) for every element of an image shape.
template <typename F>
void each(const std::vector<I>& s, F f) {
  for (I n = 0; n < s[0]; ++n)
    for (I c = 0; c < s[1]; ++c)
      for (I h = 0; h < s[2]; ++h)
        for (I w = 0; w < s[3]; ++w) f(n, c, h, w, at4(s, n, c, h, w));
}

}  // namespace

std::map<std::string, Value> interpret(const Graph& graph, const TensorStore& weights,
                                       const Value& input) {
  auto frozen = freeze_input(graph, input.shape[0], input.shape[2], input.shape[3]);
  EXPECT_TRUE(frozen.ok()) << frozen.error().to_string();
  const auto shapes = infer_shapes(frozen.value()).value();
  std::map<std::string, Value> values;
  const auto param = [&](const Node& n, const char* role) {
    return weights.get(n.path + "." + role).value()->as_f32();
  };
  for (const Node& n : graph.nodes) {
    if (n.op == Op::kInput) {
      values[n.path] = input;
      continue;
    }
    Value out;
    out.shape = constant_shape(shapes.at(n.path)).value();
    out.data.assign(u(*element_count(shapes.at(n.path))), 0.0);
    const Value& x = values.at(n.inputs[0]);
    switch (n.op) {
      case Op::kConv: {
        const auto& a = n.as<ConvAttrs>();
        const auto w = param(n, "weight");
        const I in_group = x.shape[1] / a.groups;
        const I out_group = a.out / a.groups;
        each(out.shape, [&](I b, I c, I h, I v, std::size_t o) {
          double sum = a.bias ? param(n, "bias")[u(c)] : 0.0;
          for (I k = 0; k < in_group; ++k)
            for (I i = 0; i < a.kernel[0]; ++i)
              for (I j = 0; j < a.kernel[1]; ++j) {
                const I y = h * a.stride[0] - a.pad[0] + i * a.dilation[0];
                const I z = v * a.stride[1] - a.pad[1] + j * a.dilation[1];
                if (y < 0 || z < 0 || y >= x.shape[2] || z >= x.shape[3]) continue;
                const I source = c / out_group * in_group + k;
                sum += x.data[at4(x.shape, b, source, y, z)] *
                       w[u(((c * in_group + k) * a.kernel[0] + i) * a.kernel[1] + j)];
              }
          out.data[o] = sum;
        });
        break;
      }
      case Op::kBatchNorm: {
        const double eps = n.as<BatchNormAttrs>().eps;
        each(out.shape, [&](I, I c, I, I, std::size_t o) {
          const double scale =
              param(n, "weight")[u(c)] / std::sqrt(param(n, "running_var")[u(c)] + eps);
          out.data[o] =
              (x.data[o] - param(n, "running_mean")[u(c)]) * scale + param(n, "bias")[u(c)];
        });
        break;
      }
      case Op::kLinear: {
        const auto w = param(n, "weight");
        const I in = x.shape[1];
        for (I b = 0; b < out.shape[0]; ++b)
          for (I c = 0; c < out.shape[1]; ++c) {
            double sum = n.as<LinearAttrs>().bias ? param(n, "bias")[u(c)] : 0.0;
            for (I k = 0; k < in; ++k) sum += x.data[u(b * in + k)] * w[u(c * in + k)];
            out.data[u(b * out.shape[1] + c)] = sum;
          }
        break;
      }
      case Op::kRelu:
        for (std::size_t i = 0; i < out.data.size(); ++i) out.data[i] = std::max(0.0, x.data[i]);
        break;
      case Op::kLeakyRelu:
        for (std::size_t i = 0; i < out.data.size(); ++i) {
          out.data[i] = x.data[i] >= 0 ? x.data[i] : x.data[i] * n.as<LeakyReluAttrs>().slope;
        }
        break;
      case Op::kSigmoid:
      case Op::kSilu:
        for (std::size_t i = 0; i < out.data.size(); ++i) {
          const double s = 1 / (1 + std::exp(-x.data[i]));
          out.data[i] = n.op == Op::kSilu ? x.data[i] * s : s;
        }
        break;
      case Op::kAdd:
      case Op::kMul: {
        const Value& y = values.at(n.inputs[1]);
        for (std::size_t i = 0; i < out.data.size(); ++i) {
          out.data[i] = n.op == Op::kAdd ? x.data[i] + y.data[i] : x.data[i] * y.data[i];
        }
        break;
      }
      case Op::kConcat: {
        I base = 0;
        for (const std::string& path : n.inputs) {
          const Value& y = values.at(path);
          each(y.shape, [&](I b, I c, I h, I v, std::size_t o) {
            out.data[at4(out.shape, b, base + c, h, v)] = y.data[o];
          });
          base += y.shape[1];
        }
        break;
      }
      case Op::kMaxPool:
      case Op::kAvgPool: {
        const auto& a = n.as<PoolAttrs>();
        each(out.shape, [&](I b, I c, I h, I v, std::size_t o) {
          double best = -std::numeric_limits<double>::infinity();
          double sum = 0;
          int count = 0;
          for (I i = 0; i < a.kernel[0]; ++i)
            for (I j = 0; j < a.kernel[1]; ++j) {
              const I y = h * a.stride[0] - a.pad[0] + i;
              const I z = v * a.stride[1] - a.pad[1] + j;
              if (y < 0 || z < 0 || y >= x.shape[2] || z >= x.shape[3]) continue;
              const double value = x.data[at4(x.shape, b, c, y, z)];
              best = std::max(best, value);
              sum += value;
              ++count;
            }
          out.data[o] = n.op == Op::kMaxPool ? best : sum / count;
        });
        break;
      }
      case Op::kGlobalAvgPool:
        each(x.shape, [&](I b, I c, I, I, std::size_t o) {
          out.data[u(b * x.shape[1] + c)] +=
              x.data[o] / static_cast<double>(x.shape[2] * x.shape[3]);
        });
        break;
      case Op::kUpsample: {
        const I s = n.as<UpsampleAttrs>().scale;
        each(out.shape, [&](I b, I c, I h, I v, std::size_t o) {
          out.data[o] = x.data[at4(x.shape, b, c, h / s, v / s)];
        });
        break;
      }
      case Op::kPadChannels: {
        const I before = n.as<PadChannelsAttrs>().before;
        each(x.shape, [&](I b, I c, I h, I v, std::size_t o) {
          out.data[at4(out.shape, b, before + c, h, v)] = x.data[o];
        });
        break;
      }
      case Op::kSubsample: {
        const I s = n.as<SubsampleAttrs>().stride;
        each(out.shape, [&](I b, I c, I h, I v, std::size_t o) {
          out.data[o] = x.data[at4(x.shape, b, c, h * s, v * s)];
        });
        break;
      }
      case Op::kFlatten:
        out.data = x.data;
        break;
      case Op::kInput:
        break;
    }
    values[n.path] = std::move(out);
  }
  return values;
}

Graph all_operators(std::int64_t channels) {
  Graph g;
  g.name = "all";
  const auto add = [&](std::string path, Op op, std::vector<std::string> in,
                       Attrs attrs = NoAttrs{}) {
    g.nodes.push_back({.path = std::move(path), .op = op, .inputs = std::move(in), .attrs = attrs});
  };
  const BatchNormAttrs bn{.eps = 1e-3, .momentum = 0.1};
  add("input", Op::kInput, {}, InputAttrs{.channels = channels, .n = {}, .h = {}, .w = {}});
  add("c1", Op::kConv, {"input"},
      ConvAttrs{.out = 6, .kernel = {3, 3}, .stride = {2, 1}, .pad = {1, 1}});
  add("b1", Op::kBatchNorm, {"c1"}, bn);
  add("r1", Op::kLeakyRelu, {"b1"}, LeakyReluAttrs{0.1});
  add("c2", Op::kConv, {"r1"},
      ConvAttrs{.out = 6,
                .kernel = {3, 1},
                .pad = {2, 0},
                .dilation = {2, 1},
                .groups = 2,
                .bias = true});
  add("b2", Op::kBatchNorm, {"c2"}, bn);
  add("s2", Op::kSilu, {"b2"});
  add("sum", Op::kAdd, {"s2", "r1"});
  add("b3", Op::kBatchNorm, {"sum"}, bn);
  add("c4", Op::kConv, {"b3"}, ConvAttrs{.out = 6});
  add("b4", Op::kBatchNorm, {"c4"}, bn);
  add("gate", Op::kSigmoid, {"c4"});
  add("mul", Op::kMul, {"b4", "gate"});
  add("pad", Op::kPadChannels, {"mul"}, PadChannelsAttrs{1, 2});
  add("max", Op::kMaxPool, {"pad"}, PoolAttrs{{3, 3}, {2, 2}, {1, 1}});
  add("avg", Op::kAvgPool, {"pad"}, PoolAttrs{{3, 3}, {2, 2}, {1, 1}});
  add("cat", Op::kConcat, {"max", "avg"});
  add("up", Op::kUpsample, {"cat"}, UpsampleAttrs{2});
  add("sub", Op::kSubsample, {"up"}, SubsampleAttrs{3});
  add("relu", Op::kRelu, {"sub"});
  add("pool", Op::kGlobalAvgPool, {"relu"});
  add("flat", Op::kFlatten, {"pool"});
  add("fc", Op::kLinear, {"flat"}, LinearAttrs{.out = 5});
  g.outputs = {"fc"};
  g.taps["b1"] = "b1";
  return g;
}

TensorStore random_weights(const Graph& graph, std::uint64_t seed) {
  TensorStore store;
  CounterRandom random(seed, 1);
  const std::vector<ParamSpec> specs = param_specs(graph).value();
  for (const ParamSpec& p : specs) {
    I count = 1;
    for (const I d : p.shape) count *= d;
    std::vector<float> data(u(count));
    for (float& x : data) {
      x = static_cast<float>(random.uniform() * 2 - 1);
      if (p.role == "running_var") x = x * x + 0.05F;
    }
    store.put(p.key, Tensor::f32(p.shape, data));
  }
  return store;
}

Value random_input(std::vector<std::int64_t> shape, std::uint64_t seed) {
  I count = 1;
  for (const I d : shape) count *= d;
  CounterRandom random(seed, 2);
  Value v{std::move(shape), std::vector<double>(u(count))};
  for (double& x : v.data) x = static_cast<double>(static_cast<float>(random.uniform() * 2 - 1));
  return v;
}

}  // namespace tango::graph::testing

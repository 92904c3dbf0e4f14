#include "lib/graph/passes.h"

#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "lib/graph/infer.h"

namespace tango::graph {
namespace {

// Batch norm path -> path of the convolution it folds into.
std::unordered_map<std::string, std::string> foldable(const Graph& graph) {
  std::unordered_map<std::string, int> uses;
  std::unordered_map<std::string, const Node*> by_path;
  for (const Node& n : graph.nodes) {
    by_path[n.path] = &n;
    for (const std::string& in : n.inputs) ++uses[in];
  }
  // A value that is shown to the outside must keep existing as it is.
  for (const std::string& out : graph.outputs) ++uses[out];
  for (const auto& [name, path] : graph.taps) ++uses[path];

  std::unordered_map<std::string, std::string> out;
  for (const Node& n : graph.nodes) {
    if (n.op != Op::kBatchNorm) continue;
    const Node& source = *by_path.at(n.inputs[0]);
    if (source.op == Op::kConv && uses.at(source.path) == 1 && source.when == n.when) {
      out.emplace(n.path, source.path);
    }
  }
  return out;
}

Graph remove_folded(const Graph& graph,
                    const std::unordered_map<std::string, std::string>& folded) {
  std::unordered_set<std::string> convs;
  for (const auto& [bn, conv] : folded) convs.insert(conv);
  const auto rename = [&](std::string& path) {
    if (auto it = folded.find(path); it != folded.end()) path = it->second;
  };
  Graph out;
  out.name = graph.name;
  out.outputs = graph.outputs;
  out.taps = graph.taps;
  for (const Node& n : graph.nodes) {
    if (folded.contains(n.path)) continue;
    Node copy = n;
    for (std::string& in : copy.inputs) rename(in);
    if (convs.contains(n.path)) std::get<ConvAttrs>(copy.attrs).bias = true;
    out.nodes.push_back(std::move(copy));
  }
  for (std::string& path : out.outputs) rename(path);
  for (auto& [name, path] : out.taps) rename(path);
  return out;
}

// One fold: w' = w * g / sqrt(v + eps), b' = beta + (b - mean) * g / sqrt(v + eps), per channel.
// Arithmetic is in double so that only the final rounding to f32 differs from the unfused network.
Status fold(const Node& conv, const Node& bn, TensorStore& weights) {
  const std::string& p = bn.path;
  TRY_ASSIGN(const Tensor* gamma, weights.get(p + ".weight"));
  TRY_ASSIGN(const Tensor* beta, weights.get(p + ".bias"));
  TRY_ASSIGN(const Tensor* mean, weights.get(p + ".running_mean"));
  TRY_ASSIGN(const Tensor* var, weights.get(p + ".running_var"));
  TRY_ASSIGN(const Tensor* kernel, weights.get(conv.path + ".weight"));
  const auto& attrs = conv.as<ConvAttrs>();
  const std::size_t channels = static_cast<std::size_t>(attrs.out);
  const double eps = bn.as<BatchNormAttrs>().eps;

  Tensor new_kernel = *kernel;
  std::vector<float> new_bias(channels);
  std::span<const float> old_bias;
  if (attrs.bias) {
    TRY_ASSIGN(const Tensor* b, weights.get(conv.path + ".bias"));
    old_bias = b->as_f32();
  }
  const std::span<float> w = new_kernel.as_f32();
  const std::size_t per_channel = w.size() / channels;
  for (std::size_t c = 0; c < channels; ++c) {
    const double scale = gamma->as_f32()[c] / std::sqrt(var->as_f32()[c] + eps);
    for (std::size_t i = 0; i < per_channel; ++i) {
      float& x = w[c * per_channel + i];
      x = static_cast<float>(x * scale);
    }
    const double b = old_bias.empty() ? 0.0 : old_bias[c];
    new_bias[c] = static_cast<float>(beta->as_f32()[c] + (b - mean->as_f32()[c]) * scale);
  }
  weights.put(conv.path + ".weight", std::move(new_kernel));
  weights.put(conv.path + ".bias", Tensor::f32({attrs.out}, new_bias));
  for (const char* role : {".weight", ".bias", ".running_mean", ".running_var"}) {
    weights.erase(p + role);
  }
  return ok_status();
}

}  // namespace

Status check_weights(const Graph& graph, const TensorStore& weights) {
  TRY_ASSIGN(const std::vector<ParamSpec> specs, param_specs(graph));
  for (const ParamSpec& p : specs) {
    auto it = weights.tensors().find(p.key);
    if (it == weights.tensors().end()) {
      return make_error(Code::kInvalid, "MissingTensor",
                        "the weights have no tensor \"" + p.key + "\" of network " + graph.name);
    }
    if (it->second.shape != p.shape || it->second.dtype != DType::kF32) {
      return make_error(Code::kInvalid, "ShapeMismatch",
                        "tensor \"" + p.key +
                            "\" does not have the shape or type (F32) that network " + graph.name +
                            " needs");
    }
  }
  if (weights.tensors().size() != specs.size()) {
    std::unordered_set<std::string> known;
    for (const ParamSpec& p : specs) known.insert(p.key);
    for (const auto& [key, unused] : weights.tensors()) {
      if (!known.contains(key)) {
        return make_error(Code::kInvalid, "UnknownTensor",
                          "tensor \"" + key + "\" does not belong to network " + graph.name);
      }
    }
  }
  return ok_status();
}

Result<Graph> select_mode(const Graph& graph, When mode) {
  TRY(check(graph));
  std::unordered_set<std::string> dropped;
  Graph out;
  out.name = graph.name;
  std::vector<Node> kept;
  for (const Node& n : graph.nodes) {
    bool drop = n.when != When::kBoth && n.when != mode;
    for (const std::string& in : n.inputs) drop = drop || dropped.contains(in);
    if (drop) {
      dropped.insert(n.path);
    } else {
      kept.push_back(n);
    }
  }
  for (const std::string& path : graph.outputs) {
    if (!dropped.contains(path)) out.outputs.push_back(path);
  }
  for (const auto& [name, path] : graph.taps) {
    if (!dropped.contains(path)) out.taps[name] = path;
  }
  // Backwards: what no output needs is dead (the trunk of a removed branch).
  std::unordered_set<std::string> needed(out.outputs.begin(), out.outputs.end());
  for (auto it = kept.rbegin(); it != kept.rend(); ++it) {
    if (needed.contains(it->path)) needed.insert(it->inputs.begin(), it->inputs.end());
  }
  std::erase_if(out.taps, [&](const auto& tap) { return !needed.contains(tap.second); });
  for (Node& n : kept) {
    if (n.op == Op::kInput || needed.contains(n.path)) {
      n.when = When::kBoth;
      out.nodes.push_back(std::move(n));
    }
  }
  TRY(check(out));
  return out;
}

Result<Graph> fuse_conv_bn(const Graph& graph) {
  TRY(check(graph));
  return remove_folded(graph, foldable(graph));
}

Result<Network> fuse_conv_bn(const Network& network) {
  TRY(check_weights(network.graph, network.weights));
  const auto folded = foldable(network.graph);
  Network out{remove_folded(network.graph, folded), network.weights};
  for (const auto& [bn, conv] : folded) {
    TRY(fold(*network.graph.find(conv), *network.graph.find(bn), out.weights));
  }
  TRY(check_weights(out.graph, out.weights));
  return out;
}

}  // namespace tango::graph

#include "lib/graph/infer.h"

#include <algorithm>
#include <unordered_map>

namespace tango::graph {
namespace {

using ShapeMap = std::unordered_map<std::string, Shape>;

Error mismatch(const Node& node, const std::string& what) {
  return make_error(Code::kInvalid, "ShapeMismatch",
                    "node " + node.path + " (" + std::string(op_info(node.op).name) + "): " + what);
}

// Output extent of a sliding window: floor((x + 2 pad - dilation (kernel - 1) - 1) / stride) + 1.
Dim window(const Dim& x, std::int64_t kernel, std::int64_t stride, std::int64_t pad,
           std::int64_t dilation) {
  return x.affine(1, 2 * pad - dilation * (kernel - 1) - 1 + stride, stride);
}

Result<Shape> node_shape(const Node& node, const std::vector<const Shape*>& in) {
  const auto need_image = [&]() -> Status {
    for (const Shape* s : in) {
      if (s->size() != 4) return mismatch(node, "needs [N, C, H, W], not " + to_string(*s));
    }
    return ok_status();
  };
  switch (node.op) {
    case Op::kInput: {
      const auto& a = node.as<InputAttrs>();
      return Shape{a.n ? Dim(*a.n) : Dim::symbol(Symbol::kN), Dim(a.channels),
                   a.h ? Dim(*a.h) : Dim::symbol(Symbol::kH),
                   a.w ? Dim(*a.w) : Dim::symbol(Symbol::kW)};
    }
    case Op::kConv: {
      TRY(need_image());
      const auto& a = node.as<ConvAttrs>();
      const Shape& x = *in[0];
      if (!x[1].is_constant() || x[1].value() % a.groups != 0 || a.out % a.groups != 0) {
        return mismatch(node, "channels " + x[1].to_string() + " and " + std::to_string(a.out) +
                                  " are not multiples of " + std::to_string(a.groups) + " groups");
      }
      return Shape{x[0], Dim(a.out),
                   window(x[2], a.kernel[0], a.stride[0], a.pad[0], a.dilation[0]),
                   window(x[3], a.kernel[1], a.stride[1], a.pad[1], a.dilation[1])};
    }
    case Op::kMaxPool:
    case Op::kAvgPool: {
      TRY(need_image());
      const auto& a = node.as<PoolAttrs>();
      if (2 * a.pad[0] > a.kernel[0] || 2 * a.pad[1] > a.kernel[1]) {
        return mismatch(node, "padding is more than half of the window");
      }
      const Shape& x = *in[0];
      return Shape{x[0], x[1], window(x[2], a.kernel[0], a.stride[0], a.pad[0], 1),
                   window(x[3], a.kernel[1], a.stride[1], a.pad[1], 1)};
    }
    case Op::kBatchNorm:
      TRY(need_image());
      return *in[0];
    case Op::kLinear: {
      const Shape& x = *in[0];
      if (x.size() != 2 || !x[1].is_constant()) {
        return mismatch(node, "needs [N, features] with known features, not " + to_string(x));
      }
      return Shape{x[0], Dim(node.as<LinearAttrs>().out)};
    }
    case Op::kRelu:
    case Op::kLeakyRelu:
    case Op::kSilu:
    case Op::kSigmoid:
      return *in[0];
    case Op::kAdd:
    case Op::kMul:
      if (*in[0] != *in[1]) {
        return mismatch(node, "inputs differ: " + to_string(*in[0]) + " and " + to_string(*in[1]));
      }
      return *in[0];
    case Op::kConcat: {
      TRY(need_image());
      Shape out = *in[0];
      for (std::size_t i = 1; i < in.size(); ++i) {
        const Shape& x = *in[i];
        if (x[0] != out[0] || x[2] != out[2] || x[3] != out[3]) {
          return mismatch(node, "inputs differ: " + to_string(*in[0]) + " and " + to_string(x));
        }
        out[1] = Dim(out[1].value() + x[1].value());
      }
      return out;
    }
    case Op::kGlobalAvgPool:
      TRY(need_image());
      return Shape{(*in[0])[0], (*in[0])[1], Dim(1), Dim(1)};
    case Op::kUpsample: {
      TRY(need_image());
      const std::int64_t s = node.as<UpsampleAttrs>().scale;
      const Shape& x = *in[0];
      return Shape{x[0], x[1], x[2].affine(s, 0, 1), x[3].affine(s, 0, 1)};
    }
    case Op::kPadChannels: {
      TRY(need_image());
      const auto& a = node.as<PadChannelsAttrs>();
      Shape out = *in[0];
      out[1] = Dim(out[1].value() + a.before + a.after);
      return out;
    }
    case Op::kSubsample: {
      TRY(need_image());
      const std::int64_t s = node.as<SubsampleAttrs>().stride;
      const Shape& x = *in[0];
      return Shape{x[0], x[1], window(x[2], 1, s, 0, 1), window(x[3], 1, s, 0, 1)};
    }
    case Op::kFlatten: {
      const Shape& x = *in[0];
      std::int64_t features = 1;
      for (std::size_t i = 1; i < x.size(); ++i) {
        if (!x[i].is_constant()) {
          return mismatch(node, "needs known extents behind the batch, not " + to_string(x));
        }
        features *= x[i].value();
      }
      return Shape{x[0], Dim(features)};
    }
  }
  return mismatch(node, "has no shape rule");
}

Result<ShapeMap> infer(const Graph& graph) {
  TRY(check(graph));
  ShapeMap shapes;
  for (const Node& node : graph.nodes) {
    std::vector<const Shape*> in;
    for (const std::string& path : node.inputs) in.push_back(&shapes.at(path));
    TRY_ASSIGN(Shape shape, node_shape(node, in));
    for (const Dim& d : shape) {
      if (d.is_constant() && d.value() < 1) {
        return mismatch(node, "an extent is below 1: " + to_string(shape) +
                                  "; the input image is too small for this network");
      }
    }
    shapes.emplace(node.path, std::move(shape));
  }
  return shapes;
}

}  // namespace

Result<std::map<std::string, Shape>> infer_shapes(const Graph& graph) {
  TRY_ASSIGN(ShapeMap shapes, infer(graph));
  return std::map<std::string, Shape>(shapes.begin(), shapes.end());
}

Result<Graph> freeze_input(Graph graph, std::int64_t n, std::int64_t h, std::int64_t w) {
  TRY(check(graph));
  auto& a = std::get<InputAttrs>(graph.nodes.front().attrs);
  a.n = n;
  a.h = h;
  a.w = w;
  TRY(infer(graph));
  return graph;
}

Result<std::vector<ParamSpec>> param_specs(const Graph& graph) {
  TRY_ASSIGN(ShapeMap shapes, infer(graph));
  std::vector<ParamSpec> out;
  const auto add = [&](const Node& n, const char* role, std::vector<std::int64_t> shape,
                       bool trainable) {
    out.push_back({n.path + "." + role, n.path, role, std::move(shape), trainable});
  };
  for (const Node& n : graph.nodes) {
    if (n.op == Op::kConv) {
      const auto& a = n.as<ConvAttrs>();
      const std::int64_t in = shapes.at(n.inputs[0])[1].value();
      add(n, "weight", {a.out, in / a.groups, a.kernel[0], a.kernel[1]}, true);
      if (a.bias) add(n, "bias", {a.out}, true);
    } else if (n.op == Op::kLinear) {
      const auto& a = n.as<LinearAttrs>();
      add(n, "weight", {a.out, shapes.at(n.inputs[0])[1].value()}, true);
      if (a.bias) add(n, "bias", {a.out}, true);
    } else if (n.op == Op::kBatchNorm) {
      const std::int64_t c = shapes.at(n.path)[1].value();
      add(n, "weight", {c}, true);
      add(n, "bias", {c}, true);
      add(n, "running_mean", {c}, false);
      add(n, "running_var", {c}, false);
    }
  }
  return out;
}

Result<Cost> cost(const Graph& graph) {
  TRY_ASSIGN(ShapeMap shapes, infer(graph));
  TRY_ASSIGN(const std::vector<ParamSpec> specs, param_specs(graph));
  Cost out;
  for (const ParamSpec& p : specs) {
    std::int64_t count = 1;
    for (const std::int64_t d : p.shape) count *= d;
    if (p.trainable) out.params += count;
    out.weight_bytes += 4 * count;
  }

  std::unordered_map<std::string, std::size_t> last_use;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    last_use[graph.nodes[i].path] = i;
    for (const std::string& in : graph.nodes[i].inputs) last_use[in] = i;
  }
  for (const std::string& path : graph.outputs) last_use[path] = graph.nodes.size();

  std::int64_t live = 0;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& n = graph.nodes[i];
    const Shape& shape = shapes.at(n.path);
    const auto count = element_count(shape);
    if (!count) {
      return make_error(Code::kInvalid, "InputNotFrozen",
                        "node " + n.path + " has shape " + to_string(shape) +
                            "; freeze the input before asking for its cost");
    }
    if (n.op == Op::kConv) {
      const auto& a = n.as<ConvAttrs>();
      const std::int64_t in = shapes.at(n.inputs[0])[1].value();
      out.flops += 2 * *count * (in / a.groups) * a.kernel[0] * a.kernel[1];
    } else if (n.op == Op::kLinear) {
      out.flops += 2 * *count * shapes.at(n.inputs[0])[1].value();
    }
    live += 4 * *count;
    out.peak_activation_bytes = std::max(out.peak_activation_bytes, live);
    // A value dies after the node that uses it last.
    std::vector<std::string> used = n.inputs;
    used.push_back(n.path);
    std::sort(used.begin(), used.end());
    used.erase(std::unique(used.begin(), used.end()), used.end());
    for (const std::string& path : used) {
      if (last_use.at(path) == i) live -= 4 * *element_count(shapes.at(path));
    }
  }
  return out;
}

}  // namespace tango::graph

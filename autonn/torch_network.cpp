#include "autonn/torch_network.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <unordered_map>
#include <unordered_set>

#include "lib/graph/infer.h"

namespace tango::autonn {
namespace {

using graph::Node;
using graph::Op;

struct Param {
  std::string key;
  Group group = Group::kPlain;
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;
  at::Tensor value;  // a view of the group's flat buffer
};

// One node with everything looked up.
struct Step {
  const Node* node = nullptr;
  std::vector<std::size_t> inputs;   // slots
  std::vector<std::size_t> release;  // slots that die here
  int weight = -1, bias = -1, mean = -1, var = -1;
  bool in_place = false;
};

std::int64_t numel(const std::vector<std::int64_t>& shape) {
  std::int64_t n = 1;
  for (const std::int64_t d : shape) n *= d;
  return n;
}

// Convolution weights lie in channels-last order inside the flat buffer: no conversion per step.
at::Tensor view_of(const at::Tensor& flat, const std::vector<std::int64_t>& s,
                   std::int64_t offset) {
  if (s.size() == 4) {
    return flat.as_strided({s[0], s[1], s[2], s[3]}, {s[1] * s[2] * s[3], 1, s[3] * s[1], s[1]},
                           offset);
  }
  return flat.narrow(0, offset, numel(s)).view(s);
}

}  // namespace

struct TorchNetwork::Impl {
  graph::Graph graph;
  std::vector<Param> params;
  at::Tensor flats[kGroups];
  at::Tensor gradients[kGroups];
  std::vector<Step> steps;
  std::size_t output = 0;

  void plan();
  at::Tensor run(const Step& step, std::vector<at::Tensor>& values, bool training);
  int find(const std::string& key) const {
    for (std::size_t i = 0; i < params.size(); ++i) {
      if (params[i].key == key) return static_cast<int>(i);
    }
    return -1;
  }
  const at::Tensor& param(int index) const { return params[static_cast<std::size_t>(index)].value; }
  at::Tensor optional_param(int index) const { return index < 0 ? at::Tensor() : param(index); }
};

void TorchNetwork::Impl::plan() {
  std::unordered_map<std::string, std::size_t> slot;
  std::unordered_map<std::string, int> uses;
  std::unordered_map<std::string, std::size_t> last_use;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    slot[graph.nodes[i].path] = i;
    for (const std::string& in : graph.nodes[i].inputs) {
      ++uses[in];
      last_use[in] = i;
    }
  }
  for (const std::string& path : graph.outputs) ++uses[path];
  std::unordered_set<std::string> keep(graph.outputs.begin(), graph.outputs.end());
  output = slot.at(graph.outputs.front());
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& n = graph.nodes[i];
    Step s;
    s.node = &n;
    for (const std::string& in : n.inputs) {
      const std::size_t from = slot.at(in);
      if (last_use.at(in) == i && !keep.contains(in) &&
          std::find(s.release.begin(), s.release.end(), from) == s.release.end()) {
        s.release.push_back(from);
      }
      s.inputs.push_back(from);
    }
    s.weight = find(n.path + ".weight");
    s.bias = find(n.path + ".bias");
    s.mean = find(n.path + ".running_mean");
    s.var = find(n.path + ".running_var");
    if (!n.inputs.empty() && (n.op == Op::kRelu || n.op == Op::kAdd)) {
      // Writing over the first input is safe when nobody else reads it and its producer's gradient
      // does not need it.
      const Op producer = graph.nodes[slot.at(n.inputs[0])].op;
      const bool free_output =
          producer == Op::kConv || producer == Op::kBatchNorm ||
          (n.op == Op::kRelu &&
           (producer == Op::kAdd || producer == Op::kLinear || producer == Op::kPadChannels));
      s.in_place = free_output && uses[n.inputs[0]] == 1;
    }
    steps.push_back(std::move(s));
  }
}

at::Tensor TorchNetwork::Impl::run(const Step& step, std::vector<at::Tensor>& values,
                                   bool training) {
  const Node& n = *step.node;
  const at::Tensor& x = values[step.inputs[0]];
  switch (n.op) {
    case Op::kConv: {
      const auto& a = n.as<graph::ConvAttrs>();
      return at::conv2d(x, param(step.weight), optional_param(step.bias), a.stride, a.pad,
                        a.dilation, a.groups);
    }
    case Op::kBatchNorm: {
      const auto& a = n.as<graph::BatchNormAttrs>();
      return at::batch_norm(x, param(step.weight), param(step.bias), param(step.mean),
                            param(step.var), training, a.momentum, a.eps, false);
    }
    case Op::kLinear:
      return at::linear(x, param(step.weight), optional_param(step.bias));
    case Op::kRelu:
      return step.in_place ? at::relu_(values[step.inputs[0]]) : at::relu(x);
    case Op::kLeakyRelu:
      return at::leaky_relu(x, n.as<graph::LeakyReluAttrs>().slope);
    case Op::kSilu:
      return at::silu(x);
    case Op::kSigmoid:
      return at::sigmoid(x);
    case Op::kAdd:
      return step.in_place ? values[step.inputs[0]].add_(values[step.inputs[1]])
                           : at::add(x, values[step.inputs[1]]);
    case Op::kMul:
      return at::mul(x, values[step.inputs[1]]);
    case Op::kConcat: {
      std::vector<at::Tensor> list;
      for (const std::size_t i : step.inputs) list.push_back(values[i]);
      return at::cat(list, 1);
    }
    case Op::kMaxPool: {
      const auto& a = n.as<graph::PoolAttrs>();
      return at::max_pool2d(x, a.kernel, a.stride, a.pad);
    }
    case Op::kAvgPool: {
      const auto& a = n.as<graph::PoolAttrs>();
      return at::avg_pool2d(x, a.kernel, a.stride, a.pad, false, false);
    }
    case Op::kGlobalAvgPool:
      return at::adaptive_avg_pool2d(x, {1, 1});
    case Op::kUpsample: {
      const auto s = static_cast<double>(n.as<graph::UpsampleAttrs>().scale);
      return at::upsample_nearest2d(x, c10::nullopt, c10::ArrayRef<double>{s, s});
    }
    case Op::kPadChannels: {
      const auto& a = n.as<graph::PadChannelsAttrs>();
      return at::constant_pad_nd(x, {0, 0, 0, 0, a.before, a.after});
    }
    case Op::kSubsample: {
      const std::int64_t s = n.as<graph::SubsampleAttrs>().stride;
      return x.slice(2, c10::nullopt, c10::nullopt, s).slice(3, c10::nullopt, c10::nullopt, s);
    }
    case Op::kFlatten:
      return x.flatten(1);
    case Op::kInput:
      break;
  }
  return x;
}

TorchNetwork::TorchNetwork(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TorchNetwork::~TorchNetwork() = default;

Result<std::unique_ptr<TorchNetwork>> TorchNetwork::create(const graph::Graph& graph,
                                                           const graph::TensorStore& weights) {
  TRY(graph::check_weights(graph, weights));
  TRY_ASSIGN(const std::vector<graph::ParamSpec> specs, graph::param_specs(graph));
  auto impl = std::make_unique<Impl>();
  impl->graph = graph;
  std::int64_t sizes[kGroups] = {0, 0, 0};
  for (const graph::ParamSpec& p : specs) {
    const bool matrix = p.trainable && p.shape.size() > 1;
    const Group group = !p.trainable ? Group::kBuffers : matrix ? Group::kDecay : Group::kPlain;
    auto& size = sizes[static_cast<int>(group)];
    impl->params.push_back({p.key, group, p.shape, size, {}});
    size += numel(p.shape);
  }
  for (int g = 0; g < kGroups; ++g) impl->flats[g] = at::zeros({sizes[g]}, at::kFloat);
  for (Param& p : impl->params) {
    p.value = view_of(impl->flats[static_cast<int>(p.group)], p.shape, p.offset);
  }
  impl->plan();
  auto network = std::unique_ptr<TorchNetwork>(new TorchNetwork(std::move(impl)));
  TRY(network->load(weights));
  return network;
}

void TorchNetwork::make_trainable() {
  for (const Group group : {Group::kDecay, Group::kPlain}) {
    impl_->gradients[static_cast<int>(group)] =
        at::zeros_like(impl_->flats[static_cast<int>(group)]);
  }
  for (Param& p : impl_->params) {
    if (p.group == Group::kBuffers) continue;
    p.value = p.value.detach();
    p.value.requires_grad_(true);
    p.value.mutable_grad() =
        view_of(impl_->gradients[static_cast<int>(p.group)], p.shape, p.offset);
  }
}

at::Tensor TorchNetwork::forward(const at::Tensor& input, bool training) {
  std::vector<at::Tensor> values(impl_->steps.size());
  values[0] = input;
  for (std::size_t i = 1; i < impl_->steps.size(); ++i) {
    const Step& s = impl_->steps[i];
    if (!training && s.node->when == graph::When::kTrain) continue;
    if (training && s.node->when == graph::When::kEval) continue;
    values[i] = impl_->run(s, values, training);
    for (const std::size_t dead : s.release) values[dead] = at::Tensor();
  }
  return values[impl_->output];
}

at::Tensor TorchNetwork::flat(Group group) const { return impl_->flats[static_cast<int>(group)]; }
at::Tensor TorchNetwork::flat_gradient(Group group) const {
  return impl_->gradients[static_cast<int>(group)];
}
const graph::Graph& TorchNetwork::graph() const { return impl_->graph; }

graph::TensorStore TorchNetwork::weights() const {
  at::NoGradGuard no_grad;
  graph::TensorStore out;
  for (const Param& p : impl_->params) {
    const at::Tensor dense = p.value.detach().contiguous();
    out.put(p.key, graph::Tensor::f32(p.shape, {dense.data_ptr<float>(),
                                                static_cast<std::size_t>(dense.numel())}));
  }
  return out;
}

Status TorchNetwork::load(const graph::TensorStore& weights) {
  TRY(graph::check_weights(impl_->graph, weights));
  at::NoGradGuard no_grad;
  for (Param& p : impl_->params) {
    TRY_ASSIGN(const graph::Tensor* t, weights.get(p.key));
    const at::Tensor source =
        at::from_blob(const_cast<float*>(t->as_f32().data()), p.shape, at::kFloat);
    view_of(impl_->flats[static_cast<int>(p.group)], p.shape, p.offset).copy_(source);
  }
  return ok_status();
}

void set_compute_threads(int threads) { at::set_num_threads(threads); }

}  // namespace tango::autonn

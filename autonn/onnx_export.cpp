#include "autonn/onnx_export.h"

#include <onnx/checker.h>
#include <onnx/onnx_pb.h>
#include <onnx/shape_inference/implementation.h>

#include "lib/graph/infer.h"

namespace tango::autonn {
namespace {

using graph::Node;
using graph::Op;

constexpr int kIrVersion = 8;
constexpr int kOpset = 13;

class Writer {
 public:
  Writer(const graph::Network& network, const std::map<std::string, graph::Shape>& shapes,
         std::string input_name, std::string output_name)
      : network_(network),
        shapes_(shapes),
        input_name_(std::move(input_name)),
        output_name_(std::move(output_name)) {}

  Result<onnx::ModelProto> run() {
    model_.set_ir_version(kIrVersion);
    model_.set_producer_name("tango");
    auto* opset = model_.add_opset_import();
    opset->set_domain("");
    opset->set_version(kOpset);
    graph_ = model_.mutable_graph();
    graph_->set_name(network_.graph.name);
    value_info(graph_->add_input(), network_.graph.input().path);
    value_info(graph_->add_output(), network_.graph.outputs.front());
    for (const Node& n : network_.graph.nodes) {
      if (n.op != Op::kInput) TRY(lower(n));
    }
    return std::move(model_);
  }

 private:
  std::string name(const std::string& path) const {
    if (path == network_.graph.input().path) return input_name_;
    if (path == network_.graph.outputs.front()) return output_name_;
    return path;
  }
  void value_info(onnx::ValueInfoProto* info, const std::string& path) {
    info->set_name(name(path));
    auto* type = info->mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    for (const graph::Dim& d : shapes_.at(path))
      type->mutable_shape()->add_dim()->set_dim_value(d.value());
  }
  onnx::NodeProto* add(const Node& n, const char* type) { return add(n, type, name(n.path)); }
  onnx::NodeProto* add(const Node& n, const char* type, const std::string& output) {
    auto* node = graph_->add_node();
    node->set_op_type(type);
    node->set_name(output);
    node->add_output(output);
    for (const std::string& in : n.inputs) node->add_input(name(in));
    return node;
  }
  static onnx::AttributeProto* attribute(onnx::NodeProto* node, const char* key) {
    auto* a = node->add_attribute();
    a->set_name(key);
    return a;
  }
  static void ints(onnx::NodeProto* node, const char* key,
                   std::initializer_list<std::int64_t> values) {
    auto* a = attribute(node, key);
    a->set_type(onnx::AttributeProto::INTS);
    for (const std::int64_t v : values) a->add_ints(v);
  }
  static void integer(onnx::NodeProto* node, const char* key, std::int64_t value) {
    auto* a = attribute(node, key);
    a->set_type(onnx::AttributeProto::INT);
    a->set_i(value);
  }
  static void real(onnx::NodeProto* node, const char* key, double value) {
    auto* a = attribute(node, key);
    a->set_type(onnx::AttributeProto::FLOAT);
    a->set_f(static_cast<float>(value));
  }
  static void text(onnx::NodeProto* node, const char* key, const char* value) {
    auto* a = attribute(node, key);
    a->set_type(onnx::AttributeProto::STRING);
    a->set_s(value);
  }
  void initializer(onnx::NodeProto* node, const std::string& key,
                   const std::vector<std::int64_t>& shape, onnx::TensorProto::DataType type,
                   const void* data, std::size_t bytes) {
    auto* t = graph_->add_initializer();
    t->set_name(key);
    t->set_data_type(type);
    for (const std::int64_t d : shape) t->add_dims(d);
    t->set_raw_data(data, bytes);
    node->add_input(key);
  }
  Status parameter(onnx::NodeProto* node, const Node& n, const char* role) {
    const std::string key = n.path + "." + role;
    TRY_ASSIGN(const graph::Tensor* t, network_.weights.get(key));
    initializer(node, key, t->shape, onnx::TensorProto::FLOAT, t->bytes.data(), t->bytes.size());
    return ok_status();
  }
  void window(onnx::NodeProto* node, const graph::Pair& kernel, const graph::Pair& stride,
              const graph::Pair& pad) {
    ints(node, "kernel_shape", {kernel[0], kernel[1]});
    ints(node, "strides", {stride[0], stride[1]});
    ints(node, "pads", {pad[0], pad[1], pad[0], pad[1]});
  }

  Status lower(const Node& n) {
    switch (n.op) {
      case Op::kConv: {
        const auto& a = n.as<graph::ConvAttrs>();
        auto* node = add(n, "Conv");
        TRY(parameter(node, n, "weight"));
        if (a.bias) TRY(parameter(node, n, "bias"));
        window(node, a.kernel, a.stride, a.pad);
        ints(node, "dilations", {a.dilation[0], a.dilation[1]});
        integer(node, "group", a.groups);
        return ok_status();
      }
      case Op::kBatchNorm: {
        auto* node = add(n, "BatchNormalization");
        for (const char* role : {"weight", "bias", "running_mean", "running_var"}) {
          TRY(parameter(node, n, role));
        }
        real(node, "epsilon", n.as<graph::BatchNormAttrs>().eps);
        return ok_status();
      }
      case Op::kLinear: {
        auto* node = add(n, "Gemm");
        TRY(parameter(node, n, "weight"));
        if (n.as<graph::LinearAttrs>().bias) TRY(parameter(node, n, "bias"));
        integer(node, "transB", 1);
        return ok_status();
      }
      case Op::kRelu:
        add(n, "Relu");
        return ok_status();
      case Op::kLeakyRelu:
        real(add(n, "LeakyRelu"), "alpha", n.as<graph::LeakyReluAttrs>().slope);
        return ok_status();
      case Op::kSigmoid:
        add(n, "Sigmoid");
        return ok_status();
      case Op::kSilu: {
        const std::string gate = n.path + ".sigmoid";
        add(n, "Sigmoid", gate);
        add(n, "Mul")->add_input(gate);
        return ok_status();
      }
      case Op::kAdd:
        add(n, "Add");
        return ok_status();
      case Op::kMul:
        add(n, "Mul");
        return ok_status();
      case Op::kConcat:
        integer(add(n, "Concat"), "axis", 1);
        return ok_status();
      case Op::kMaxPool:
      case Op::kAvgPool: {
        const auto& a = n.as<graph::PoolAttrs>();
        auto* node = add(n, n.op == Op::kMaxPool ? "MaxPool" : "AveragePool");
        window(node, a.kernel, a.stride, a.pad);
        if (n.op == Op::kAvgPool) integer(node, "count_include_pad", 0);
        return ok_status();
      }
      case Op::kGlobalAvgPool:
        add(n, "GlobalAveragePool");
        return ok_status();
      case Op::kUpsample: {
        const auto s = static_cast<float>(n.as<graph::UpsampleAttrs>().scale);
        const float scales[4] = {1, 1, s, s};
        auto* node = add(n, "Resize");
        node->add_input("");  // no region of interest
        initializer(node, n.path + ".scales", {4}, onnx::TensorProto::FLOAT, scales, sizeof scales);
        text(node, "mode", "nearest");
        text(node, "coordinate_transformation_mode", "asymmetric");
        text(node, "nearest_mode", "floor");
        return ok_status();
      }
      case Op::kPadChannels: {
        const auto& a = n.as<graph::PadChannelsAttrs>();
        const std::int64_t pads[8] = {0, a.before, 0, 0, 0, a.after, 0, 0};
        auto* node = add(n, "Pad");
        initializer(node, n.path + ".pads", {8}, onnx::TensorProto::INT64, pads, sizeof pads);
        text(node, "mode", "constant");
        return ok_status();
      }
      case Op::kSubsample: {
        // Taking every s-th pixel is max pooling over windows of one.
        const std::int64_t s = n.as<graph::SubsampleAttrs>().stride;
        window(add(n, "MaxPool"), {1, 1}, {s, s}, {0, 0});
        return ok_status();
      }
      case Op::kFlatten:
        integer(add(n, "Flatten"), "axis", 1);
        return ok_status();
      case Op::kInput:
        break;
    }
    return make_error(
        Code::kUnsupported, "Unsupported",
        "operator " + std::string(graph::op_info(n.op).name) + " has no ONNX form here");
  }

  const graph::Network& network_;
  const std::map<std::string, graph::Shape>& shapes_;
  std::string input_name_;
  std::string output_name_;
  onnx::ModelProto model_;
  onnx::GraphProto* graph_ = nullptr;
};

}  // namespace

Result<std::string> export_onnx(const graph::Network& network, const std::string& input_name,
                                const std::string& output_name) {
  TRY(graph::check_weights(network.graph, network.weights));
  TRY_ASSIGN(const auto shapes, graph::infer_shapes(network.graph));
  for (const auto& [path, shape] : shapes) {
    if (!graph::constant_shape(shape)) {
      return make_error(Code::kInvalid, "InputNotFrozen",
                        "node " + path + " has shape " + graph::to_string(shape) +
                            "; ONNX files are written with static shapes");
    }
  }
  if (network.graph.outputs.size() != 1) {
    return make_error(Code::kUnsupported, "Unsupported",
                      "only networks with one output are exported");
  }
  TRY_ASSIGN(onnx::ModelProto model, Writer(network, shapes, input_name, output_name).run());
  try {
    onnx::checker::check_model(model);
    onnx::ModelProto inferred = model;
    onnx::shape_inference::InferShapes(inferred, onnx::OpSchemaRegistry::Instance(),
                                       {true, 1, false});
  } catch (const std::exception& e) {
    return make_error(Code::kInternal, "OnnxInvalid",
                      std::string("the exported network did not pass ONNX's checks: ") + e.what());
  }
  std::string out;
  if (!model.SerializeToString(&out)) {
    return make_error(Code::kInternal, "OnnxInvalid", "the network is too large for one ONNX file");
  }
  return out;
}

}  // namespace tango::autonn

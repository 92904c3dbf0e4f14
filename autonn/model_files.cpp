#include "autonn/model_files.h"

#include "lib/artifacts/registry_client.h"
#include "lib/graph/infer.h"
#include "lib/graph/safetensors.h"

namespace tango::autonn {

Status check_model(const Model& model) {
  TRY(graph::check_weights(model.network.graph, model.network.weights));
  const auto& input = model.network.graph.input().as<graph::InputAttrs>();
  TRY_ASSIGN(const auto shapes, graph::infer_shapes(model.network.graph));
  const graph::Shape& out = shapes.at(model.network.graph.outputs.front());
  const auto classes = static_cast<std::int64_t>(model.spec.classes.size());
  if (input.channels != model.spec.input.channels() || out.size() != 2 ||
      out[1] != graph::Dim(classes)) {
    return make_error(Code::kInvalid, "InvalidModel",
                      "graph.json (" + std::to_string(input.channels) + " channels, output " +
                          graph::to_string(out) + ") does not fit network.json (" +
                          std::to_string(model.spec.input.channels()) + " channels, " +
                          std::to_string(classes) + " classes)");
  }
  return ok_status();
}

Result<Model> read_model(const Artifact& artifact) {
  if (artifact.type != artifacts::kModelArtifact) {
    return make_error(Code::kInvalid, "WrongArtifact",
                      "a model was expected, but the artifact's type is " + artifact.type);
  }
  Model model;
  TRY_ASSIGN(const ArtifactFile* graph_file, artifact.file("graph.json"));
  TRY_ASSIGN(const Json graph_json, parse_json(graph_file->bytes));
  TRY_ASSIGN(model.network.graph, graph::parse_graph(graph_json));
  TRY_ASSIGN(const ArtifactFile* weights, artifact.file("weights.safetensors"));
  TRY_ASSIGN(model.network.weights, graph::parse_safetensors(weights->bytes));
  TRY_ASSIGN(const ArtifactFile* spec, artifact.file("network.json"));
  TRY_ASSIGN(model.spec, vision::parse_network_text(spec->bytes));
  if (const auto metrics = artifact.file("metrics.json"); metrics.ok()) {
    TRY_ASSIGN(model.metrics, parse_json(metrics.value()->bytes));
  }
  TRY(check_model(model));
  return model;
}

Result<Artifact> model_artifact(const Model& model,
                                const std::map<std::string, std::string>& annotations) {
  TRY(check_model(model));
  TRY_ASSIGN(const std::string graph, canonical_json(graph::encode(model.network.graph)));
  TRY_ASSIGN(const std::string spec, vision::network_json(model.spec));
  TRY_ASSIGN(const std::string metrics, canonical_json(model.metrics));
  Artifact out;
  out.type = artifacts::kModelArtifact;
  out.annotations = annotations;
  out.files = {
      {"graph.json", std::string(kJsonType), graph},
      {"weights.safetensors", std::string(kSafetensorsType),
       graph::encode_safetensors(model.network.weights)},
      {"network.json", std::string(kJsonType), spec},
      {"metrics.json", std::string(kJsonType), metrics},
  };
  return out;
}

}  // namespace tango::autonn

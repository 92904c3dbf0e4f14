// A model as an artifact: graph.json, weights.safetensors, network.json, metrics.json and what an
// export adds. Checked as a whole when it is read. No torch.
#pragma once

#include <string>
#include <vector>

#include "autonn/artifact_store.h"
#include "lib/base/json.h"
#include "lib/graph/passes.h"
#include "lib/vision/network.h"

namespace tango::autonn {

struct Model {
  graph::Network network;
  vision::NetworkSpec spec;
  Json metrics = Json::object();
};

// Errors: MissingLayer, WrongArtifact, and those of the parts (weights that do not fit the graph,
// another number of classes or channels than network.json says: InvalidModel).
Result<Model> read_model(const Artifact& artifact);
Status check_model(const Model& model);

// The four common files; the caller adds more.
Result<Artifact> model_artifact(const Model& model,
                                const std::map<std::string, std::string>& annotations);

}  // namespace tango::autonn

// Building a release: the bundle's tree from a model and the runtime, the proof that its gate
// works, and the unsigned bundle. Deterministic: the same model, runtime and configuration give the
// same bytes. Used by tango-builder; it holds no keys and signs nothing.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "image-builder/elf_closure.h"
#include "lib/artifacts/bundle_store.h"
#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::builder {

// Layers of a Model artifact that a release carries, by title; all are required.
inline constexpr std::string_view kModelFiles[] = {"model.onnx", "network.json", "golden.json",
                                                   "golden.safetensors", "golden.png"};

struct BuildInput {
  std::map<std::string, std::string> model_files;  // title -> bytes
  fs::path runtime;                                // tango-infer
  artifacts::BundleSpec spec;
  fs::path work;  // an own, empty folder below this is used
  Nanos gate_timeout = Seconds{120};
};

struct Built {
  artifacts::Bundle bundle;  // its sources lie below BuildInput::work
  std::vector<SharedObject> objects;
  std::string sbom;                   // SPDX 2.3 JSON; its digest is in the index
  Json self_test;                     // what the intact network answered
  std::vector<std::string> rejected;  // damages that the gate refused
};

// Errors: MissingModelFile, Unsupported (the runtime is for another architecture), LibraryNotFound,
// KnownAnswerFailed (the model does not pass its own gate), GateAcceptsCorruption, InvalidOnnx,
// as build_bundle().
Result<Built> build_release(const BuildInput& input);

// SPDX 2.3 JSON of the files of a release, with the Debian packages they come from where dpkg's
// lists say so. Deterministic: no time, no random namespace.
Result<std::string> make_sbom(std::string_view name, const fs::path& runtime,
                              const std::vector<SharedObject>& objects,
                              const fs::path& dpkg = "/var/lib/dpkg");

}  // namespace tango::builder

#include "image-builder/build.h"

#include "image-builder/onnx_corrupt.h"
#include "lib/base/subprocess.h"

namespace tango::builder {
namespace {

constexpr std::uint64_t kMaxBinaryBytes = 1ull << 30;
constexpr Corruption kCorruptions[] = {Corruption::kZeroed, Corruption::kReversed};

Status copy_file(const fs::path& from, const fs::path& to, unsigned mode) {
  TRY_ASSIGN(const std::string bytes, read_file(from, kMaxBinaryBytes));
  return write_file_atomic(to, bytes, mode);
}

Status write_model(const fs::path& bundle, const std::map<std::string, std::string>& files) {
  TRY(make_dirs(bundle / "model"));
  for (const std::string_view title : kModelFiles) {
    TRY(write_file_atomic(bundle / "model" / title, files.find(std::string(title))->second));
  }
  return ok_status();
}

struct GateAnswer {
  bool passed = false;
  Json report;
};

// Runs the release's own program with the release's own libraries and nothing else of this
// machine's environment, as a device will. Errors: the program did not start, hung, or crashed.
Result<GateAnswer> run_gate(const fs::path& release, const fs::path& bundle, Nanos timeout) {
  ProcessOptions options;
  options.argv = {(release / "bin/tango-infer").string(), "selftest", "--bundle", bundle.string(),
                  "--json"};
  options.clear_env = true;
  options.env = {{"LD_LIBRARY_PATH", (release / "lib").string()}, {"OMP_WAIT_POLICY", "passive"}};
  options.die_with_parent = true;
  TRY_ASSIGN(const ProcessOutput out, run_process(options, timeout));
  if (out.status.signalled || (out.status.code != 0 && out.status.code != 1)) {
    return make_error(Code::kInternal, "GateFailed",
                      "tango-infer selftest ended with code " + std::to_string(out.status.code) +
                          ": " + out.err.substr(0, 500));
  }
  auto report = parse_json(out.out);
  if (!report.ok() || !report->is_object()) {
    return make_error(Code::kInternal, "GateFailed",
                      "tango-infer selftest printed no JSON: " + out.err.substr(0, 500));
  }
  GateAnswer answer;
  answer.passed = out.status.code == 0 && get_bool(*report, "passed");
  answer.report = std::move(*report);
  return answer;
}

// Every damage must be refused, else the gate of this release proves nothing on a device.
Result<std::vector<std::string>> prove_gate(const BuildInput& input, const fs::path& release,
                                            const fs::path& scratch) {
  std::vector<std::string> rejected;
  const std::string& onnx = input.model_files.find("model.onnx")->second;
  std::vector<std::pair<std::string, std::string>> damages;
  for (const Corruption corruption : kCorruptions) {
    TRY_ASSIGN(std::string bytes, corrupt_weights(onnx, corruption));
    damages.emplace_back(to_string(corruption), std::move(bytes));
  }
  damages.emplace_back("truncated file", onnx.substr(0, onnx.size() / 2));
  for (auto& [name, bytes] : damages) {
    auto files = input.model_files;
    files["model.onnx"] = std::move(bytes);
    TRY(tango::remove_all(scratch));
    TRY(write_model(scratch, files));
    TRY_ASSIGN(const GateAnswer answer, run_gate(release, scratch, input.gate_timeout));
    if (answer.passed) {
      return make_error(Code::kInvalid, "GateAcceptsCorruption",
                        "the golden samples do not notice a network with " + name +
                            "; the release would not be safe to deploy");
    }
    rejected.push_back(name + ": " + get_string(answer.report, "reason", "failed"));
  }
  TRY(tango::remove_all(scratch));
  return rejected;
}

}  // namespace

Result<Built> build_release(const BuildInput& input) {
  for (const std::string_view title : kModelFiles) {
    if (!input.model_files.contains(std::string(title))) {
      return make_error(Code::kInvalid, "MissingModelFile",
                        "the model artifact has no layer titled " + std::string(title) +
                            "; run its Export stage with this version");
    }
  }
  Built built;
  TRY_ASSIGN(const std::string program, read_file(input.runtime, kMaxBinaryBytes));
  TRY_ASSIGN(const ElfInfo info, parse_elf(program));
  if (architecture_of(info) != input.spec.target.arch) {
    return make_error(Code::kUnsupported, "Unsupported",
                      "target.arch is " + input.spec.target.arch +
                          ", the runtime of this builder is for " +
                          std::string(architecture_of(info)));
  }
  TRY_ASSIGN(built.objects, shared_object_closure(input.runtime));

  const fs::path release = input.work / "release";
  TRY(tango::remove_all(release));  // left by a killed attempt
  TRY(make_dirs(release / "bin"));
  TRY(make_dirs(release / "lib"));
  TRY(write_file_atomic(release / "bin/tango-infer", program, 0755));
  for (const SharedObject& object : built.objects) {
    TRY(copy_file(object.source, release / "lib" / object.name, 0644));
  }
  TRY(write_model(release, input.model_files));
  if (!input.spec.io.empty()) {
    TRY(make_dirs(release / "config"));
    TRY_ASSIGN(const std::string io, canonical_json(input.spec.io));
    TRY(write_file_atomic(release / "config/io.json", io));
  }

  TRY_ASSIGN(const GateAnswer answer, run_gate(release, release, input.gate_timeout));
  if (!answer.passed) {
    return make_error(Code::kInvalid, "KnownAnswerFailed",
                      "the exported network does not pass its own golden samples: " +
                          get_string(answer.report, "reason", "failed") + " " +
                          get_string(answer.report, "message"));
  }
  built.self_test = answer.report;
  TRY_ASSIGN(built.rejected, prove_gate(input, release, input.work / "damaged"));

  TRY_ASSIGN(built.sbom, make_sbom(input.spec.id, input.runtime, built.objects));
  artifacts::BundleSpec spec = input.spec;
  spec.sbom = sha256(std::string_view(built.sbom));
  TRY_ASSIGN(built.bundle, artifacts::build_bundle(release, spec));
  return built;
}

}  // namespace tango::builder

// The verbs of tangoctl as functions: options in, exit code out. main's command line fills the
// options; tests call the same functions through run().
#pragma once

#include <string>
#include <vector>

#include "tangoctl/session.h"

namespace tango::ctl {

struct GetOptions {
  std::vector<std::string> args;
  std::string output;    // "" | wide | json | yaml | name
  std::string selector;  // -l
  std::string field_selector;
  bool no_headers = false;
  bool watch = false;
  bool ignore_not_found = false;
};
int get_objects(Session& session, const GetOptions& options);

struct DescribeOptions {
  std::vector<std::string> args;
  std::string selector;
};
int describe_objects(Session& session, const DescribeOptions& options);

struct ApplyOptions {
  std::vector<std::string> files;
  std::string dry_run = "none";  // none | client | server
  std::string output;            // "" | name | json | yaml
  bool force_conflicts = false;
};
int apply_files(Session& session, const ApplyOptions& options);

struct DeleteOptions {
  std::vector<std::string> args;
  std::vector<std::string> files;
  std::string selector;
  bool all = false;
  bool wait = true;
  bool ignore_not_found = false;
  std::string timeout = "0s";  // 0s: no limit
};
int delete_objects(Session& session, const DeleteOptions& options);

struct StatusOptions {
  std::string project;  // empty: the only one of the namespace
  bool brief = false;
  bool watch = false;
  std::string output;
};
int project_status(Session& session, const StatusOptions& options);

struct LogsOptions {
  std::string target;  // pod | TYPE/NAME
  std::string container;
  bool follow = false;
  bool previous = false;
  int tail = -1;
  std::string slot = "main";  // of a device
};
int show_logs(Session& session, const LogsOptions& options);

struct WaitOptions {
  std::vector<std::string> args;
  std::string condition;  // "condition=Ready", "condition=Ready=False", "delete"
  std::string timeout = "30s";
  std::string selector;
};
int wait_for(Session& session, const WaitOptions& options);

struct FleetOptions {
  std::string selector, state, release, reason;
  std::string output;
  int limit = 500;
};
int fleet_status(Session& session, const FleetOptions& options);
int fleet_why(Session& session, const std::string& device, const std::string& output);

struct ProvisionOptions {
  std::string name;
  std::string address;
  int port = 22;
  std::string user = "tango";
  std::string identity;       // private key file
  std::string password_file;  // "-": stdin
  std::vector<std::string> fingerprints;
  bool trust_on_first_use = false;
  std::string profile;
  std::string mode = "Auto";
  std::string root;
  std::string authorized_keys;
  std::vector<std::string> labels;
  std::vector<std::string> parameters;
  bool wait = true;
  std::string timeout = "5m";
};
int device_provision(Session& session, const ProvisionOptions& options);
int device_approve(Session& session, const std::vector<std::string>& names,
                   const std::string& selector);
int device_list(Session& session, const GetOptions& options);
int device_show(Session& session, const std::string& name);
struct EvaluateOptions {
  std::string device;
  std::string data;
  std::string format = "folder";  // folder | idx
  std::string split = "test";
  std::string slot = "main";
  std::string output;
  std::string timeout = "15m";
};
int device_evaluate(Session& session, const EvaluateOptions& options);

struct PredictOptions {
  std::string device;
  std::vector<std::string> images;
  std::string slot = "main";
  std::string output;
};
int predict(Session& session, const PredictOptions& options);

struct DatasetOptions {
  std::string name;
  std::string path;
  std::string format = "Auto";
  std::string output;
  bool dry_run = false;
};
int dataset_import(Session& session, const DatasetOptions& options);
int dataset_stats(Session& session, const DatasetOptions& options);

int keys_init(Session& session, const std::string& dir);
int keys_show(Session& session, const std::string& dir, const std::string& output);

int show_version(Session& session, bool client_only, const std::string& output);
int api_resources(Session& session);
int completion(Session& session, const std::string& shell);

// The whole program. argv[0] decides whether help says `tangoctl` or `kubectl tango`.
int run(const std::vector<std::string>& argv, Io io);

}  // namespace tango::ctl

#include <CLI/CLI.hpp>
#include <memory>

#include "tangoctl/cli.h"

namespace tango::ctl {

void add_fleet_verbs(CLI::App& app, Action& action) {
  auto* fleet = app.add_subcommand("fleet", "All devices together");
  fleet->require_subcommand(1);
  {
    auto o = std::make_shared<FleetOptions>();
    auto* c = fleet->add_subcommand("status", "State, release, health and latency of devices");
    c->add_option("-l,--selector", o->selector, "Label selector");
    c->add_option("--device-state", o->state,
                  "Only devices in this state (Online, Offline, Updating, ...)");
    c->add_option("--release", o->release, "Only devices that run this digest");
    c->add_option("--reason", o->reason, "Only devices that failed for this reason");
    c->add_option("--limit", o->limit, "Devices per request");
    c->add_option("-o,--output", o->output, "wide or json");
    c->callback([o, &action] { action.run = [o](Session& s) { return fleet_status(s, *o); }; });
  }
  {
    auto name = std::make_shared<std::string>();
    auto output = std::make_shared<std::string>();
    auto* c = fleet->add_subcommand("why", "Why a device has the release that it has");
    c->add_option("device", *name, "Name")->required();
    c->add_option("-o,--output", *output, "json");
    c->callback(
        [=, &action] { action.run = [=](Session& s) { return fleet_why(s, *name, *output); }; });
  }

  auto* device = app.add_subcommand("device", "One device");
  device->require_subcommand(1);
  {
    auto o = std::make_shared<ProvisionOptions>();
    auto* c = device->add_subcommand(
        "provision", "Make a Device and let the operator install the agent over SSH");
    c->add_option("name", o->name, "Name")->required();
    c->add_option("--address", o->address, "Host name or IP address")->required();
    c->add_option("--port", o->port, "SSH port")->check(CLI::Range(1, 65535));
    c->add_option("--user", o->user, "User to log in as");
    auto* identity =
        c->add_option("--identity,-i", o->identity, "Private key for the first contact");
    c->add_option("--password-file", o->password_file,
                  "File with the password for the first contact, or - for stdin")
        ->excludes(identity);
    c->add_option("--fingerprint", o->fingerprints,
                  "Host key fingerprint, SHA256:...; may be repeated");
    c->add_flag("--trust-on-first-use", o->trust_on_first_use,
                "Show the host key that is found and wait for approval");
    c->add_option("--profile", o->profile, "TargetProfile")->required();
    c->add_option("--mode", o->mode, "Auto, System, User or Manual");
    c->add_option("--root", o->root, "Folder of the agent on the device");
    c->add_option("--authorized-keys", o->authorized_keys,
                  "File that the operator's key is appended to");
    c->add_option("--label", o->labels, "Label key=value; may be repeated");
    c->add_option("--parameter", o->parameters, "Parameter key=value; may be repeated");
    c->add_flag("--wait,!--no-wait", o->wait,
                "Wait until the agent answers (default; --wait=false does not)");
    c->add_option("--timeout", o->timeout, "Longest wait");
    c->callback([o, &action] { action.run = [o](Session& s) { return device_provision(s, *o); }; });
  }
  {
    auto names = std::make_shared<std::vector<std::string>>();
    auto selector = std::make_shared<std::string>();
    auto* c = device->add_subcommand("approve", "Pin the host key that a device showed");
    c->add_option("names", *names, "Names");
    c->add_option("-l,--selector", *selector, "Those with these labels that wait");
    c->callback([=, &action] {
      action.run = [=](Session& s) { return device_approve(s, *names, *selector); };
    });
  }
  {
    auto o = std::make_shared<GetOptions>();
    auto* c = device->add_subcommand("list", "Devices as a table");
    c->add_option("-l,--selector", o->selector, "Label selector");
    c->add_option("-o,--output", o->output, "wide, json, yaml or name");
    c->callback([o, &action] { action.run = [o](Session& s) { return device_list(s, *o); }; });
  }
  {
    auto name = std::make_shared<std::string>();
    auto* c = device->add_subcommand("show", "Everything about a device");
    c->add_option("name", *name, "Name")->required();
    c->callback([=, &action] { action.run = [=](Session& s) { return device_show(s, *name); }; });
  }
  {
    auto o = std::make_shared<EvaluateOptions>();
    auto* c = device->add_subcommand(
        "evaluate", "Measure the running release on labelled images, on the device");
    c->add_option("device", o->device, "Name")->required();
    c->add_option("--data", o->data, "Folder with labelled images")->required();
    c->add_option("--format", o->format, "idx or folder");
    c->add_option("--split", o->split, "train, val or test");
    c->add_option("--slot", o->slot, "Slot");
    c->add_option("--timeout", o->timeout, "Longest wait");
    c->add_option("-o,--output", o->output, "json");
    c->callback([o, &action] { action.run = [o](Session& s) { return device_evaluate(s, *o); }; });
  }
  {
    auto o = std::make_shared<PredictOptions>();
    auto* c = app.add_subcommand("predict", "Send images to a device and show its answers");
    c->add_option("images", o->images, "PNG or JPEG files")->required();
    c->add_option("--device", o->device, "Name of the device")->required();
    c->add_option("--slot", o->slot, "Slot");
    c->add_option("-o,--output", o->output, "json");
    c->callback([o, &action] { action.run = [o](Session& s) { return predict(s, *o); }; });
  }
}

}  // namespace tango::ctl

#include <CLI/CLI.hpp>
#include <memory>

#include "tangoctl/cli.h"

namespace tango::ctl {
namespace {

// Options live as long as the parser and the action that uses them.
template <typename T>
std::shared_ptr<T> options() {
  return std::make_shared<T>();
}

}  // namespace

void add_resource_verbs(CLI::App& app, Action& action) {
  {
    auto o = options<ApplyOptions>();
    auto* c =
        app.add_subcommand("apply", "Create or change objects from files (server-side apply)");
    c->add_option("-f,--filename", o->files, "File, folder or - for stdin; may be repeated")
        ->required();
    c->add_option("--dry-run", o->dry_run, "none, client or server");
    c->add_option("-o,--output", o->output, "name, json or yaml");
    c->add_flag("--force-conflicts", o->force_conflicts, "Take fields over from other managers");
    c->add_flag("--server-side")->description("Always so; accepted for the sake of kubectl users");
    c->callback([o, &action] { action.run = [o](Session& s) { return apply_files(s, *o); }; });
  }
  {
    auto o = options<GetOptions>();
    auto* c =
        app.add_subcommand("get", "Show objects: get TYPE [NAME...], get TYPE/NAME, get tango");
    c->add_option("targets", o->args, "TYPE [NAME...] or TYPE/NAME...")->required();
    c->add_option("-o,--output", o->output, "wide, json, yaml or name");
    c->add_option("-l,--selector", o->selector, "Label selector");
    c->add_option("--field-selector", o->field_selector, "Field selector");
    c->add_flag("--no-headers", o->no_headers, "Rows only");
    c->add_flag("-w,--watch", o->watch, "Go on showing what changes");
    c->add_flag("--ignore-not-found", o->ignore_not_found, "Nothing is no error");
    c->callback([o, &action] { action.run = [o](Session& s) { return get_objects(s, *o); }; });
  }
  {
    auto o = options<DescribeOptions>();
    auto* c = app.add_subcommand("describe", "Everything about objects, with their events");
    c->add_option("targets", o->args, "TYPE [NAME...] or TYPE/NAME...")->required();
    c->add_option("-l,--selector", o->selector, "Label selector");
    c->callback([o, &action] { action.run = [o](Session& s) { return describe_objects(s, *o); }; });
  }
  {
    auto o = options<DeleteOptions>();
    auto* c = app.add_subcommand("delete", "Delete objects");
    c->add_option("targets", o->args, "TYPE NAME... or TYPE/NAME...");
    c->add_option("-f,--filename", o->files, "File, folder or -");
    c->add_option("-l,--selector", o->selector, "Label selector");
    c->add_flag("--all", o->all, "All of the type");
    c->add_flag("--wait,!--no-wait", o->wait,
                "Wait until they are gone (default; --wait=false does not)");
    c->add_option("--timeout", o->timeout, "Longest wait; 0s: no limit");
    c->add_flag("--ignore-not-found", o->ignore_not_found, "Nothing is no error");
    c->callback([o, &action] { action.run = [o](Session& s) { return delete_objects(s, *o); }; });
  }
  {
    auto o = options<StatusOptions>();
    auto* c = app.add_subcommand("status", "Stages of a project as a tree, with progress");
    c->add_option("project", o->project, "Name; may be left out when there is only one");
    c->add_flag("--brief", o->brief, "One line");
    c->add_flag("-w,--watch", o->watch, "Go on showing it");
    c->add_option("-o,--output", o->output, "json or yaml: the object");
    c->callback([o, &action] { action.run = [o](Session& s) { return project_status(s, *o); }; });
  }
  {
    auto o = options<LogsOptions>();
    auto* c = app.add_subcommand(
        "logs", "Log of a pod, or of what runs for job/, tp/, tj/, tds/, ib/, device/NAME");
    c->add_option("target", o->target, "POD or TYPE/NAME")->required();
    c->add_option("-c,--container", o->container, "Container");
    c->add_flag("-f,--follow", o->follow, "Go on");
    c->add_flag("-p,--previous", o->previous, "Of the container before");
    c->add_option("--tail", o->tail, "Lines from the end");
    c->add_option("--slot", o->slot, "Slot of a device");
    c->callback([o, &action] { action.run = [o](Session& s) { return show_logs(s, *o); }; });
  }
  {
    auto o = options<WaitOptions>();
    auto* c = app.add_subcommand(
        "wait", "Wait for a condition: exit code 4 on time-out, 5 when it failed for good");
    c->add_option("targets", o->args, "TYPE NAME... or TYPE/NAME...")->required();
    c->add_option("--for", o->condition, "condition=NAME[=VALUE] or delete")->required();
    c->add_option("--timeout", o->timeout, "Longest wait");
    c->add_option("-l,--selector", o->selector, "Label selector");
    c->callback([o, &action] { action.run = [o](Session& s) { return wait_for(s, *o); }; });
  }
}

}  // namespace tango::ctl

// version, api-resources and completion.
#include <ostream>

#include "crds/crds.h"
#include "tangoctl/verbs.h"

namespace tango::ctl {
namespace {

constexpr std::string_view kVersion = "0.1.0";

// Words only, no calls to a server: completion answers at once, also without a cluster.
constexpr std::string_view kBash = R"SH(# bash completion for tangoctl and kubectl-tango
_tangoctl() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}
  local types="@TYPES@ pods jobs configmaps secrets events namespaces"
  case "$prev" in
    -o|--output) COMPREPLY=($(compgen -W "wide json yaml name" -- "$cur")); return ;;
    -f|--filename|--kubeconfig|--identity|--password-file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --state|--dir|--data|--root) COMPREPLY=($(compgen -d -- "$cur")); return ;;
    --dry-run) COMPREPLY=($(compgen -W "none client server" -- "$cur")); return ;;
    --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "@VERBS@" -- "$cur"))
  elif [ "$COMP_CWORD" -eq 2 ]; then
    case "$verb" in
      get|describe|delete|wait) COMPREPLY=($(compgen -W "$types" -- "$cur")) ;;
      fleet) COMPREPLY=($(compgen -W "status why" -- "$cur")) ;;
      device) COMPREPLY=($(compgen -W "provision approve list show evaluate" -- "$cur")) ;;
      dataset) COMPREPLY=($(compgen -W "import stats" -- "$cur")) ;;
      keys) COMPREPLY=($(compgen -W "init show" -- "$cur")) ;;
      completion) COMPREPLY=($(compgen -W "bash" -- "$cur")) ;;
      *) COMPREPLY=($(compgen -f -- "$cur")) ;;
    esac
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -F _tangoctl tangoctl kubectl-tango
)SH";

std::string replace(std::string text, std::string_view what, std::string_view with) {
  std::size_t at = text.find(what);
  if (at != std::string::npos) text.replace(at, what.size(), with);
  return text;
}

}  // namespace

int show_version(Session& session, bool client_only, const std::string& output) {
  Json out{{"clientVersion",
            {{"gitVersion", "v" + std::string(kVersion)}, {"api", "ml-tango.io/v1alpha1"}}}};
  int code = kOk;
  if (!client_only) {
    auto client = session.kube();
    auto answer =
        client.ok() ? (*client)->raw("GET", "/version") : Result<HttpResponse>(client.error());
    auto parsed = answer.ok() ? parse_json(answer->body) : Result<Json>(answer.error());
    if (parsed.ok()) {
      out["serverVersion"] = *parsed;
    } else {
      session.err() << "error: the server was not reached: " << parsed.error().to_string() << "\n";
      code = kError;
    }
  }
  if (output == "json") {
    session.out() << dump_json(out, 2) << "\n";
    return code;
  }
  session.out() << "Client Version: v" << kVersion << " (ml-tango.io/v1alpha1)\n";
  if (out.contains("serverVersion")) {
    session.out() << "Server Version: " << get_string(out["serverVersion"], "gitVersion") << "\n";
  }
  return code;
}

int api_resources(Session& session) {
  TextTable table({"NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"});
  for (const auto& k : crds::kinds()) {
    table.row({std::string(k.info.plural), std::string(k.short_name), k.info.api_version(),
               k.info.namespaced ? "true" : "false", std::string(k.info.kind)});
  }
  table.print(session);
  return kOk;
}

int completion(Session& session, const std::string& shell) {
  if (shell != "bash") return session.usage("completion is there for bash");
  std::string types;
  for (const auto& k : crds::kinds())
    types += (types.empty() ? "" : " ") + std::string(k.info.plural);
  constexpr std::string_view kVerbs =
      "up apply get describe delete status logs wait fleet device dataset predict keys version "
      "api-resources completion";
  session.out() << replace(replace(std::string(kBash), "@TYPES@", types), "@VERBS@", kVerbs);
  return kOk;
}

}  // namespace tango::ctl

#include "lib/kube/config.h"

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/json.h"
#include "lib/base/yaml.h"

namespace tango::kube {
namespace {

constexpr std::uint64_t kMaxFileBytes = 8u << 20;

// A named entry of one of the three lists, with the file that it came from.
struct Entry {
  Json value;  // the "cluster", "user" or "context" member
  std::string file;
  int line = 0;
};
struct Merged {
  std::map<std::string, Entry> clusters, users, contexts;
  std::string current;
};

Error invalid(const std::string& file, int line, std::string what) {
  std::string where = file + (line > 0 ? ":" + std::to_string(line) : "");
  return make_error(Code::kInvalid, "InvalidKubeconfig", where + ": " + std::move(what));
}

Status merge_list(const YamlDocument& document, const std::string& file, const char* list,
                  const char* member, std::map<std::string, Entry>& into) {
  const Json& entries = get(document.value, list);
  if (entries.is_null()) return ok_status();
  if (!entries.is_array()) {
    return invalid(file, document.line_of(list), std::string(list) + " must be a list");
  }
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const int line = document.line_of(std::string(list) + "[" + std::to_string(i) + "]");
    const std::string name = get_string(entries[i], "name");
    if (name.empty())
      return invalid(file, line, std::string(list) + " has an entry without a name");
    into.try_emplace(name, Entry{get(entries[i], member), file, line});  // the first file wins
  }
  return ok_status();
}

std::string resolve(const Entry& entry, const std::string& path) {
  const fs::path p(path);
  return p.is_absolute() ? path : (fs::path(entry.file).parent_path() / p).string();
}

// Inline `<field>-data` (base64) wins over the file `<field>`.
Result<std::string> read_pem(const Entry& entry, const std::string& field) {
  if (const std::string data = get_string(entry.value, field + "-data"); !data.empty()) {
    auto raw = from_base64(data);
    if (!raw.ok()) return invalid(entry.file, entry.line, field + "-data is not base64");
    return raw;
  }
  const std::string path = get_string(entry.value, field);
  if (path.empty()) return std::string();
  auto text = read_file(resolve(entry, path), kMaxFileBytes);
  if (!text.ok()) {
    return invalid(entry.file, entry.line,
                   "cannot read " + field + ": " + text.error().to_string());
  }
  return text;
}

Status read_cluster(const Entry& entry, ClientConfig& config) {
  config.server = get_string(entry.value, "server");
  while (config.server.ends_with('/')) config.server.pop_back();
  if (!config.server.starts_with("https://") && !config.server.starts_with("http://")) {
    return invalid(entry.file, entry.line,
                   "the cluster's server \"" + config.server + "\" is not an http(s):// URL");
  }
  TRY_ASSIGN(config.tls.ca_pem, read_pem(entry, "certificate-authority"));
  config.tls.insecure = get_bool(entry.value, "insecure-skip-tls-verify");
  if (config.tls.insecure && !config.tls.ca_pem.empty()) {
    return invalid(entry.file, entry.line,
                   "insecure-skip-tls-verify together with a certificate authority contradicts "
                   "itself; remove one of them");
  }
  config.tls.server_name = get_string(entry.value, "tls-server-name");
  config.proxy_url = get_string(entry.value, "proxy-url");
  return ok_status();
}

void read_impersonation(const Json& user, ClientConfig& config) {
  if (const auto as = get_string(user, "as"); !as.empty())
    config.impersonate.emplace("Impersonate-User", as);
  if (const auto uid = get_string(user, "as-uid"); !uid.empty())
    config.impersonate.emplace("Impersonate-Uid", uid);
  for (const Json& group : get(user, "as-groups")) {
    if (group.is_string())
      config.impersonate.emplace("Impersonate-Group", group.get<std::string>());
  }
  const Json& extra = get(user, "as-user-extra");
  if (!extra.is_object()) return;
  for (const auto& [key, values] : extra.items()) {
    for (const Json& value : values) {
      if (value.is_string()) {
        config.impersonate.emplace("Impersonate-Extra-" + url_encode(key),
                                   value.get<std::string>());
      }
    }
  }
}

Status read_user(const Entry& entry, ClientConfig& config) {
  const Json& user = entry.value;
  if (!get(user, "auth-provider").is_null()) {
    return make_error(
        Code::kUnsupported, "Unsupported",
        entry.file + ": the legacy auth-provider \"" +
            get_string(get(user, "auth-provider"), "name") +
            "\" was removed from Kubernetes in 1.26 and is not supported; use a token "
            "or a client certificate");
  }
  if (!get(user, "exec").is_null()) {
    return make_error(
        Code::kUnsupported, "Unsupported",
        entry.file + ": the exec credential plug-in \"" + get_string(get(user, "exec"), "command") +
            "\" is not supported yet; use a token, a token file or a client certificate");
  }
  TRY_ASSIGN(config.tls.cert_pem, read_pem(entry, "client-certificate"));
  TRY_ASSIGN(auto key, read_pem(entry, "client-key"));
  if (config.tls.cert_pem.empty() != key.empty()) {
    return invalid(entry.file, entry.line,
                   "a client certificate needs its key and the other way round");
  }
  config.tls.key_pem = Secret<std::string>(std::move(key));
  config.token = Secret<std::string>(get_string(user, "token"));
  if (const auto file = get_string(user, "tokenFile"); !file.empty())
    config.token_file = resolve(entry, file);
  config.username = get_string(user, "username");
  config.password = Secret<std::string>(get_string(user, "password"));
  read_impersonation(user, config);
  return ok_status();
}

std::string_view without_bom(std::string_view text) {
  return text.starts_with("\xEF\xBB\xBF") ? text.substr(3) : text;
}

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

using Files = std::vector<std::pair<std::string, std::string>>;

// Files of a ':'-separated list; missing ones are skipped.
Result<Files> read_existing(std::string_view list) {
  Files files;
  while (!list.empty()) {
    const auto colon = list.find(':');
    const std::string path(list.substr(0, colon));
    list = colon == std::string_view::npos ? std::string_view{} : list.substr(colon + 1);
    std::error_code ec;
    if (path.empty() || !fs::exists(path, ec)) continue;
    TRY_ASSIGN(auto text, read_file(path, kMaxFileBytes));
    files.emplace_back(path, std::move(text));
  }
  return files;
}

}  // namespace

Result<ClientConfig> parse_kubeconfig(const Files& path_and_text, const ConfigOptions& options) {
  Merged merged;
  for (const auto& [path, text] : path_and_text) {
    auto documents = parse_yaml_stream(without_bom(text));
    if (!documents.ok()) return invalid(path, 0, documents.error().to_string());
    if (documents->empty()) continue;
    const YamlDocument& document = documents->front();
    if (!document.value.is_object()) return invalid(path, 1, "a kubeconfig is a mapping");
    TRY(merge_list(document, path, "clusters", "cluster", merged.clusters));
    TRY(merge_list(document, path, "users", "user", merged.users));
    TRY(merge_list(document, path, "contexts", "context", merged.contexts));
    if (merged.current.empty()) merged.current = get_string(document.value, "current-context");
  }
  const std::string name = options.context.empty() ? merged.current : options.context;
  const std::string files = path_and_text.empty() ? "no file" : path_and_text.front().first;
  if (name.empty()) {
    return make_error(Code::kInvalid, "UnknownContext",
                      "no current-context in " + files + "; name one with --context");
  }
  const auto context = merged.contexts.find(name);
  if (context == merged.contexts.end()) {
    std::string known;
    for (const auto& [other, entry] : merged.contexts) known += (known.empty() ? "" : ", ") + other;
    return make_error(Code::kInvalid, "UnknownContext",
                      "the context \"" + name + "\" is not in " + files +
                          "; known: " + (known.empty() ? "none" : known));
  }
  ClientConfig config;
  config.context = name;
  const Entry& chosen = context->second;
  const auto cluster = merged.clusters.find(get_string(chosen.value, "cluster"));
  if (cluster == merged.clusters.end()) {
    return invalid(chosen.file, chosen.line,
                   "the context \"" + name + "\" names the unknown cluster \"" +
                       get_string(chosen.value, "cluster") + "\"");
  }
  TRY(read_cluster(cluster->second, config));
  if (const std::string user = get_string(chosen.value, "user"); !user.empty()) {
    const auto entry = merged.users.find(user);
    if (entry == merged.users.end()) {
      return invalid(chosen.file, chosen.line,
                     "the context \"" + name + "\" names the unknown user \"" + user + "\"");
    }
    TRY(read_user(entry->second, config));
  }
  if (const std::string ns = get_string(chosen.value, "namespace"); !ns.empty()) config.ns = ns;
  if (!options.ns.empty()) config.ns = options.ns;
  return config;
}

Result<ClientConfig> in_cluster_config(const ConfigOptions& options) {
  std::string host = env("KUBERNETES_SERVICE_HOST");
  const std::string port = env("KUBERNETES_SERVICE_PORT");
  const fs::path dir(options.service_account_dir);
  std::error_code ec;
  if (host.empty() || port.empty() || !fs::exists(dir / "token", ec)) {
    return make_error(Code::kNotFound, "NotInCluster",
                      "this is not a pod: KUBERNETES_SERVICE_HOST or " + (dir / "token").string() +
                          " is missing");
  }
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  ClientConfig config;
  config.server = "https://" + host + ":" + port;
  config.context = "in-cluster";
  config.token_file = (dir / "token").string();
  TRY_ASSIGN(config.tls.ca_pem, read_file(dir / "ca.crt", kMaxFileBytes));
  if (auto ns = read_file(dir / "namespace", 1024); ns.ok() && !ns->empty()) config.ns = *ns;
  if (!options.ns.empty()) config.ns = options.ns;
  return config;
}

Result<ClientConfig> load_config(const ConfigOptions& options) {
  if (!options.kubeconfig.empty()) {
    auto text = read_file(options.kubeconfig, kMaxFileBytes);
    if (!text.ok()) {
      return make_error(
          Code::kNotFound, "KubeconfigNotFound",
          "cannot read the kubeconfig " + options.kubeconfig + ": " + text.error().message);
    }
    return parse_kubeconfig({{options.kubeconfig, std::move(*text)}}, options);
  }
  if (const std::string list = env("KUBECONFIG"); !list.empty()) {
    TRY_ASSIGN(auto files, read_existing(list));
    if (files.empty()) {
      return make_error(Code::kNotFound, "KubeconfigNotFound",
                        "KUBECONFIG is \"" + list + "\", but no such file exists");
    }
    return parse_kubeconfig(files, options);
  }
  auto pod = in_cluster_config(options);
  if (pod.ok() || pod.error().reason != "NotInCluster") return pod;
  const std::string standard = env("HOME") + "/.kube/config";
  TRY_ASSIGN(auto files, read_existing(standard));
  if (files.empty()) {
    return make_error(
        Code::kNotFound, "KubeconfigNotFound",
        "no cluster is configured: give --kubeconfig, set KUBECONFIG or create " + standard);
  }
  return parse_kubeconfig(files, options);
}

}  // namespace tango::kube

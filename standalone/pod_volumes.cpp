#include "standalone/pod_volumes.h"

#include <algorithm>

#include "lib/base/digest.h"

namespace tango::standalone {
namespace {

Error config_error(std::string message) {
  return make_error(Code::kInvalid, "CreateContainerConfigError", std::move(message));
}

const Json* volume_named(const Json& pod, const std::string& name) {
  for (const Json& v : get(get(pod, "spec"), "volumes")) {
    if (get_string(v, "name") == name) return &v;
  }
  return nullptr;
}

std::string decoded(const std::string& plural, const std::string& value) {
  if (plural != "secrets") return value;
  auto raw = from_base64(value);
  return raw.ok() ? *raw : std::string();
}

// The keys of a ConfigMap or Secret as files in `dir`.
Status write_keys(const Json& source, const std::string& plural, const std::string& name,
                  const fs::path& dir, const ObjectLookup& lookup) {
  TRY(make_dirs(dir, 0700));
  Json object = lookup(plural, name);
  const bool optional = get_bool(source, "optional");
  if (object.is_null()) {
    if (optional) return ok_status();
    return config_error((plural == "secrets" ? "secret \"" : "configmap \"") + name +
                        "\" not found");
  }
  const unsigned mode = static_cast<unsigned>(get_int(source, "defaultMode", 0644)) & 0777u;
  auto write = [&](const std::string& key, const std::string& path, unsigned file_mode) -> Status {
    TRY(check_relative_path(path));
    const Json& text = get(get(object, "data"), key);
    const Json& binary = get(get(object, "binaryData"), key);
    if (!text.is_string() && !binary.is_string()) {
      if (optional) return ok_status();
      return config_error("references non-existent key \"" + key + "\" of " + plural + "/" + name);
    }
    std::string content = text.is_string() ? decoded(plural, text) : decoded("secrets", binary);
    fs::path file = dir / path;
    TRY(make_dirs(file.parent_path(), 0700));
    return write_file_atomic(file, content, file_mode);
  };
  const Json& items = get(source, "items");
  if (items.is_array() && !items.empty()) {
    for (const Json& item : items) {
      TRY(write(get_string(item, "key"), get_string(item, "path"),
                static_cast<unsigned>(get_int(item, "mode", mode)) & 0777u));
    }
    return ok_status();
  }
  for (const char* field : {"data", "binaryData"}) {
    const Json& data = get(object, field);
    if (!data.is_object()) continue;
    for (const auto& [key, value] : data.items()) TRY(write(key, key, mode));
  }
  return ok_status();
}

Result<fs::path> prepare_volume(const Json& volume, const fs::path& pod_dir,
                                const ObjectLookup& lookup) {
  std::string name = get_string(volume, "name");
  TRY(check_relative_path(name));
  fs::path local = pod_dir / "volumes" / name;
  if (volume.contains("emptyDir")) {
    TRY(make_dirs(local, 0700));
    return local;
  }
  if (const Json& host = get(volume, "hostPath"); host.is_object()) {
    fs::path path = get_string(host, "path");
    std::string type = get_string(host, "type");
    std::error_code ec;
    if (type == "DirectoryOrCreate") TRY(make_dirs(path));
    if (!fs::exists(path, ec)) return config_error("hostPath " + path.string() + " does not exist");
    if ((type == "Directory" && !fs::is_directory(path, ec)) ||
        (type == "File" && !fs::is_regular_file(path, ec))) {
      return config_error("hostPath " + path.string() + " is not a " + type);
    }
    return path;
  }
  if (const Json& map = get(volume, "configMap"); map.is_object()) {
    TRY(write_keys(map, "configmaps", get_string(map, "name"), local, lookup));
    return local;
  }
  if (const Json& secret = get(volume, "secret"); secret.is_object()) {
    TRY(write_keys(secret, "secrets", get_string(secret, "secretName"), local, lookup));
    return local;
  }
  std::string kind = "unknown";
  for (const auto& [key, value] : volume.items()) {
    if (key != "name") kind = key;
  }
  return make_error(
      Code::kUnsupported, "Unsupported",
      "volume \"" + name +
          "\": the local pod runner offers emptyDir, hostPath, configMap and secret, not " + kind);
}

bool below(const std::string& path, const std::string& mount) {
  return path == mount ||
         (path.size() > mount.size() && path.starts_with(mount) && path[mount.size()] == '/');
}

std::string trimmed(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

std::string expand(const std::string& text, const std::map<std::string, std::string>& env) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 >= text.size()) {
      out += text[i];
    } else if (text[i + 1] == '$') {
      out += '$';
      ++i;
    } else if (text[i + 1] == '(') {
      auto end = text.find(')', i);
      auto it = end == std::string::npos ? env.end() : env.find(text.substr(i + 2, end - i - 2));
      if (it == env.end()) {
        out += '$';
      } else {
        out += it->second;
        i = end;
      }
    } else {
      out += '$';
    }
  }
  return out;
}

std::string field_value(const Json& pod, const std::string& path) {
  for (const char* map : {"metadata.labels", "metadata.annotations"}) {
    std::string prefix = std::string(map) + "['";
    if (path.starts_with(prefix) && path.ends_with("']")) {
      return get_string(at_path(pod, map),
                        path.substr(prefix.size(), path.size() - prefix.size() - 2));
    }
  }
  const Json& v = at_path(pod, path);
  return v.is_string() ? v.get<std::string>() : v.is_null() ? "" : v.dump();
}

}  // namespace

Result<std::vector<MountPoint>> prepare_mounts(const Json& pod, const Json& container,
                                               const fs::path& pod_dir,
                                               const ObjectLookup& lookup) {
  std::vector<std::pair<std::string, const Json*>> mounts;
  for (const Json& m : get(container, "volumeMounts"))
    mounts.emplace_back(trimmed(get_string(m, "mountPath")), &m);
  // Outer mounts first, so that an inner one finds the folder it appears in.
  std::sort(mounts.begin(), mounts.end(),
            [](const auto& a, const auto& b) { return a.first.size() < b.first.size(); });
  std::vector<MountPoint> out;
  for (const auto& [mount_path, mount] : mounts) {
    const Json* volume = volume_named(pod, get_string(*mount, "name"));
    if (volume == nullptr)
      return config_error("volume \"" + get_string(*mount, "name") + "\" is not defined");
    if (!mount_path.starts_with('/'))
      return config_error("mountPath \"" + mount_path + "\" is not absolute");
    TRY_ASSIGN(fs::path local, prepare_volume(*volume, pod_dir, lookup));
    std::string sub = get_string(*mount, "subPath");
    if (!sub.empty()) {
      TRY(check_relative_path(sub));
      local /= sub;
      std::error_code ec;
      if (!fs::exists(local, ec)) {
        if (!volume->contains("emptyDir") && !volume->contains("hostPath"))
          return config_error("subPath \"" + sub + "\" does not exist in volume \"" +
                              get_string(*mount, "name") + "\"");
        TRY(make_dirs(local, 0700));
      }
    }
    // A mount inside another one is copied (file) or linked (folder) into it.
    for (auto outer = out.rbegin(); outer != out.rend(); ++outer) {
      if (!below(mount_path, outer->mount_path) || mount_path == outer->mount_path) continue;
      fs::path inside = outer->local / mount_path.substr(outer->mount_path.size() + 1);
      TRY(make_dirs(inside.parent_path(), 0700));
      std::error_code ec;
      if (fs::is_directory(local, ec)) {
        if (!fs::is_symlink(fs::symlink_status(inside, ec))) {
          TRY(tango::remove_all(inside));
          fs::create_directory_symlink(local, inside, ec);
          if (ec) return config_error("cannot mount " + mount_path + ": " + ec.message());
        }
      } else {
        TRY_ASSIGN(std::string content, read_file(local));
        TRY(write_file_atomic(inside, content, 0644));
        local = inside;
      }
      break;
    }
    out.push_back({mount_path, local});
  }
  return out;
}

std::string rewrite_path(const std::string& value, const std::vector<MountPoint>& mounts) {
  const MountPoint* best = nullptr;
  for (const MountPoint& m : mounts) {
    if (below(value, m.mount_path) &&
        (best == nullptr || m.mount_path.size() > best->mount_path.size()))
      best = &m;
  }
  if (best == nullptr) return value;
  return best->local.string() + value.substr(best->mount_path == "/" ? 0 : best->mount_path.size());
}

Result<std::map<std::string, std::string>> container_environment(
    const Json& pod, const Json& container, const std::vector<MountPoint>& mounts,
    const ObjectLookup& lookup) {
  std::map<std::string, std::string> env;
  for (const Json& from : get(container, "envFrom")) {
    for (const auto& [field, plural] :
         {std::pair{"configMapRef", "configmaps"}, std::pair{"secretRef", "secrets"}}) {
      const Json& ref = get(from, field);
      if (!ref.is_object()) continue;
      Json object = lookup(plural, get_string(ref, "name"));
      if (object.is_null()) {
        if (get_bool(ref, "optional")) continue;
        return config_error(std::string(plural) + " \"" + get_string(ref, "name") + "\" not found");
      }
      const Json& data = get(object, "data");
      if (!data.is_object()) continue;
      for (const auto& [key, value] : data.items()) {
        if (value.is_string()) env[get_string(from, "prefix") + key] = decoded(plural, value);
      }
    }
  }
  for (const Json& e : get(container, "env")) {
    std::string name = get_string(e, "name");
    const Json& from = get(e, "valueFrom");
    if (!from.is_object()) {
      env[name] = rewrite_path(expand(get_string(e, "value"), env), mounts);
      continue;
    }
    if (const Json& field = get(from, "fieldRef"); field.is_object()) {
      env[name] = field_value(pod, get_string(field, "fieldPath"));
      continue;
    }
    bool known = false;
    for (const auto& [field, plural] :
         {std::pair{"configMapKeyRef", "configmaps"}, std::pair{"secretKeyRef", "secrets"}}) {
      const Json& ref = get(from, field);
      if (!ref.is_object()) continue;
      known = true;
      Json object = lookup(plural, get_string(ref, "name"));
      const Json& value = get(get(object, "data"), get_string(ref, "key"));
      if (value.is_string()) {
        env[name] = decoded(plural, value);
      } else if (!get_bool(ref, "optional")) {
        return config_error(std::string(plural) + " \"" + get_string(ref, "name") +
                            "\" has no key \"" + get_string(ref, "key") + "\"");
      }
    }
    if (!known)
      return make_error(
          Code::kUnsupported, "Unsupported",
          "variable " + name + ": this kind of valueFrom is not offered by the local pod runner");
  }
  return env;
}

std::vector<std::string> container_arguments(const Json& list,
                                             const std::map<std::string, std::string>& env,
                                             const std::vector<MountPoint>& mounts) {
  std::vector<std::string> out;
  for (const Json& a : list) {
    if (a.is_string()) out.push_back(rewrite_path(expand(a, env), mounts));
  }
  return out;
}

}  // namespace tango::standalone

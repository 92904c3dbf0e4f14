#include "lib/kube-types/core.h"

#include "lib/base/digest.h"
#include "lib/kube-types/reader.h"
#include "lib/kube-types/writer.h"

namespace tango::kube {
namespace {

// Reads the members of a nested object that `field` knows.
template <typename F>
bool nested(std::string_view key, JsonCursor& in, F&& field, ReadContext& ctx) {
  return read_fields(in, field, ctx) || ctx.at(key);
}

bool read_base64(JsonCursor& in, std::string& out, ReadContext& ctx) {
  std::string text;
  if (!read(in, text, ctx)) return false;
  auto raw = from_base64(text);
  if (!raw.ok()) return ctx.fail("WrongType", "must be base64");
  out = std::move(*raw);
  return true;
}

template <typename T, typename Put>
bool read_base64_map(std::string_view key, JsonCursor& in, T& out, Put put, ReadContext& ctx) {
  return nested(
      key, in,
      [&](std::string_view name, JsonCursor& value) {
        std::string raw;
        if (!read_base64(value, raw, ctx)) return ctx.at(name);
        put(out, std::string(name), std::move(raw));
        return true;
      },
      ctx);
}

bool read(JsonCursor& in, Namespace& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& v) {
        if (key == "metadata") return read_at(key, v, out.metadata, ctx);
        if (key == "status") {
          return nested(
              key, v,
              [&](std::string_view k, JsonCursor& f) {
                return k != "phase" || read_at(k, f, out.phase, ctx);
              },
              ctx);
        }
        return true;
      },
      ctx);
}

bool read(JsonCursor& in, ConfigMap& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& v) {
        if (key == "metadata") return read_at(key, v, out.metadata, ctx);
        if (key == "data") return read_at(key, v, out.data, ctx);
        if (key == "immutable") return read_at(key, v, out.immutable, ctx);
        if (key == "binaryData") {
          return read_base64_map(
              key, v, out.binary_data,
              [](auto& map, std::string name, std::string raw) {
                map[std::move(name)] = std::move(raw);
              },
              ctx);
        }
        return true;
      },
      ctx);
}

bool read(JsonCursor& in, KubeSecret& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& v) {
        if (key == "metadata") return read_at(key, v, out.metadata, ctx);
        if (key == "type") return read_at(key, v, out.type, ctx);
        if (key == "data") {
          return read_base64_map(
              key, v, out.data,
              [](auto& map, std::string name, std::string raw) {
                map.insert_or_assign(std::move(name), Secret<std::string>(std::move(raw)));
              },
              ctx);
        }
        return true;
      },
      ctx);
}

bool read(JsonCursor& in, ServiceAccount& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& v) {
        return key != "metadata" || read_at(key, v, out.metadata, ctx);
      },
      ctx);
}

bool read(JsonCursor& in, ContainerState& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& v) {
        if (key == "waiting") {
          out.kind = ContainerState::Kind::kWaiting;
        } else if (key == "running") {
          out.kind = ContainerState::Kind::kRunning;
        } else if (key == "terminated") {
          out.kind = ContainerState::Kind::kTerminated;
        } else {
          return true;
        }
        return nested(
            key, v,
            [&](std::string_view k, JsonCursor& f) {
              if (k == "reason") return read_at(k, f, out.reason, ctx);
              if (k == "message") return read_at(k, f, out.message, ctx);
              if (k == "exitCode") return read_at(k, f, out.exit_code, ctx);
              if (k == "signal") return read_at(k, f, out.signal, ctx);
              if (k == "startedAt") return read_at(k, f, out.started_at, ctx);
              if (k == "finishedAt") return read_at(k, f, out.finished_at, ctx);
              return true;
            },
            ctx);
      },
      ctx);
}

bool read(JsonCursor& in, ContainerStatus& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& v) {
        if (key == "name") return read_at(key, v, out.name, ctx);
        if (key == "ready") return read_at(key, v, out.ready, ctx);
        if (key == "restartCount") return read_at(key, v, out.restart_count, ctx);
        if (key == "image") return read_at(key, v, out.image, ctx);
        if (key == "state") return read(v, out.state, ctx) || ctx.at(key);
        if (key == "lastState") return read(v, out.last_state, ctx) || ctx.at(key);
        return true;
      },
      ctx);
}

bool read_statuses(std::string_view key, JsonCursor& in, std::vector<ContainerStatus>& out,
                   ReadContext& ctx) {
  return read_items(
             in,
             [&](JsonCursor& item) {
               return read(item, out.emplace_back(), ctx) || ctx.at_index(out.size() - 1);
             },
             ctx) ||
         ctx.at(key);
}

bool read(JsonCursor& in, Pod& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& v) {
        if (key == "metadata") return read_at(key, v, out.metadata, ctx);
        if (key == "spec") {
          return nested(
              key, v,
              [&](std::string_view k, JsonCursor& f) {
                return k != "nodeName" || read_at(k, f, out.node_name, ctx);
              },
              ctx);
        }
        if (key != "status") return true;
        auto& s = out.status;
        return nested(
            key, v,
            [&](std::string_view k, JsonCursor& f) {
              if (k == "phase") return read_at(k, f, s.phase, ctx);
              if (k == "reason") return read_at(k, f, s.reason, ctx);
              if (k == "message") return read_at(k, f, s.message, ctx);
              if (k == "podIP") return read_at(k, f, s.pod_ip, ctx);
              if (k == "startTime") return read_at(k, f, s.start_time, ctx);
              if (k == "containerStatuses") return read_statuses(k, f, s.container_statuses, ctx);
              if (k == "initContainerStatuses") {
                return read_statuses(k, f, s.init_container_statuses, ctx);
              }
              if (k == "conditions") return read_at(k, f, s.conditions, ctx);
              return true;
            },
            ctx);
      },
      ctx);
}

bool read(JsonCursor& in, Job& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& v) {
        if (key == "metadata") return read_at(key, v, out.metadata, ctx);
        if (key == "spec") {
          return nested(
              key, v,
              [&](std::string_view k, JsonCursor& f) {
                if (k == "suspend") return read_at(k, f, out.suspend, ctx);
                if (k == "backoffLimit") return read_at(k, f, out.backoff_limit, ctx);
                return true;
              },
              ctx);
        }
        if (key != "status") return true;
        auto& s = out.status;
        return nested(
            key, v,
            [&](std::string_view k, JsonCursor& f) {
              if (k == "active") return read_at(k, f, s.active, ctx);
              if (k == "succeeded") return read_at(k, f, s.succeeded, ctx);
              if (k == "failed") return read_at(k, f, s.failed, ctx);
              if (k == "startTime") return read_at(k, f, s.start_time, ctx);
              if (k == "completionTime") return read_at(k, f, s.completion_time, ctx);
              if (k == "conditions") return read_at(k, f, s.conditions, ctx);
              return true;
            },
            ctx);
      },
      ctx);
}

bool read(JsonCursor& in, Event& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& v) {
        if (key == "metadata") return read_at(key, v, out.metadata, ctx);
        if (key == "involvedObject") {
          auto& o = out.involved_object;
          return nested(
              key, v,
              [&](std::string_view k, JsonCursor& f) {
                if (k == "apiVersion") return read_at(k, f, o.api_version, ctx);
                if (k == "kind") return read_at(k, f, o.kind, ctx);
                if (k == "namespace") return read_at(k, f, o.ns, ctx);
                if (k == "name") return read_at(k, f, o.name, ctx);
                if (k == "uid") return read_at(k, f, o.uid, ctx);
                return true;
              },
              ctx);
        }
        if (key == "source") {
          return nested(
              key, v,
              [&](std::string_view k, JsonCursor& f) {
                return k != "component" || read_at(k, f, out.component, ctx);
              },
              ctx);
        }
        if (key == "type") return read_at(key, v, out.type, ctx);
        if (key == "reason") return read_at(key, v, out.reason, ctx);
        if (key == "message") return read_at(key, v, out.message, ctx);
        if (key == "count") return read_at(key, v, out.count, ctx);
        if (key == "firstTimestamp") return read_at(key, v, out.first_timestamp, ctx);
        if (key == "lastTimestamp") return read_at(key, v, out.last_timestamp, ctx);
        return true;
      },
      ctx);
}

bool read(JsonCursor& in, Lease& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& v) {
        if (key == "metadata") return read_at(key, v, out.metadata, ctx);
        if (key != "spec") return true;
        return nested(
            key, v,
            [&](std::string_view k, JsonCursor& f) {
              if (k == "holderIdentity") return read_at(k, f, out.holder_identity, ctx);
              if (k == "leaseDurationSeconds")
                return read_at(k, f, out.lease_duration_seconds, ctx);
              if (k == "leaseTransitions") return read_at(k, f, out.lease_transitions, ctx);
              if (k == "acquireTime") return read_at(k, f, out.acquire_time, ctx);
              if (k == "renewTime") return read_at(k, f, out.renew_time, ctx);
              return true;
            },
            ctx);
      },
      ctx);
}

bool read_version(JsonCursor& in, std::vector<std::string>& served, ReadContext& ctx) {
  std::string name;
  bool is_served = false;
  if (!read_fields(
          in,
          [&](std::string_view k, JsonCursor& f) {
            if (k == "name") return read_at(k, f, name, ctx);
            if (k == "served") return read_at(k, f, is_served, ctx);
            return true;
          },
          ctx)) {
    return false;
  }
  if (is_served) served.push_back(std::move(name));
  return true;
}

bool read(JsonCursor& in, CustomResourceDefinition& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& v) {
        if (key == "metadata") return read_at(key, v, out.metadata, ctx);
        if (key == "status") {
          return nested(
              key, v,
              [&](std::string_view k, JsonCursor& f) {
                return k != "conditions" || read_at(k, f, out.conditions, ctx);
              },
              ctx);
        }
        if (key != "spec") return true;
        return nested(
            key, v,
            [&](std::string_view k, JsonCursor& f) {
              if (k == "group") return read_at(k, f, out.group, ctx);
              if (k == "scope") return read_at(k, f, out.scope, ctx);
              if (k == "versions") {
                return read_items(
                           f,
                           [&](JsonCursor& item) {
                             return read_version(item, out.served_versions, ctx);
                           },
                           ctx) ||
                       ctx.at(k);
              }
              if (k != "names") return true;
              return nested(
                  k, f,
                  [&](std::string_view n, JsonCursor& x) {
                    if (n == "kind") return read_at(n, x, out.kind, ctx);
                    if (n == "plural") return read_at(n, x, out.plural, ctx);
                    if (n == "singular") return read_at(n, x, out.singular, ctx);
                    if (n == "shortNames") return read_at(n, x, out.short_names, ctx);
                    if (n == "categories") return read_at(n, x, out.categories, ctx);
                    return true;
                  },
                  ctx);
            },
            ctx);
      },
      ctx);
}

template <typename T>
Json with_head(const T& object) {
  return Json{{"apiVersion", T::kKind.api_version()},
              {"kind", std::string(T::kKind.kind)},
              {"metadata", encode(object.metadata)}};
}

Json encode_state(const ContainerState& s) {
  Json body = Json::object();
  put_filled(body, "reason", s.reason);
  put_filled(body, "message", s.message);
  put_optional(body, "startedAt", s.started_at);
  put_optional(body, "finishedAt", s.finished_at);
  switch (s.kind) {
    case ContainerState::Kind::kWaiting:
      return Json{{"waiting", std::move(body)}};
    case ContainerState::Kind::kRunning:
      return Json{{"running", std::move(body)}};
    case ContainerState::Kind::kTerminated:
      body["exitCode"] = s.exit_code;
      if (s.signal != 0) body["signal"] = s.signal;
      return Json{{"terminated", std::move(body)}};
    case ContainerState::Kind::kNone:
      break;
  }
  return Json::object();
}

Json encode_statuses(const std::vector<ContainerStatus>& statuses) {
  Json out = Json::array();
  for (const auto& c : statuses) {
    out.push_back(Json{{"name", c.name},
                       {"ready", c.ready},
                       {"restartCount", c.restart_count},
                       {"image", c.image},
                       {"state", encode_state(c.state)},
                       {"lastState", encode_state(c.last_state)}});
  }
  return out;
}

}  // namespace

std::optional<std::int32_t> Pod::exit_code() const {
  for (const auto& c : status.container_statuses) {
    if (c.state.terminated()) return c.state.exit_code;
  }
  return std::nullopt;
}

#define TANGO_CORE_PARSE(T) \
  Result<T> Codec<T>::parse(std::string_view json) { return parse_core<T>(json); }

template <typename T>
static Result<T> parse_core(std::string_view json) {
  T out;
  TRY(read_text(json, [&](JsonCursor& in, ReadContext& ctx) { return read(in, out, ctx); }));
  return out;
}
TANGO_CORE_PARSE(Namespace)
TANGO_CORE_PARSE(ConfigMap)
TANGO_CORE_PARSE(KubeSecret)
TANGO_CORE_PARSE(ServiceAccount)
TANGO_CORE_PARSE(Pod)
TANGO_CORE_PARSE(Job)
TANGO_CORE_PARSE(Event)
TANGO_CORE_PARSE(Lease)
TANGO_CORE_PARSE(CustomResourceDefinition)
#undef TANGO_CORE_PARSE

Json Codec<Namespace>::encode(const Namespace& o) {
  Json out = with_head(o);
  if (!o.phase.empty()) out["status"]["phase"] = o.phase;
  return out;
}

Json Codec<ConfigMap>::encode(const ConfigMap& o) {
  Json out = with_head(o);
  put_filled(out, "data", o.data);
  for (const auto& [key, raw] : o.binary_data) out["binaryData"][key] = to_base64(raw);
  if (o.immutable) out["immutable"] = true;
  return out;
}

Json Codec<KubeSecret>::encode(const KubeSecret& o) {
  Json out = with_head(o);
  out["type"] = o.type;
  for (const auto& [key, raw] : o.data) out["data"][key] = to_base64(raw.reveal());
  return out;
}

Json Codec<ServiceAccount>::encode(const ServiceAccount& o) { return with_head(o); }

Json Codec<Pod>::encode(const Pod& o) {
  Json out = with_head(o);
  if (!o.node_name.empty()) out["spec"]["nodeName"] = o.node_name;
  Json& s = out["status"] = Json::object();
  put_filled(s, "phase", o.status.phase);
  put_filled(s, "reason", o.status.reason);
  put_filled(s, "message", o.status.message);
  put_filled(s, "podIP", o.status.pod_ip);
  put_optional(s, "startTime", o.status.start_time);
  put_filled(s, "conditions", o.status.conditions);
  if (!o.status.container_statuses.empty()) {
    s["containerStatuses"] = encode_statuses(o.status.container_statuses);
  }
  if (!o.status.init_container_statuses.empty()) {
    s["initContainerStatuses"] = encode_statuses(o.status.init_container_statuses);
  }
  return out;
}

Json Codec<Job>::encode(const Job& o) {
  Json out = with_head(o);
  out["spec"] = Json::object();
  if (o.suspend) out["spec"]["suspend"] = true;
  put_optional(out["spec"], "backoffLimit", o.backoff_limit);
  Json& s = out["status"] = Json::object();
  if (o.status.active != 0) s["active"] = o.status.active;
  if (o.status.succeeded != 0) s["succeeded"] = o.status.succeeded;
  if (o.status.failed != 0) s["failed"] = o.status.failed;
  put_optional(s, "startTime", o.status.start_time);
  put_optional(s, "completionTime", o.status.completion_time);
  put_filled(s, "conditions", o.status.conditions);
  return out;
}

Json Codec<Event>::encode(const Event& o) {
  Json out = with_head(o);
  Json ref = Json::object();
  put_filled(ref, "apiVersion", o.involved_object.api_version);
  put_filled(ref, "kind", o.involved_object.kind);
  put_filled(ref, "namespace", o.involved_object.ns);
  put_filled(ref, "name", o.involved_object.name);
  put_filled(ref, "uid", o.involved_object.uid);
  out["involvedObject"] = std::move(ref);
  put_filled(out, "type", o.type);
  put_filled(out, "reason", o.reason);
  put_filled(out, "message", o.message);
  if (!o.component.empty()) out["source"]["component"] = o.component;
  if (o.count != 0) out["count"] = o.count;
  put_optional(out, "firstTimestamp", o.first_timestamp);
  put_optional(out, "lastTimestamp", o.last_timestamp);
  return out;
}

Json Codec<Lease>::encode(const Lease& o) {
  Json out = with_head(o);
  Json& s = out["spec"] = Json::object();
  put_filled(s, "holderIdentity", o.holder_identity);
  if (o.lease_duration_seconds != 0) s["leaseDurationSeconds"] = o.lease_duration_seconds;
  s["leaseTransitions"] = o.lease_transitions;
  if (o.acquire_time) s["acquireTime"] = format_time_micro(*o.acquire_time);
  if (o.renew_time) s["renewTime"] = format_time_micro(*o.renew_time);
  return out;
}

Json Codec<CustomResourceDefinition>::encode(const CustomResourceDefinition& o) {
  Json out = with_head(o);
  out["spec"] = {{"group", o.group},
                 {"scope", o.scope},
                 {"names", {{"kind", o.kind}, {"plural", o.plural}, {"singular", o.singular}}}};
  put_filled(out["spec"]["names"], "shortNames", o.short_names);
  put_filled(out["spec"]["names"], "categories", o.categories);
  for (const auto& v : o.served_versions) {
    out["spec"]["versions"].push_back({{"name", v}, {"served", true}});
  }
  if (!o.conditions.empty()) out["status"]["conditions"] = to_value(o.conditions);
  return out;
}

}  // namespace tango::kube

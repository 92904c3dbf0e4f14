#include <algorithm>

#include "lib/artifacts/registry_client.h"

namespace tango::artifacts {
namespace {

constexpr std::size_t kMaxLayers = 8192;

Error invalid(std::string why) {
  return make_error(Code::kInvalid, "ManifestInvalid", "the manifest " + std::move(why));
}

std::map<std::string, std::string> annotations_of(const Json& value) {
  std::map<std::string, std::string> out;
  if (!value.is_object()) return out;
  for (const auto& [key, text] : value.items()) {
    if (text.is_string()) out[key] = text.get<std::string>();
  }
  return out;
}

}  // namespace

Result<Descriptor> parse_descriptor(const Json& value) {
  if (!value.is_object()) return invalid("has a descriptor that is not an object");
  auto digest = Digest::parse(get_string(value, "digest"));
  std::int64_t size = get_int(value, "size", -1);
  if (!digest.ok() || size < 0) return invalid("has a descriptor without a sha256 digest or size");
  return Descriptor{get_string(value, "mediaType"), *digest, static_cast<std::uint64_t>(size),
                    get_string(value, "artifactType"), annotations_of(get(value, "annotations"))};
}

Json encode_descriptor(const Descriptor& d) {
  Json out{{"mediaType", d.media_type}, {"digest", d.digest.to_string()}, {"size", d.size}};
  if (!d.artifact_type.empty()) out["artifactType"] = d.artifact_type;
  if (!d.annotations.empty()) out["annotations"] = d.annotations;
  return out;
}

const Descriptor* Manifest::layer_titled(std::string_view title) const {
  for (const Descriptor& l : layers) {
    auto it = l.annotations.find("org.opencontainers.image.title");
    if (it != l.annotations.end() && it->second == title) return &l;
  }
  return nullptr;
}

const Descriptor* Manifest::layer_of_type(std::string_view type) const {
  auto it = std::find_if(layers.begin(), layers.end(),
                         [&](const Descriptor& l) { return l.media_type == type; });
  return it == layers.end() ? nullptr : &*it;
}

Result<Manifest> parse_manifest(std::string_view bytes) {
  TRY_ASSIGN(Json doc, parse_json(bytes, JsonLimits{kMaxManifestBytes, 16}));
  if (!doc.is_object() || get_int(doc, "schemaVersion") != 2) {
    return invalid("is not of schemaVersion 2");
  }
  Manifest m;
  m.media_type = get_string(doc, "mediaType");
  m.artifact_type = get_string(doc, "artifactType");
  if (doc.contains("config")) {
    TRY_ASSIGN(m.config, parse_descriptor(doc["config"]));
    // OCI 1.0 artifacts say their type by the config's media type.
    if (m.artifact_type.empty() && m.config->media_type != kEmptyConfigType) {
      m.artifact_type = m.config->media_type;
    }
  }
  const Json& layers = get(doc, "layers");
  if (!layers.is_null() && (!layers.is_array() || layers.size() > kMaxLayers)) {
    return invalid("has no list of at most 8192 layers");
  }
  for (const Json& l : layers) {
    TRY_ASSIGN(Descriptor d, parse_descriptor(l));
    m.layers.push_back(std::move(d));
  }
  if (const Json& subject = get(doc, "subject"); !subject.is_null()) {
    TRY_ASSIGN(m.subject, parse_descriptor(subject));
  }
  m.annotations = annotations_of(get(doc, "annotations"));
  return m;
}

std::string encode_manifest(const Manifest& m) {
  Json layers = Json::array();
  for (const Descriptor& l : m.layers) layers.push_back(encode_descriptor(l));
  Json doc{{"schemaVersion", 2},
           {"mediaType", m.media_type.empty() ? std::string(kOciManifestType) : m.media_type},
           {"layers", std::move(layers)}};
  if (!m.artifact_type.empty()) doc["artifactType"] = m.artifact_type;
  if (m.config) doc["config"] = encode_descriptor(*m.config);
  if (m.subject) doc["subject"] = encode_descriptor(*m.subject);
  if (!m.annotations.empty()) doc["annotations"] = m.annotations;
  auto bytes = canonical_json(doc);
  return bytes.ok() ? std::move(*bytes) : std::string();
}

}  // namespace tango::artifacts

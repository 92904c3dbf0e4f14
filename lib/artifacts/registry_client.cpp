#include "lib/artifacts/registry_client.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "lib/base/backoff.h"
#include "lib/base/file.h"

namespace tango::artifacts {

Result<Descriptor> parse_descriptor(const Json& value);
Json encode_descriptor(const Descriptor& d);

namespace {

bool worth_repeating(int status) { return status == 429 || status == 408 || status >= 500; }

// Retry-After in seconds; dates are rare enough to take the back-off instead.
std::optional<Nanos> retry_after(const HttpHeaders& headers) {
  std::string text = header(headers, "Retry-After");
  int seconds = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (text.empty() || ec != std::errc{} || end != text.data() + text.size() || seconds < 0) {
    return std::nullopt;
  }
  return Seconds{seconds};
}

Error status_error(const HttpResponse& r, std::string_view what) {
  std::string detail;
  if (auto json = parse_json(r.body, JsonLimits{64u << 10, 16}); json.ok()) {
    const Json& errors = get(*json, "errors");
    if (errors.is_array() && !errors.empty()) {
      detail = ": " + get_string(errors[0], "code") + " " + get_string(errors[0], "message");
    }
  }
  std::string message =
      std::string(what) + " was answered with HTTP " + std::to_string(r.status) + detail;
  if (r.status == 404) return make_error(Code::kNotFound, "NotFound", std::move(message));
  if (r.status == 401 || r.status == 403) {
    return make_error(Code::kDenied, "RegistryDenied",
                      message + "; check the registry credentials of this project");
  }
  if (r.status == 413) return make_error(Code::kExhausted, "BlobTooLarge", std::move(message));
  if (worth_repeating(r.status)) {
    return make_error(Code::kUnavailable, "RegistryUnavailable", std::move(message));
  }
  return make_error(Code::kInvalid, "RegistryRefused", std::move(message));
}

Error mismatch(std::string_view what, const Digest& wanted, const Digest& got) {
  return make_error(
      Code::kDenied, "DigestMismatch",
      std::string(what) + " has digest " + got.to_string() + " instead of " + wanted.to_string());
}

std::string with_digest(const std::string& location, const Digest& digest) {
  return location + (location.find('?') == std::string::npos ? "?" : "&") +
         "digest=" + url_encode(digest.to_string());
}

}  // namespace

RegistryClient::RegistryClient(HttpClient& http, RegistryOptions options)
    : http_(http), options_(std::move(options)) {
  while (!options_.url.empty() && options_.url.back() == '/') options_.url.pop_back();
}

std::string RegistryClient::url(std::string_view rest) const {
  return options_.url + "/v2/" + options_.repository + "/" + std::string(rest);
}

std::string RegistryClient::absolute(std::string_view location) const {
  if (location.find("://") != std::string_view::npos) return std::string(location);
  std::size_t host = options_.url.find("://");
  std::size_t path = options_.url.find('/', host == std::string::npos ? 0 : host + 3);
  return options_.url.substr(0, path) + std::string(location);
}

Result<HttpResponse> RegistryClient::send_once(HttpRequest& request, std::string_view what) {
  auto response = http_.send(request);
  if (response.ok()) return response;
  const Error& e = response.error();
  if (e.reason == "BodyTooLarge") {
    return make_error(Code::kExhausted, "BlobTooLarge", std::string(what) + ": " + e.message);
  }
  if (e.code == Code::kUnavailable || e.code == Code::kTimeout) {
    return make_error(Code::kUnavailable, "RegistryUnavailable",
                      std::string(what) + ": " + e.message + "; is the registry at " +
                          options_.url + " running?");
  }
  return std::move(response).error();
}

Result<HttpResponse> RegistryClient::send(HttpRequest request, bool idempotent,
                                          std::string_view what) {
  request.timeout = options_.timeout;
  // Locations of uploads may lie on another host, which must not see our credentials.
  bool ours = request.url.rfind(options_.url + "/", 0) == 0;
  if (ours && !options_.token.empty()) {
    request.headers.emplace("Authorization", "Bearer " + options_.token.reveal());
  } else if (ours && !options_.username.empty()) {
    request.headers.emplace("Authorization", "Basic " + to_base64(options_.username + ":" +
                                                                  options_.password.reveal()));
  }
  Backoff backoff(BackoffOptions{Millis{200}, 2.0, 1.0, options_.max_retry_wait}, system_random());
  Clock& clock = options_.clock != nullptr ? *options_.clock : system_clock();
  for (int attempt = 1;; ++attempt) {
    auto response = send_once(request, what);
    bool last = !idempotent || attempt >= options_.max_attempts;
    Nanos wait = backoff.next();
    if (response.ok()) {
      if (response->status >= 200 && response->status < 300) return response;
      if (last || !worth_repeating(response->status)) return status_error(*response, what);
      if (auto asked = retry_after(response->headers)) {
        wait = std::min(*asked, options_.max_retry_wait);
      }
    } else if (last || response.error().reason != "RegistryUnavailable") {
      return response;
    }
    clock.sleep_for(wait);
  }
}

// --- blobs --------------------------------------------------------------------------------------

Result<bool> RegistryClient::has_blob(const Digest& digest) {
  HttpRequest request;
  request.method = "HEAD";
  request.url = url("blobs/" + digest.to_string());
  auto response = send(std::move(request), true, "looking for blob " + digest.short_hex());
  if (response.ok()) return true;
  if (response.error().reason == "NotFound") return false;
  return std::move(response).error();
}

Result<std::uint64_t> RegistryClient::uploaded_so_far(const std::string& location) {
  HttpRequest request;
  request.url = location;
  TRY_ASSIGN(HttpResponse r, send(std::move(request), true, "asking for the state of an upload"));
  std::string range = header(r.headers, "Range");  // "0-1023"; "0-0" when there is nothing
  std::size_t dash = range.find('-');
  std::uint64_t last = 0;
  if (dash == std::string::npos) return std::uint64_t{0};
  std::from_chars(range.data() + dash + 1, range.data() + range.size(), last);
  return last == 0 ? 0 : last + 1;
}

Status RegistryClient::push_pieces(
    const Digest& digest, std::uint64_t size,
    const std::function<Result<std::string>(std::uint64_t, std::size_t)>& read) {
  std::string what = "uploading blob " + digest.short_hex();
  HttpRequest start;
  start.method = "POST";
  start.url = url("blobs/uploads/");
  // Starting twice leaves an idle session behind, which the registry forgets.
  TRY_ASSIGN(HttpResponse begun, send(std::move(start), true, what));
  std::string location = absolute(header(begun.headers, "Location"));
  std::uint64_t at = 0;
  int failures = 0;
  // Pieces, all but the last by PATCH; a broken one is continued where the registry says it is.
  while (size - at > options_.piece_bytes) {
    TRY_ASSIGN(std::string piece, read(at, static_cast<std::size_t>(options_.piece_bytes)));
    HttpRequest patch;
    patch.method = "PATCH";
    patch.url = location;
    patch.headers.emplace("Content-Type", "application/octet-stream");
    patch.headers.emplace("Content-Range",
                          std::to_string(at) + "-" + std::to_string(at + piece.size() - 1));
    std::uint64_t next = at + piece.size();
    patch.body = std::move(piece);
    auto response = send(std::move(patch), false, what);
    if (response.ok()) {
      std::string moved = header(response->headers, "Location");
      if (!moved.empty()) location = absolute(moved);
      at = next;
      continue;
    }
    if (++failures >= options_.max_attempts || (response.error().code != Code::kUnavailable &&
                                                response.error().reason != "RegistryRefused")) {
      return std::move(response).error();
    }
    TRY_ASSIGN(at, uploaded_so_far(location));
    if (at > size) return make_error(Code::kUnavailable, "RegistryUnavailable", what + " got lost");
  }
  TRY_ASSIGN(std::string rest, read(at, static_cast<std::size_t>(size - at)));
  HttpRequest put;
  put.method = "PUT";
  put.url = with_digest(location, digest);
  put.headers.emplace("Content-Type", "application/octet-stream");
  put.body = std::move(rest);
  // Not repeatable by itself: a second PUT of the same session would append. Ask what happened
  // instead.
  auto done = send(std::move(put), false, what);
  if (done.ok()) return ok_status();
  if (done.error().code != Code::kUnavailable) return std::move(done).error();
  TRY_ASSIGN(bool there, has_blob(digest));
  if (there) return ok_status();
  return std::move(done).error();
}

Result<Descriptor> RegistryClient::push_blob(std::string_view data, std::string_view media_type) {
  Descriptor d{std::string(media_type), sha256(data), data.size(), {}, {}};
  TRY_ASSIGN(bool there, has_blob(d.digest));
  if (there) return d;
  Status pushed = ok_status();
  for (int attempt = 0; attempt < options_.max_attempts; ++attempt) {
    pushed = push_pieces(d.digest, data.size(), [&](std::uint64_t at, std::size_t n) {
      return Result<std::string>(std::string(data.substr(static_cast<std::size_t>(at), n)));
    });
    if (pushed.ok()) return d;
    if (pushed.error().code != Code::kUnavailable) break;
  }
  return std::move(pushed).error();
}

Result<Descriptor> RegistryClient::push_file(const std::filesystem::path& path,
                                             std::string_view media_type) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno_error(errno, "opening " + path.string());
  auto read_at = [&](std::uint64_t at, std::size_t n) -> Result<std::string> {
    std::string out(n, '\0');
    std::size_t got = 0;
    while (got < n) {
      ssize_t r = ::pread(fd.get(), out.data() + got, n - got, static_cast<off_t>(at + got));
      if (r < 0 && errno == EINTR) continue;
      if (r < 0) return errno_error(errno, "reading " + path.string());
      if (r == 0) break;
      got += static_cast<std::size_t>(r);
    }
    out.resize(got);
    return out;
  };
  Sha256 hash;
  std::uint64_t size = 0;
  for (;;) {
    TRY_ASSIGN(std::string piece, read_at(size, 1u << 20));
    if (piece.empty()) break;
    hash.update(piece);
    size += piece.size();
  }
  Descriptor d{std::string(media_type), hash.finish(), size, {}, {}};
  TRY_ASSIGN(bool there, has_blob(d.digest));
  if (there) return d;
  TRY(push_pieces(d.digest, size, read_at));
  return d;
}

Result<std::string> RegistryClient::pull_blob(const Descriptor& d) {
  if (d.size > options_.max_blob) {
    return make_error(Code::kExhausted, "BlobTooLarge",
                      "blob " + d.digest.short_hex() + " has " + std::to_string(d.size) +
                          " bytes; the limit is " + std::to_string(options_.max_blob));
  }
  HttpRequest request;
  request.url = url("blobs/" + d.digest.to_string());
  request.max_body = d.size;
  std::string what = "pulling blob " + d.digest.short_hex();
  TRY_ASSIGN(HttpResponse r, send(std::move(request), true, what));
  Digest got = sha256(r.body);
  if (got != d.digest) return mismatch(what, d.digest, got);
  return std::move(r.body);
}

Status RegistryClient::pull_blob_to(const Descriptor& d, const std::filesystem::path& path) {
  if (d.size > options_.max_blob) {
    return make_error(Code::kExhausted, "BlobTooLarge",
                      "blob " + d.digest.short_hex() + " is larger than the limit");
  }
  fs::path part = path;
  part += ".part-" + random_suffix(system_random(), 8);
  Fd fd(::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd.valid()) return errno_error(errno, "creating " + part.string());
  std::string what = "pulling blob " + d.digest.short_hex();
  auto fetch = [&]() -> Status {
    Sha256 hash;
    std::uint64_t at = 0;
    while (at < d.size) {
      std::uint64_t n = std::min(options_.piece_bytes, d.size - at);
      HttpRequest request;
      request.url = url("blobs/" + d.digest.to_string());
      request.max_body = d.size;  // a registry without ranges answers with the whole
      if (n < d.size) {
        request.headers.emplace("Range",
                                "bytes=" + std::to_string(at) + "-" + std::to_string(at + n - 1));
      }
      TRY_ASSIGN(HttpResponse r, send(std::move(request), true, what));
      std::string_view body = r.body;
      if (r.status == 200 && n < d.size) {
        body = body.substr(std::min<std::size_t>(body.size(), static_cast<std::size_t>(at)));
      }
      if (body.empty() || body.size() > d.size - at) {
        return make_error(Code::kDenied, "DigestMismatch", what + ": it does not have its size");
      }
      hash.update(body);
      TRY(write_all(fd.get(), body));
      at += body.size();
    }
    Digest got = hash.finish();
    if (got != d.digest) return mismatch(what, d.digest, got);
    if (::fsync(fd.get()) != 0) return errno_error(errno, "writing " + part.string());
    if (::rename(part.c_str(), path.c_str()) != 0) {
      return errno_error(errno, "renaming " + part.string());
    }
    return ok_status();
  };
  Status done = fetch();
  if (!done.ok()) ::unlink(part.c_str());
  return done;
}

// --- manifests ----------------------------------------------------------------------------------

Result<std::string> RegistryClient::get_manifest_bytes(std::string_view reference) {
  HttpRequest request;
  request.url = url("manifests/" + std::string(reference));
  request.max_body = kMaxManifestBytes;
  request.headers.emplace("Accept", std::string(kOciManifestType));
  request.headers.emplace("Accept", std::string(kOciIndexType));
  std::string what = "reading manifest " + options_.repository + ":" + std::string(reference);
  TRY_ASSIGN(HttpResponse r, send(std::move(request), true, what));
  if (auto wanted = Digest::parse(reference); wanted.ok() && sha256(r.body) != *wanted) {
    return mismatch(what, *wanted, sha256(r.body));
  }
  return std::move(r.body);
}

Result<Manifest> RegistryClient::get_manifest(std::string_view reference) {
  TRY_ASSIGN(std::string bytes, get_manifest_bytes(reference));
  return parse_manifest(bytes);
}

Result<Digest> RegistryClient::resolve(std::string_view tag) {
  // Hashing the bytes ourselves costs little and believes nobody's header.
  TRY_ASSIGN(std::string bytes, get_manifest_bytes(tag));
  return sha256(bytes);
}

Result<Digest> RegistryClient::put_manifest(std::string_view bytes, std::string_view media_type,
                                            std::string_view tag) {
  Digest digest = sha256(bytes);
  HttpRequest request;
  request.method = "PUT";
  request.url = url("manifests/" + (tag.empty() ? digest.to_string() : std::string(tag)));
  request.headers.emplace("Content-Type", std::string(media_type));
  request.body = bytes;
  TRY(send(std::move(request), true, "writing manifest " + digest.short_hex()));
  return digest;
}

Result<Digest> RegistryClient::push_artifact(std::string_view artifact_type,
                                             std::vector<Descriptor> layers,
                                             const std::map<std::string, std::string>& annotations,
                                             std::string_view tag,
                                             const std::optional<Descriptor>& subject) {
  Manifest m;
  m.media_type = kOciManifestType;
  m.artifact_type = artifact_type;
  TRY_ASSIGN(m.config, push_blob("{}", kEmptyConfigType));
  m.layers = std::move(layers);
  m.annotations = annotations;
  m.subject = subject;
  std::string bytes = encode_manifest(m);
  if (bytes.size() > kMaxManifestBytes) {
    return make_error(Code::kExhausted, "BlobTooLarge", "the manifest is larger than 4 MiB");
  }
  TRY_ASSIGN(Digest digest, put_manifest(bytes, kOciManifestType, tag));
  if (!subject) return digest;
  // A registry with the referrers API finds it by itself; else we keep the fallback tag.
  HttpRequest probe;
  probe.url = url("referrers/" + subject->digest.to_string());
  auto api = send(std::move(probe), true, "asking for referrers");
  if (api.ok()) return digest;
  if (api.error().reason != "NotFound" && api.error().reason != "RegistryRefused") {
    return std::move(api).error();
  }
  TRY(update_referrers_tag(subject->digest,
                           Descriptor{std::string(kOciManifestType), digest, bytes.size(),
                                      std::string(artifact_type), annotations}));
  return digest;
}

// --- referrers ----------------------------------------------------------------------------------

Result<Json> RegistryClient::referrers_index(const Digest& subject,
                                             std::string_view artifact_type) {
  HttpRequest request;
  request.url = url("referrers/" + subject.to_string());
  if (!artifact_type.empty()) {
    request.url += "?artifactType=" + url_encode(artifact_type);
  }
  request.max_body = kMaxManifestBytes;
  auto response = send(std::move(request), true, "asking for referrers");
  if (response.ok()) return parse_json(response->body);
  if (response.error().reason != "NotFound" && response.error().reason != "RegistryRefused") {
    return std::move(response).error();
  }
  auto bytes = get_manifest_bytes("sha256-" + subject.hex());
  if (bytes.ok()) return parse_json(*bytes);
  if (bytes.error().reason != "NotFound") return std::move(bytes).error();
  return Json{{"manifests", Json::array()}};
}

Status RegistryClient::update_referrers_tag(const Digest& subject, const Descriptor& added) {
  TRY_ASSIGN(Json index, referrers_index(subject, {}));
  Json manifests = Json::array();
  for (const Json& m : get(index, "manifests")) {
    if (get_string(m, "digest") != added.digest.to_string()) manifests.push_back(m);
  }
  manifests.push_back(encode_descriptor(added));
  TRY_ASSIGN(std::string bytes, canonical_json(Json{{"schemaVersion", 2},
                                                    {"mediaType", kOciIndexType},
                                                    {"manifests", std::move(manifests)}}));
  TRY(put_manifest(bytes, kOciIndexType, "sha256-" + subject.hex()));
  return ok_status();
}

Result<std::vector<Descriptor>> RegistryClient::referrers(const Digest& subject,
                                                          std::string_view artifact_type) {
  TRY_ASSIGN(Json index, referrers_index(subject, artifact_type));
  std::vector<Descriptor> out;
  const Json& manifests = get(index, "manifests");
  if (!manifests.is_array()) return out;
  for (const Json& m : manifests) {
    TRY_ASSIGN(Descriptor d, parse_descriptor(m));
    if (artifact_type.empty() || d.artifact_type == artifact_type) out.push_back(std::move(d));
  }
  return out;
}

Status RegistryClient::remove_manifest(const Digest& digest) {
  HttpRequest request;
  request.method = "DELETE";
  request.url = url("manifests/" + digest.to_string());
  TRY(send(std::move(request), true, "removing manifest " + digest.short_hex()));
  return ok_status();
}

}  // namespace tango::artifacts

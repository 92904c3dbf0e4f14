#include "inference/service.h"

#include <algorithm>
#include <charconv>

#include "inference/checks.h"

namespace tango::inference {
namespace {

HttpResponse json_response(int status, const Json& body) {
  HttpResponse response;
  response.status = status;
  response.headers.emplace("Content-Type", "application/json");
  response.body = dump_json(body) + "\n";
  return response;
}

HttpResponse error_response(int status, std::string_view reason, std::string_view message) {
  return json_response(status, {{"error", {{"reason", reason}, {"message", message}}}});
}

HttpResponse error_response(const Error& error) {
  int status = 500;
  if (error.reason == "ImageTooLarge") {
    status = 413;
  } else if (error.reason == "UnknownImageFormat" || error.code == Code::kUnsupported) {
    status = 415;
  } else if (error.code == Code::kInvalid && error.reason != "EngineFailed") {
    status = 400;
  }
  return error_response(status, error.reason, error.message);
}

HttpResponse text_response(std::string body, std::string_view type) {
  HttpResponse response;
  response.status = 200;
  response.headers.emplace("Content-Type", std::string(type));
  response.body = std::move(body);
  return response;
}

HttpResponse not_allowed(std::string_view allow) {
  auto response = error_response(405, "MethodNotAllowed", "use " + std::string(allow));
  response.headers.emplace("Allow", std::string(allow));
  return response;
}

Error bad_multipart(std::string_view why) {
  return make_error(Code::kInvalid, "InvalidMultipart",
                    "multipart body cannot be read: " + std::string(why));
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

}  // namespace

Result<std::string> multipart_image(std::string_view content_type, std::string_view body) {
  const auto at = lower(content_type).find("boundary=");
  if (at == std::string::npos) return bad_multipart("the boundary is missing");
  std::string_view boundary = content_type.substr(at + 9);
  if (boundary.starts_with('"')) {
    boundary = boundary.substr(1, boundary.find('"', 1) - 1);
  } else {
    boundary = boundary.substr(0, boundary.find(';'));
  }
  if (boundary.empty() || boundary.size() > 70) return bad_multipart("the boundary is not valid");
  const std::string delimiter = "--" + std::string(boundary);
  if (!body.starts_with(delimiter)) return bad_multipart("it does not start with the boundary");
  body.remove_prefix(delimiter.size());
  while (body.starts_with("\r\n")) {
    body.remove_prefix(2);
    const auto head_end = body.find("\r\n\r\n");
    const auto part_end = body.find("\r\n" + delimiter);
    if (head_end == std::string_view::npos || part_end == std::string_view::npos ||
        part_end < head_end + 2) {
      return bad_multipart("a part has no end");
    }
    const std::string head = lower(body.substr(0, head_end));
    const bool wanted = head.find("content-disposition:") != std::string::npos &&
                        (head.find("filename=") != std::string::npos ||
                         head.find("name=\"image\"") != std::string::npos ||
                         head.find("name=image") != std::string::npos);
    if (wanted) {
      const auto start = std::min(head_end + 4, part_end);
      return std::string(body.substr(start, part_end - start));
    }
    body.remove_prefix(part_end + 2 + delimiter.size());
  }
  return bad_multipart("no part is a file or called \"image\"");
}

Service::Service(Model& model, ServiceOptions options)
    : model_(model), options_(options), slots_(std::clamp(options.max_parallel, 1, 64)) {
  metrics_.declare_counter("tango_infer_requests_total", "Requests by path and status.");
  metrics_.declare_histogram("tango_infer_predict_seconds",
                             "Pre-processing and network time of one prediction.",
                             {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5});
  metrics_.declare_gauge("tango_infer_peak_rss_bytes", "Largest resident set of the process.");
}

HttpResponse Service::predict(const HttpRequest& request, const UrlTarget& target) {
  int top = options_.top;
  if (const std::string text = target.get("top"); !text.empty()) {
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), top);
    if (ec != std::errc{} || end != text.data() + text.size() || top < 1 ||
        top > options_.max_top) {
      return error_response(400, "InvalidQuery",
                            "top must be a number from 1 to " + std::to_string(options_.max_top));
    }
  }
  const std::string type = header(request.headers, "Content-Type");
  std::string part;
  std::string_view bytes = request.body;
  if (lower(type).starts_with("multipart/form-data")) {
    auto found = multipart_image(type, request.body);
    if (!found.ok()) return error_response(found.error());
    part = std::move(found).value();
    bytes = part;
  }
  slots_.acquire();
  struct Slot {
    std::counting_semaphore<64>& slots;
    ~Slot() { slots.release(); }
  } slot{slots_};
  const auto image = vision::decode_image(bytes, 0, options_.decode);
  if (!image.ok()) return error_response(image.error());
  const auto answer = model_.classify(*image, top);
  if (!answer.ok()) return error_response(answer.error());
  metrics_.observe("tango_infer_predict_seconds", {}, answer->latency_ms / 1000);
  return json_response(200, model_.to_json(*answer));
}

HttpResponse Service::handle(const HttpRequest& request) {
  const UrlTarget target = split_target(request.url);
  const bool get = request.method == "GET";
  std::string path = target.path;
  HttpResponse response;
  if (path == "/predict") {
    response = request.method == "POST" ? predict(request, target) : not_allowed("POST");
  } else if (path == "/readyz" || path == "/healthz") {
    response = get ? text_response("ok\n", "text/plain") : not_allowed("GET");
  } else if (path == "/metrics") {
    metrics_.set("tango_infer_peak_rss_bytes", {}, static_cast<double>(peak_rss_bytes()));
    response =
        get ? text_response(metrics_.text(), "text/plain; version=0.0.4") : not_allowed("GET");
  } else {
    response = error_response(404, "NotFound",
                              "there is POST /predict, GET /readyz, /healthz and /metrics");
    path = "other";  // a label must not grow with what strangers ask for
  }
  metrics_.add("tango_infer_requests_total",
               {{"path", path}, {"code", std::to_string(response.status)}});
  return response;
}

}  // namespace tango::inference

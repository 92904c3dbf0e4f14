// The HTTP face of a model: POST /predict, GET /readyz, /healthz, /metrics. A pure request handler,
// so it is tested without sockets; SmallHttpServer calls it.
#pragma once

#include <semaphore>
#include <string>

#include "inference/model.h"
#include "lib/base/http.h"
#include "lib/base/metrics.h"
#include "lib/vision/codec.h"

namespace tango::inference {

struct ServiceOptions {
  int top = 5;  // answers per prediction, ?top=N overrides
  int max_top = 100;
  // 24 megapixels are 72 MB decoded; two at a time bound the memory however many connections there
  // are.
  vision::DecodeLimits decode{16u << 20, 16384, 24ull << 20};
  int max_parallel = 2;
};

class Service {
 public:
  // `model` outlives the service.
  Service(Model& model, ServiceOptions options);
  // Thread-safe. Errors are JSON {error: {reason, message}} with 400, 404, 405, 413, 415 or 500.
  HttpResponse handle(const HttpRequest& request);

 private:
  HttpResponse predict(const HttpRequest& request, const UrlTarget& target);
  Model& model_;
  ServiceOptions options_;
  MetricsRegistry metrics_;
  std::counting_semaphore<64> slots_;
};

// The first part of a multipart/form-data body that is a file or is called "image" (RFC 7578).
// Errors: InvalidMultipart.
Result<std::string> multipart_image(std::string_view content_type, std::string_view body);

}  // namespace tango::inference

#include "lib/base/metrics.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace tango {
namespace {

struct Series {
  double value = 0;
  std::vector<std::uint64_t> counts;  // per bucket, last is +Inf
  double sum = 0;
  std::uint64_t count = 0;
};

struct Family {
  std::string help;
  std::string type;
  std::vector<double> buckets;
  std::map<MetricLabels, Series> series;
};

std::string number(double v) {
  if (std::isinf(v)) return v > 0 ? "+Inf" : "-Inf";
  if (std::isnan(v)) return "NaN";
  char buf[64];
  auto r = std::to_chars(buf, buf + sizeof buf, v);
  return std::string(buf, r.ptr);
}

std::string escape(std::string_view s, bool label) {
  std::string out;
  for (char c : s) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && label) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
  return out;
}

std::string labels_text(const MetricLabels& labels, const std::string& le = {}) {
  if (labels.empty() && le.empty()) return {};
  std::string out = "{";
  for (const auto& [k, v] : labels) {
    if (out.size() > 1) out += ',';
    out += k + "=\"" + escape(v, true) + "\"";
  }
  if (!le.empty()) {
    if (out.size() > 1) out += ',';
    out += "le=\"" + le + "\"";
  }
  return out + "}";
}

}  // namespace

struct MetricsRegistry::Impl {
  mutable std::mutex mutex;
  std::map<std::string, Family, std::less<>> families;

  void declare(std::string_view name, std::string_view help, std::string_view type,
               std::vector<double> buckets) {
    std::lock_guard lock(mutex);
    Family& f = families[std::string(name)];
    f.help = help;
    f.type = type;
    f.buckets = std::move(buckets);
    std::sort(f.buckets.begin(), f.buckets.end());
  }
  Series& series(std::string_view name, const MetricLabels& labels) {
    auto it = families.find(name);
    if (it == families.end())
      it = families.emplace(std::string(name), Family{"", "untyped", {}, {}}).first;
    Series& s = it->second.series[labels];
    if (it->second.type == "histogram" && s.counts.empty())
      s.counts.resize(it->second.buckets.size() + 1);
    return s;
  }
};

MetricsRegistry::MetricsRegistry() : impl_(std::make_unique<Impl>()) {}
MetricsRegistry::~MetricsRegistry() = default;

void MetricsRegistry::declare_counter(std::string_view name, std::string_view help) {
  impl_->declare(name, help, "counter", {});
}
void MetricsRegistry::declare_gauge(std::string_view name, std::string_view help) {
  impl_->declare(name, help, "gauge", {});
}
void MetricsRegistry::declare_histogram(std::string_view name, std::string_view help,
                                        std::vector<double> buckets) {
  impl_->declare(name, help, "histogram", std::move(buckets));
}
void MetricsRegistry::add(std::string_view name, const MetricLabels& labels, double delta) {
  std::lock_guard lock(impl_->mutex);
  impl_->series(name, labels).value += delta;
}
void MetricsRegistry::set(std::string_view name, const MetricLabels& labels, double value) {
  std::lock_guard lock(impl_->mutex);
  impl_->series(name, labels).value = value;
}
void MetricsRegistry::observe(std::string_view name, const MetricLabels& labels, double value) {
  std::lock_guard lock(impl_->mutex);
  Series& s = impl_->series(name, labels);
  if (s.counts.empty()) return;  // never declared as a histogram
  const auto& buckets = impl_->families.find(name)->second.buckets;
  auto at = std::lower_bound(buckets.begin(), buckets.end(), value) - buckets.begin();
  ++s.counts[static_cast<std::size_t>(at)];
  s.sum += value;
  ++s.count;
}
double MetricsRegistry::value(std::string_view name, const MetricLabels& labels) const {
  std::lock_guard lock(impl_->mutex);
  auto f = impl_->families.find(name);
  if (f == impl_->families.end()) return 0;
  auto s = f->second.series.find(labels);
  return s == f->second.series.end()
             ? 0
             : (f->second.type == "histogram" ? static_cast<double>(s->second.count)
                                              : s->second.value);
}

std::string MetricsRegistry::text() const {
  std::lock_guard lock(impl_->mutex);
  std::string out;
  for (const auto& [name, f] : impl_->families) {
    out +=
        "# HELP " + name + " " + escape(f.help, false) + "\n# TYPE " + name + " " + f.type + "\n";
    for (const auto& [labels, s] : f.series) {
      if (f.type != "histogram") {
        out += name + labels_text(labels) + " " + number(s.value) + "\n";
        continue;
      }
      std::uint64_t total = 0;
      for (std::size_t i = 0; i < s.counts.size(); ++i) {
        total += s.counts[i];
        out += name + "_bucket" +
               labels_text(labels, i < f.buckets.size() ? number(f.buckets[i]) : "+Inf") + " " +
               std::to_string(total) + "\n";
      }
      out += name + "_sum" + labels_text(labels) + " " + number(s.sum) + "\n";
      out += name + "_count" + labels_text(labels) + " " + std::to_string(s.count) + "\n";
    }
  }
  return out;
}

MetricsRegistry& default_metrics() {
  static MetricsRegistry registry;
  return registry;
}

}  // namespace tango

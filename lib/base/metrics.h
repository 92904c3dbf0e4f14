// Prometheus metrics: counters, gauges and histograms with labels, written in the text exposition
// format 0.0.4. Thread-safe. Names and labels of the controller runtime are controller-runtime's
// own.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace tango {

using MetricLabels = std::map<std::string, std::string>;

class MetricsRegistry {
 public:
  MetricsRegistry();
  ~MetricsRegistry();
  // A series comes into being (at zero) when it is first named, so rate() sees the first event.
  void declare_counter(std::string_view name, std::string_view help);
  void declare_gauge(std::string_view name, std::string_view help);
  void declare_histogram(std::string_view name, std::string_view help, std::vector<double> buckets);
  void add(std::string_view name, const MetricLabels& labels, double delta = 1);
  void set(std::string_view name, const MetricLabels& labels, double value);
  void observe(std::string_view name, const MetricLabels& labels, double value);
  double value(std::string_view name, const MetricLabels& labels) const;  // 0 when absent
  std::string text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

MetricsRegistry& default_metrics();

}  // namespace tango

#include "lib/kube/runtime_metrics.h"

#include <vector>

namespace tango::kube {
namespace {

// client-go: exponential from 10 ns, factor 10, twelve of them.
std::vector<double> queue_buckets() {
  std::vector<double> buckets;
  for (int exponent = -8; exponent < 4; ++exponent) {
    double bound = 1;
    for (int i = 0; i < (exponent < 0 ? -exponent : exponent); ++i) bound *= 10;
    buckets.push_back(exponent < 0 ? 1 / bound : bound);
  }
  return buckets;
}

}  // namespace

void declare_queue_metrics(MetricsRegistry& metrics, const std::string& name) {
  const MetricLabels labels{{"name", name}, {"controller", name}};
  metrics.declare_gauge(metric::kQueueDepth, "Current depth of workqueue.");
  metrics.declare_counter(metric::kQueueAdds, "Total number of adds handled by workqueue.");
  metrics.declare_histogram(
      metric::kQueueDuration,
      "How long in seconds an item stays in workqueue before being requested.", queue_buckets());
  metrics.declare_histogram(metric::kWorkDuration,
                            "How long in seconds processing an item from workqueue takes.",
                            queue_buckets());
  metrics.declare_gauge(
      metric::kUnfinishedWork,
      "How many seconds of work is in progress and has not been observed by work_duration.");
  metrics.declare_gauge(metric::kLongestRunning,
                        "How many seconds the longest running processor has been running.");
  metrics.declare_counter(metric::kQueueRetries, "Total number of retries handled by workqueue.");
  for (const auto gauge : {metric::kQueueDepth, metric::kUnfinishedWork, metric::kLongestRunning}) {
    metrics.set(gauge, labels, 0);
  }
  for (const auto counter : {metric::kQueueAdds, metric::kQueueRetries})
    metrics.add(counter, labels, 0);
}

void declare_controller_metrics(MetricsRegistry& metrics, const std::string& controller,
                                int max_concurrent) {
  const MetricLabels labels{{"controller", controller}};
  metrics.declare_counter(metric::kReconcileTotal,
                          "Total number of reconciliations per controller.");
  metrics.declare_counter(metric::kReconcileErrors,
                          "Total number of reconciliation errors per controller.");
  metrics.declare_counter(metric::kTerminalErrors,
                          "Total number of terminal reconciliation errors per controller.");
  metrics.declare_counter(metric::kReconcilePanics,
                          "Total number of reconciliation panics per controller.");
  metrics.declare_counter(metric::kReconcileTimeouts,
                          "Total number of reconciliation timeouts per controller.");
  metrics.declare_histogram(
      metric::kReconcileTime, "Length of time per reconciliation per controller.",
      {0.005, 0.01, 0.025, 0.05, 0.1,  0.15, 0.2,  0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6,
       0.7,   0.8,  0.9,   1.0,  1.25, 1.5,  1.75, 2.0,  2.5, 3.0,  3.5, 4.0,  4.5, 5,
       6,     7,    8,     9,    10,   15,   20,   25,   30,  40,   50,  60});
  metrics.declare_gauge(metric::kMaxConcurrent,
                        "Maximum number of concurrent reconciles per controller.");
  metrics.declare_gauge(metric::kActiveWorkers, "Number of currently used workers per controller.");
  for (const char* result : {"success", "error", "requeue", "requeue_after"}) {
    metrics.add(metric::kReconcileTotal, {{"controller", controller}, {"result", result}}, 0);
  }
  for (const auto counter : {metric::kReconcileErrors, metric::kTerminalErrors,
                             metric::kReconcilePanics, metric::kReconcileTimeouts}) {
    metrics.add(counter, labels, 0);
  }
  metrics.set(metric::kMaxConcurrent, labels, max_concurrent);
  metrics.set(metric::kActiveWorkers, labels, 0);
}

void declare_leader_metrics(MetricsRegistry& metrics, const std::string& lease) {
  metrics.declare_gauge(
      metric::kLeader,
      "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 "
      "indicates master. 'name' is the string used to identify the lease.");
  metrics.set(metric::kLeader, {{"name", lease}}, 0);
}

}  // namespace tango::kube

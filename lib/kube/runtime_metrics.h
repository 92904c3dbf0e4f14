// The names of the runtime's metrics: controller-runtime's own, so that existing dashboards work.
// Declaring creates the series at zero, so that rate() sees the first event.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/metrics.h"

namespace tango::kube {

namespace metric {
inline constexpr std::string_view kReconcileTotal = "controller_runtime_reconcile_total";
inline constexpr std::string_view kReconcileErrors = "controller_runtime_reconcile_errors_total";
inline constexpr std::string_view kTerminalErrors =
    "controller_runtime_terminal_reconcile_errors_total";
inline constexpr std::string_view kReconcilePanics = "controller_runtime_reconcile_panics_total";
inline constexpr std::string_view kReconcileTimeouts =
    "controller_runtime_reconcile_timeouts_total";
inline constexpr std::string_view kReconcileTime = "controller_runtime_reconcile_time_seconds";
inline constexpr std::string_view kMaxConcurrent = "controller_runtime_max_concurrent_reconciles";
inline constexpr std::string_view kActiveWorkers = "controller_runtime_active_workers";
inline constexpr std::string_view kQueueDepth = "workqueue_depth";
inline constexpr std::string_view kQueueAdds = "workqueue_adds_total";
inline constexpr std::string_view kQueueDuration = "workqueue_queue_duration_seconds";
inline constexpr std::string_view kWorkDuration = "workqueue_work_duration_seconds";
inline constexpr std::string_view kUnfinishedWork = "workqueue_unfinished_work_seconds";
inline constexpr std::string_view kLongestRunning = "workqueue_longest_running_processor_seconds";
inline constexpr std::string_view kQueueRetries = "workqueue_retries_total";
inline constexpr std::string_view kLeader = "leader_election_master_status";
}  // namespace metric

void declare_queue_metrics(MetricsRegistry& metrics, const std::string& name);
void declare_controller_metrics(MetricsRegistry& metrics, const std::string& controller,
                                int max_concurrent);
void declare_leader_metrics(MetricsRegistry& metrics, const std::string& lease);

}  // namespace tango::kube

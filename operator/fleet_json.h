// What sessions with devices learn, in the words of Device.status. Pure.
#pragma once

#include "lib/base/json.h"
#include "lib/fleet/agent_session.h"
#include "lib/fleet/deploy.h"

namespace tango::op {

Json slot_json(const fleet::SlotState& slot);
Json slots_json(const std::vector<fleet::SlotState>& slots);
Json agent_json(const fleet::HelloReply& hello);
Json identity_json(const fleet::HelloReply& hello);
Json sandbox_json(const fleet::HelloReply& hello);
Json inventory_json(const Json& inventory);
Json report_json(const fleet::DeployReport& report);

}  // namespace tango::op

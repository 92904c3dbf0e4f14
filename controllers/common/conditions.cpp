#include "controllers/common/conditions.h"

namespace tango::controllers {

std::string clip(std::string text, std::size_t max) {
  if (text.size() <= max) return text;
  std::size_t end = max - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text + "...";
}

void Conditions::set(std::string_view type, std::string_view status, std::string_view reason,
                     std::string message) {
  kube::Condition c;
  c.type = type;
  c.status = status;
  c.reason = reason.empty() ? std::string("Unknown") : std::string(reason);
  c.message = clip(std::move(message));
  c.observed_generation = generation_;
  kube::set_condition(list_, std::move(c), whole_seconds(now_));
}

void Conditions::drop(std::string_view type) {
  std::erase_if(list_, [&](const kube::Condition& c) { return c.type == type; });
}

Json owner_reference(const kube::KindInfo& kind, const kube::ObjectMeta& meta) {
  return Json{{"apiVersion", kind.api_version()},
              {"kind", std::string(kind.kind)},
              {"name", meta.name},
              {"uid", meta.uid},
              {"controller", true},
              {"blockOwnerDeletion", true}};
}

TimePoint whole_seconds(TimePoint t) { return std::chrono::floor<Seconds>(t); }

}  // namespace tango::controllers

#include "crds/crds.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>

namespace tango::crds {
namespace {

bool equal_fold(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) ==
                  std::tolower(static_cast<unsigned char>(y));
         });
}

}  // namespace

std::span<const KindEntry> kinds() { return embedded::kKinds; }

const KindEntry* find_kind(std::string_view name) {
  constexpr std::string_view kSuffix = ".ml-tango.io";
  if (name.size() > kSuffix.size() && name.substr(name.size() - kSuffix.size()) == kSuffix) {
    name.remove_suffix(kSuffix.size());
  }
  for (const auto& k : embedded::kKinds) {
    for (std::string_view known : {k.info.kind, k.info.plural, k.singular, k.short_name}) {
      if (equal_fold(name, known)) return &k;
    }
  }
  return nullptr;
}

const Json& schema_of(std::string_view kind) {
  static const auto* parsed = [] {
    auto* map = new std::map<std::string, Json, std::less<>>;  // lives as long as the process
    for (const auto& k : embedded::kKinds) {
      (*map)[std::string(k.info.kind)] = Json::parse(k.schema_json);
    }
    return map;
  }();
  static const Json null;
  const KindEntry* entry = find_kind(kind);
  if (entry == nullptr) return null;
  return parsed->find(entry->info.kind)->second;
}

std::string_view manifests(Flavour flavour) {
  return flavour == Flavour::kCel ? embedded::kCrdsCel : embedded::kCrdsPlain;
}

std::string_view profiles() { return embedded::kProfiles; }

std::string Violation::to_string() const {
  std::string out = path.empty() ? std::string("object") : path;
  out += ":";
  if (!value.is_null()) {
    constexpr std::size_t kMaxShown = 120;
    std::string shown = dump_json(value);
    if (shown.size() > kMaxShown) shown = shown.substr(0, kMaxShown) + "…";
    out += " " + shown;
  }
  out += " " + rule;
  if (!remedy.empty()) out += "; " + remedy;
  return out;
}

std::int64_t auto_number(std::string_view text, std::int64_t fallback) {
  std::int64_t value = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  return ec == std::errc() && end == text.data() + text.size() ? value : fallback;
}

}  // namespace tango::crds

#include <algorithm>
#include <map>
#include <unordered_map>

#include "lib/data/formats.h"

namespace tango::data {
namespace {

constexpr double kImbalanceWarning = 10.0;  // largest class over smallest, in train

Split deal(const Record& record, const Scan& scan, const SplitRule& rule) {
  if (rule.by_fraction || !scan.divided) {
    return hashed_split(rule.seed, record.content, rule.val, rule.test);
  }
  const Split home = record.home.value_or(Split::kTrain);
  if (home != Split::kTrain || scan.has_val) return home;
  return hashed_split(rule.seed, record.content, rule.val, 0);
}

Json quantiles(std::vector<int> values) {
  if (values.empty()) return Json::object();
  std::sort(values.begin(), values.end());
  auto at = [&](double q) {
    // Nearest rank.
    const auto rank = static_cast<std::size_t>(q * static_cast<double>(values.size() - 1) + 0.5);
    return values[rank];
  };
  return Json{{"min", values.front()},
              {"p5", at(0.05)},
              {"p50", at(0.5)},
              {"p95", at(0.95)},
              {"max", values.back()}};
}

Json list(const Findings& findings) {
  return Json{{"count", findings.count}, {"names", findings.names}};
}

Json warning(std::string_view reason, std::string message) {
  return Json{{"reason", reason}, {"message", std::move(message)}};
}

Json duplicates(const Scan& scan, const std::vector<Split>& dealt, std::size_t max_named) {
  std::unordered_map<Digest, std::vector<std::size_t>> by_content;
  by_content.reserve(scan.records.size());
  for (std::size_t i = 0; i < scan.records.size(); ++i) {
    by_content[scan.records[i].content].push_back(i);
  }
  std::vector<std::vector<std::size_t>> groups;
  std::uint64_t copies = 0;
  std::uint64_t cross_split = 0;
  std::uint64_t conflicting = 0;
  for (auto& [content, members] : by_content) {
    if (members.size() < 2) continue;
    copies += members.size() - 1;
    const auto differs = [&](auto&& property) {
      return std::any_of(members.begin(), members.end(),
                         [&](std::size_t m) { return property(m) != property(members.front()); });
    };
    if (differs([&](std::size_t m) { return dealt[m]; })) ++cross_split;
    if (differs([&](std::size_t m) { return scan.records[m].label; })) ++conflicting;
    groups.push_back(std::move(members));
  }
  std::sort(groups.begin(), groups.end());  // hash map order must not reach the report
  Json named = Json::array();
  for (const auto& group : groups) {
    if (named.size() >= max_named) break;
    named.push_back({scan.name(scan.records[group[0]].ref), scan.name(scan.records[group[1]].ref)});
  }
  return Json{{"groups", groups.size()},
              {"copies", copies},
              {"crossSplit", cross_split},
              {"conflictingLabels", conflicting},
              {"names", std::move(named)}};
}

}  // namespace

Result<DatasetAccess::Contents> DatasetAccess::assemble(const Scan& scan, const Digest& digest,
                                                        const OpenOptions& options) {
  if (scan.classes.empty()) return invalid_dataset("the dataset has no class");
  if (scan.records.empty()) {
    return invalid_dataset(
        "the dataset has no usable image" +
        (scan.bad.empty() ? std::string() : "; the first bad one is " + scan.bad.front().name));
  }
  Contents contents{scan.classes, digest, {}, Json::object()};
  std::array<SplitHealth, 3> health;
  std::vector<std::array<std::uint64_t, 3>> per_class(scan.classes.size());
  std::map<int, std::uint64_t> channels;
  std::vector<int> widths;
  std::vector<int> heights;
  std::vector<Split> dealt;
  dealt.reserve(scan.records.size());
  for (const Record& record : scan.records) {
    const Split split = deal(record, scan, options.splits);
    const auto s = static_cast<std::size_t>(split);
    dealt.push_back(split);
    contents.items[s].push_back({record.ref, record.label, record.content});
    ++health[s].images;
    ++health[s].labels;
    ++per_class[static_cast<std::size_t>(record.label)][s];
    ++channels[record.channels];
    widths.push_back(record.width);
    heights.push_back(record.height);
  }
  for (const BadFile& bad : scan.bad) {
    SplitHealth& h = health[static_cast<std::size_t>(bad.home.value_or(Split::kTrain))];
    Findings& findings = bad.finding == Finding::kMissing   ? h.missing
                         : bad.finding == Finding::kEmpty   ? h.empty
                         : bad.finding == Finding::kCorrupt ? h.corrupt
                                                            : h.unlabelled;
    ++findings.count;
    if (bad.finding == Finding::kMissing) ++h.labels;
    if (findings.names.size() < options.limits.max_named) findings.names.push_back(bad.name);
  }

  Json warnings = Json::array();
  Json splits = Json::object();
  for (const Split split : kSplits) {
    const SplitHealth& h = health[static_cast<std::size_t>(split)];
    splits[std::string(to_string(split))] = {
        {"images", h.images},     {"labels", h.labels},         {"missing", list(h.missing)},
        {"empty", list(h.empty)}, {"corrupt", list(h.corrupt)}, {"unlabelled", list(h.unlabelled)}};
    if (h.images == 0) {
      warnings.push_back(
          warning("EmptySplit", "split " + std::string(to_string(split)) + " has no images"));
    }
  }
  if (!scan.bad.empty()) {
    warnings.push_back(warning(
        "BadFiles", std::to_string(scan.bad.size()) + " files are left out of the dataset"));
  }

  Json rows = Json::array();
  std::uint64_t largest = 0;
  std::uint64_t smallest = UINT64_MAX;
  std::size_t without = 0;
  std::string first_without;
  for (std::size_t c = 0; c < per_class.size(); ++c) {
    const auto& n = per_class[c];
    rows.push_back({{"class", scan.classes[c]}, {"train", n[0]}, {"val", n[1]}, {"test", n[2]}});
    largest = std::max(largest, n[0]);
    smallest = std::min(smallest, n[0]);
    if (n[0] == 0 && without++ == 0) first_without = scan.classes[c];
  }
  Json imbalance{{"largest", largest}, {"smallest", smallest}};
  if (without > 0) {
    warnings.push_back(
        warning("ClassWithoutSamples", std::to_string(without) +
                                           " classes have no training image, first \"" +
                                           first_without + "\""));
  } else {
    const double ratio = static_cast<double>(largest) / static_cast<double>(smallest);
    imbalance["ratio"] = ratio;
    if (ratio > kImbalanceWarning) {
      warnings.push_back(warning("ClassImbalance",
                                 "the largest class has " + std::to_string(largest) +
                                     " training images, the smallest " + std::to_string(smallest)));
    }
  }
  Json copies = duplicates(scan, dealt, options.limits.max_named);
  if (get_int(copies, "crossSplit") > 0) {
    warnings.push_back(warning(
        "DuplicatesAcrossSplits",
        std::to_string(get_int(copies, "crossSplit")) + " images occur in more than one split"));
  }
  if (get_int(copies, "conflictingLabels") > 0) {
    warnings.push_back(
        warning("ConflictingLabels", std::to_string(get_int(copies, "conflictingLabels")) +
                                         " images occur with different labels"));
  }
  Json channel_counts = Json::object();
  for (const auto& [c, n] : channels) channel_counts[std::to_string(c)] = n;
  contents.report = {
      {"format", to_string(scan.format)},
      {"digest", digest.to_string()},
      {"images", scan.records.size()},
      {"ignoredFiles", scan.ignored},
      {"classes", scan.classes},
      {"classCount", scan.classes.size()},
      {"splits", std::move(splits)},
      {"perClass", std::move(rows)},
      {"imbalance", std::move(imbalance)},
      {"duplicates", std::move(copies)},
      {"channels", std::move(channel_counts)},
      {"size",
       {{"width", quantiles(std::move(widths))}, {"height", quantiles(std::move(heights))}}},
      {"warnings", std::move(warnings)},
  };
  if (contents.items[0].empty() && options.require_train)
    return invalid_dataset("no image is left for training");
  return contents;
}

}  // namespace tango::data

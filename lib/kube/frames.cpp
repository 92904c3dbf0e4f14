#include "lib/kube/frames.h"

#include <simdjson.h>

namespace tango::kube {
namespace {

namespace sj = simdjson;

Error invalid(std::string_view reason, std::string_view what, std::string_view text) {
  return make_error(Code::kUnavailable, reason,
                    std::string(what) + ": " + std::string(text.substr(0, 120)) +
                        (text.size() > 120 ? "..." : ""));
}

// One parser per thread: its buffers grow to the largest document and are used again.
sj::ondemand::parser& parser() {
  thread_local sj::ondemand::parser instance;
  return instance;
}

std::string string_at(sj::ondemand::object& object, std::string_view key) {
  std::string_view out;
  if (object.find_field_unordered(key).get_string().get(out) != sj::SUCCESS) return {};
  return std::string(out);
}

bool type_of(std::string_view name, FrameType& type) {
  if (name == "ADDED") {
    type = FrameType::kAdded;
  } else if (name == "MODIFIED") {
    type = FrameType::kModified;
  } else if (name == "DELETED") {
    type = FrameType::kDeleted;
  } else if (name == "BOOKMARK") {
    type = FrameType::kBookmark;
  } else if (name == "ERROR") {
    type = FrameType::kError;
  } else {
    return false;
  }
  return true;
}

}  // namespace

Status FrameSplitter::feed(std::string_view chunk,
                           const std::function<Status(std::string_view)>& frame) {
  while (!chunk.empty()) {
    const auto end = chunk.find('\n');
    if (partial_.size() + std::min(end, chunk.size()) > max_) {
      return make_error(Code::kExhausted, "FrameTooLarge",
                        "a watch event is larger than " + std::to_string(max_) + " bytes");
    }
    if (end == std::string_view::npos) {
      partial_.append(chunk);
      return ok_status();
    }
    std::string_view line = chunk.substr(0, end);
    chunk.remove_prefix(end + 1);
    std::string whole;
    if (!partial_.empty()) {
      whole = std::exchange(partial_, {});
      whole.append(line);
      line = whole;
    }
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    TRY(frame(line));
  }
  return ok_status();
}

Result<Frame> parse_frame(std::string_view line) {
  const sj::padded_string padded(line);
  sj::ondemand::document document;
  sj::ondemand::object root;
  if (parser().iterate(padded).get(document) != sj::SUCCESS ||
      document.get_object().get(root) != sj::SUCCESS) {
    return invalid("InvalidFrame", "a watch event is not a JSON object", line);
  }
  Frame frame;
  const std::string type = string_at(root, "type");
  if (!type_of(type, frame.type)) {
    return invalid("InvalidFrame", "a watch event has the unknown type \"" + type + "\"", line);
  }
  sj::ondemand::object object;
  std::string_view raw;
  if (root.find_field_unordered("object").get_object().get(object) != sj::SUCCESS ||
      object.raw_json().get(raw) != sj::SUCCESS) {
    return invalid("InvalidFrame", "a watch event has no object", line);
  }
  frame.object = std::string(raw);
  sj::ondemand::object metadata;
  bool is_empty = true;
  if (object.reset().get(is_empty) == sj::SUCCESS &&
      object.find_field_unordered("metadata").get_object().get(metadata) == sj::SUCCESS) {
    frame.resource_version = string_at(metadata, "resourceVersion");
  }
  return frame;
}

Result<Page> parse_page(std::string_view body) {
  const sj::padded_string padded(body);
  sj::ondemand::document document;
  sj::ondemand::object root;
  if (parser().iterate(padded).get(document) != sj::SUCCESS ||
      document.get_object().get(root) != sj::SUCCESS) {
    return invalid("InvalidList", "the answer to a list is not a JSON object", body);
  }
  Page page;
  bool has_metadata = false;
  for (auto field : root) {
    std::string_view key;
    if (field.unescaped_key().get(key) != sj::SUCCESS) {
      return invalid("InvalidList", "the answer to a list is broken", body);
    }
    if (key == "metadata") {
      sj::ondemand::object metadata;
      if (field.value().get_object().get(metadata) != sj::SUCCESS) continue;
      has_metadata = true;
      page.resource_version = string_at(metadata, "resourceVersion");
      page.continue_token = string_at(metadata, "continue");
    } else if (key == "items") {
      sj::ondemand::value value;
      if (field.value().get(value) != sj::SUCCESS) {
        return invalid("InvalidList", "the answer to a list is broken", body);
      }
      if (bool null = false; value.is_null().get(null) == sj::SUCCESS && null) continue;
      sj::ondemand::array items;
      if (value.get_array().get(items) != sj::SUCCESS) {
        return invalid("InvalidList", "the items of a list are not an array", body);
      }
      for (auto item : items) {
        sj::ondemand::object object;
        std::string_view raw;
        if (item.get_object().get(object) != sj::SUCCESS ||
            object.raw_json().get(raw) != sj::SUCCESS) {
          return invalid("InvalidList", "an item of a list is broken", body);
        }
        page.items.emplace_back(raw);
      }
    }
  }
  if (!has_metadata) {
    return invalid("InvalidList", "the answer to a list is cut off or has no metadata", body);
  }
  return page;
}

}  // namespace tango::kube

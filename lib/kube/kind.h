// Kinds without their C++ type: how caches hold objects of any kind. Used by the store, the
// reflector and the manager; it never does I/O.
#pragma once

#include <compare>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <typeindex>
#include <utility>

#include "lib/base/result.h"
#include "lib/kube-types/codec.h"
#include "lib/kube-types/meta.h"

namespace tango::kube {

struct ErasedKind {
  KindInfo info;
  std::type_index type;
  // Parsed object with its metadata.
  std::function<Result<std::pair<ObjectMeta, std::shared_ptr<const void>>>(std::string_view json)>
      parse;
};
template <typename T>
ErasedKind erased_kind() {
  return ErasedKind{
      T::kKind, typeid(T),
      [](std::string_view json) -> Result<std::pair<ObjectMeta, std::shared_ptr<const void>>> {
        auto parsed = Codec<T>::parse(json);
        if (!parsed.ok()) return std::move(parsed).error();
        auto object = std::make_shared<const T>(std::move(parsed).value());
        return std::pair<ObjectMeta, std::shared_ptr<const void>>(object->metadata, object);
      }};
}

struct ObjectKey {
  std::string ns, name;
  auto operator<=>(const ObjectKey&) const = default;
};

}  // namespace tango::kube

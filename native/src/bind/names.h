// Targets, tensor types and KV types by their names.
#pragma once

#include <string>

#include "errors.h"
#include "kernels/table.h"

namespace edgeinfer::bind {

inline const KernelTable& table_of(const std::string& target) {
  for (const KernelTable* const* t = available_kernels(); *t; ++t)
    if (target == (*t)->name) return **t;
  throw Error(ErrorCode::kInvalidRequest, "no such target: " + target);
}

inline TensorType type_of(const std::string& name) {
  for (int i = 0; i < kTensorTypeCount; ++i)
    if (name == kTensorTypes[i].name) return TensorType(i);
  throw Error(ErrorCode::kInvalidRequest, "no such tensor type: " + name);
}

inline KvType kv_type_of(const std::string& name) {
  for (int i = 0; i < kKvTypeCount; ++i)
    if (name == kKvTypes[i].name) return KvType(i);
  throw Error(ErrorCode::kInvalidRequest, "no such KV type: " + name);
}

}  // namespace edgeinfer::bind

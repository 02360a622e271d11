// TensorType and KvType: the lists in types.inc and kv_types.inc as enums and tables.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgeinfer {

enum class ActivationForm : uint8_t { Float, Group32, Group256 };

enum class TensorType : uint8_t {
#define EI_TYPE(name, id, values, bytes, form) name,
#include "quant/types.inc"
#undef EI_TYPE
};

struct TensorTypeInfo {
  const char* name;
  uint32_t gguf_id;
  int values;  // per block
  int bytes;   // per block
  ActivationForm form;
};

constexpr TensorTypeInfo kTensorTypes[] = {
#define EI_TYPE(name, id, values, bytes, form) {#name, id, values, bytes, ActivationForm::form},
#include "quant/types.inc"
#undef EI_TYPE
};
constexpr int kTensorTypeCount = static_cast<int>(sizeof(kTensorTypes) / sizeof(kTensorTypes[0]));

enum class KvType : uint8_t {
#define EI_KV_TYPE(name, label, bytes) name,
#include "quant/kv_types.inc"
#undef EI_KV_TYPE
};

struct KvTypeInfo {
  const char* name;
  int bytes;  // of 32 values
};

constexpr KvTypeInfo kKvTypes[] = {
#define EI_KV_TYPE(name, label, bytes) {label, bytes},
#include "quant/kv_types.inc"
#undef EI_KV_TYPE
};
constexpr int kKvTypeCount = static_cast<int>(sizeof(kKvTypes) / sizeof(kKvTypes[0]));

}  // namespace edgeinfer

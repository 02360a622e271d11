// Compiled once per SIMD target, with its flags and EI_TARGET set to its name. Everything below lives in the
// namespace of the target and is static: a function shared between targets would be kept once by the linker,
// with one target's instructions in it, and crash the others (native/README.md, "the compile rule").
#include "kernels/table.h"

#include <algorithm>
#include <cstring>

#if defined(EI_TARGET_avx512bw) || defined(EI_TARGET_avx512vnni)
#include "simd/avx512.h"
#elif defined(EI_TARGET_avx2) || defined(EI_TARGET_avxvnni)
#include "simd/avx2.h"
#elif defined(EI_TARGET_neon) || defined(EI_TARGET_neon_dotprod) || defined(EI_TARGET_neon_i8mm)
#include "simd/neon.h"
#else
#include "simd/scalar.h"
#endif

namespace edgeinfer::EI_TARGET {
#include "quant/floats.inc"
#include "quant/q4_0.inc"
#include "quant/q4_1.inc"
#include "quant/q5_0.inc"
#include "quant/q5_1.inc"
#include "quant/q8_0.inc"
#include "quant/q4_k.inc"
#include "quant/q5_k.inc"
#include "quant/q2_k.inc"
#include "quant/q3_k.inc"
#include "quant/q6_k.inc"
#include "quant/iq4_nl.inc"
#include "quant/iq4_xs.inc"
#include "quant/mxfp4.inc"
}  // namespace edgeinfer::EI_TARGET

#include "ops/quantize.inc"
#include "ops/elementwise.inc"
#include "ops/direct.inc"
#include "ops/prefill.inc"
#include "ops/float_matmul.inc"
#include "ops/dequantize.inc"
#include "ops/hadamard.inc"
#include "ops/kv_forms.inc"
#include "ops/attention.inc"
#include "ops/limits.inc"

namespace edgeinfer::EI_TARGET {

template <class Q, ActivationForm kForm>
constexpr TypeKernels kernels_of() {
  if constexpr (kForm == ActivationForm::Float)
    return {direct<DirectFloat, Q>, prefill_float<Q>, dequantize_float<Q>};
  else if constexpr (kForm == ActivationForm::Group256)
    return {direct<Direct256, Q>, prefill<Q, true>, dequantize256<Q>};
  else
    return {direct<Direct32, Q>, prefill<Q, false>, dequantize32<Q>};
}

constexpr size_t kScratchBytes = std::max({kDirectScratchBytes, kFloatScratchBytes, sizeof(PrefillScratch)});

template <class Kv>
constexpr KvKernels kv_kernels_of() {
  return {attend<Kv>, Kv::store, Kv::kRotated ? hadamard : nullptr};
}

#define EI_STRING(x) #x
#define EI_NAME(x) EI_STRING(x)
extern const KernelTable kTable;
const KernelTable kTable = {
    EI_NAME(EI_TARGET),
    {
#define EI_TYPE(name, id, values, bytes, form) kernels_of<name, ActivationForm::form>(),
#include "quant/types.inc"
#undef EI_TYPE
    },
    kScratchBytes,
    Panel::kRun,
    quantize32,
    quantize256,
    pack_panel32,
    pack_panel256,
    pack_panel_float,
    rms_norm,
    silu_mul,
    gelu_mul,
    softcap,
    softmax,
    {
#define EI_KV_TYPE(name, label, bytes) kv_kernels_of<Kv##name>(),
#include "quant/kv_types.inc"
#undef EI_KV_TYPE
    },
    combine,
    read_all,
    spin_float,
    spin_int8,
};

}  // namespace edgeinfer::EI_TARGET

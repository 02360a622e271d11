// AVX-512 F/BW/VL/DQ, with VNNI where the target has it. Rows of the direct kernels stay 256 bits wide (a
// block is 32 bytes); panels and floats use the full width. scalar.h says what each primitive means.
#pragma once

#define EI_WIDE 1
#include "simd/avx2.h"

namespace edgeinfer::EI_TARGET {

constexpr int kFloatRows = 4;
constexpr int kFloatCols = 4;
constexpr int kScoreRows = 8;  // query rows and vectors of the attention tile
constexpr int kScoreVecs = 2;

// --- panels: 16 tokens a vector ---------------------------------------------------------------------
struct Zmm {
  static constexpr int kLanes = 16;
  using Int = __m512i;
  using Float = __m512;
  static inline Int zero() { return _mm512_setzero_si512(); }
  static inline Int load(const void* p) { return _mm512_loadu_si512(p); }
  static inline Int splat(int32_t a) { return _mm512_set1_epi32(a); }
  static inline Int add_words(Int a, Int b) { return _mm512_add_epi16(a, b); }
  static inline Int add_ints(Int a, Int b) { return _mm512_add_epi32(a, b); }
  static inline Int times(Int a, Int b) { return _mm512_mullo_epi32(a, b); }
  static inline Int madd_words(Int a, Int b) { return _mm512_madd_epi16(a, b); }
  template <bool kSigned>
  static inline Int madd_bytes(Int w, Int x) {
    if constexpr (kSigned) {
      const __mmask64 negative = _mm512_movepi8_mask(w);
      const __m512i signed_x = _mm512_mask_sub_epi8(x, negative, _mm512_setzero_si512(), x);
      return _mm512_maddubs_epi16(_mm512_abs_epi8(w), signed_x);
    }
    return _mm512_maddubs_epi16(w, x);
  }
#if EI_VNNI
  static inline Int dot_bytes(Int acc, Int w, Int x) { return _mm512_dpbusd_epi32(acc, w, x); }
  static inline Int dot_words(Int acc, Int a, Int b) { return _mm512_dpwssd_epi32(acc, a, b); }
#else
  static inline Int dot_words(Int acc, Int a, Int b) { return add_ints(acc, madd_words(a, b)); }
#endif
  static inline Float to_float(Int a) { return _mm512_cvtepi32_ps(a); }
  static inline Float load_float(const float* p) { return _mm512_loadu_ps(p); }
  static inline void store_float(float* p, Float a) { _mm512_storeu_ps(p, a); }
  static inline Float scaled(Float a, float s) { return _mm512_mul_ps(a, _mm512_set1_ps(s)); }
  static inline Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
};
using Panel16 = PanelOf<Zmm>;
using Panel = Panel16;
using NarrowPanel = Panel8;

// --- 16 floats ------------------------------------------------------------------------------------
struct F32x16 {
  __m512 v;
};
static inline F32x16 splat16(float x) { return {_mm512_set1_ps(x)}; }
static inline F32x16 load16(const float* p) { return {_mm512_loadu_ps(p)}; }
static inline void store16(float* p, F32x16 a) { _mm512_storeu_ps(p, a.v); }
static inline F32x16 from_f16(const f16_bits* p) { return {_mm512_cvtph_ps(load_bytes(p))}; }
static inline void to_f16(f16_bits* p, F32x16 a) { store_bytes(p, _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT)); }
static inline F32x16 from_bf16(const uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_bytes(p)), 16))};
}
static inline F32x16 from_i8(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
// The permutation looks at four bits of an index.
static inline F32x16 lookup_nibbles(const int8_t* codebook, const std::byte* p, bool high) {
  const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm512_permutexvar_ps(high ? _mm512_srli_epi32(bytes, 4) : bytes, from_i8(codebook).v)};
}
static inline void to_i8(int8_t* p, F32x16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a.v)));
}
static inline F32x16 add(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
static inline F32x16 sub(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
static inline F32x16 mul(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
static inline F32x16 div(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
static inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
static inline F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
static inline F32x16 min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
static inline F32x16 abs16(F32x16 a) { return {_mm512_abs_ps(a.v)}; }
static inline F32x16 round16(F32x16 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
static inline F32x16 times_power2(F32x16 a, F32x16 n) {
  const __m512i bits = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23);
  return {_mm512_mul_ps(a.v, _mm512_castsi512_ps(bits))};
}
template <int kDistance>
static inline F32x16 swap_lanes(F32x16 a) {
  if constexpr (kDistance < 4) return {_mm512_permute_ps(a.v, kDistance == 1 ? 0xb1 : 0x4e)};
  return {_mm512_shuffle_f32x4(a.v, a.v, kDistance == 4 ? 0xb1 : 0x4e)};
}
static inline float sum16(F32x16 a) {
  const __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
static inline float max_of16(F32x16 a) { return _mm512_reduce_max_ps(a.v); }

}  // namespace edgeinfer::EI_TARGET

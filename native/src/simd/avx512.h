// AVX-512 F/BW/VL/DQ, with VNNI where the target has it. Rows of the direct kernels stay 256 bits wide (a
// block is 32 bytes); panels and floats use the full width. scalar.h says what each primitive means.
#pragma once

#define EI_WIDE 1
#include "simd/avx2.h"

namespace edgeinfer::EI_TARGET {

constexpr int kFloatRows = 4;
constexpr int kFloatCols = 4;
constexpr int kScoreRows = 4;

// --- panels: 16 tokens a vector ---------------------------------------------------------------------
static inline __m512i load64(const void* p) { return _mm512_loadu_si512(p); }
static inline __m512i splat_quad512(const void* w) {
  int32_t quad;
  std::memcpy(&quad, w, 4);
  return _mm512_set1_epi32(quad);
}
template <bool kSigned>
static inline __m512i madd_bytes512(__m512i w, __m512i x) {
  if constexpr (kSigned) {
    const __mmask64 negative = _mm512_movepi8_mask(w);
    const __m512i signed_x = _mm512_mask_sub_epi8(x, negative, _mm512_setzero_si512(), x);
    return _mm512_maddubs_epi16(_mm512_abs_epi8(w), signed_x);
  }
  return _mm512_maddubs_epi16(w, x);
}

struct Panel16 : TokenLanes {
  static constexpr int kLanes = 16;
  static constexpr int kRows = 4, kVecs = 2;
  static constexpr int kRowsAlone = 8;
  struct I {
    __m512i v;
  };
  using F = __m512;

  static inline I zero() { return {_mm512_setzero_si512()}; }
#if EI_VNNI
  static inline int32_t scale_word(int s) { return s; }

  template <int kRows, int kVecs, int kDepth>
  static inline void dot_quads(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, I (&sum)[kRows][kVecs]) {
    for (int k = 0; k < kDepth / 4; ++k) {
      __m512i xs[kVecs];
      for (int v = 0; v < kVecs; ++v) xs[v] = load64(x + v * x_stride + 64 * k);
      for (int r = 0; r < kRows; ++r) {
        const __m512i ws = splat_quad512(w + r * w_stride + 4 * k);
        for (int v = 0; v < kVecs; ++v) sum[r][v].v = _mm512_dpbusd_epi32(sum[r][v].v, ws, xs[v]);
      }
    }
  }
  template <int kRows, int kVecs, int kDepth, int kMaxMagnitude, bool kSigned>
  static inline void add(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, I (&sum)[kRows][kVecs]) {
    dot_quads<kRows, kVecs, kDepth>(w, w_stride, x, x_stride, sum);
  }
  template <int kRows, int kVecs, int kDepth, int kMaxMagnitude, bool kSigned>
  static inline void add_scaled(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, const int32_t* scale,
                                int scale_stride, I (&sum)[kRows][kVecs]) {
    I part[kRows][kVecs] = {};
    dot_quads<kRows, kVecs, kDepth>(w, w_stride, x, x_stride, part);
    for (int r = 0; r < kRows; ++r) {
      const __m512i s = _mm512_set1_epi32(scale[r * scale_stride]);
      for (int v = 0; v < kVecs; ++v) sum[r][v].v = _mm512_add_epi32(sum[r][v].v, _mm512_mullo_epi32(part[r][v].v, s));
    }
  }
#else
  // The scale in both words of a lane, for the widening multiply of words.
  static inline int32_t scale_word(int s) { return (s & 0xffff) * 0x10001; }

  template <int kRows, int kVecs, int kDepth, int kMaxMagnitude, bool kSigned>
  static inline void add_scaled(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, const int32_t* scale,
                                int scale_stride, I (&sum)[kRows][kVecs]) {
    // So many products of pairs fit a signed word before they must be widened.
    constexpr int kFit = kSigned ? 1 : 32767 / (kMaxMagnitude * 127 * 2);
    constexpr int kQuads = kDepth / 4, kGroup = kFit < kQuads ? kFit : kQuads;
    for (int k0 = 0; k0 < kQuads; k0 += kGroup) {
      __m512i part[kRows][kVecs];
      for (int k = k0; k < k0 + kGroup && k < kQuads; ++k) {
        __m512i xs[kVecs];
        for (int v = 0; v < kVecs; ++v) xs[v] = load64(x + v * x_stride + 64 * k);
        for (int r = 0; r < kRows; ++r) {
          const __m512i ws = splat_quad512(w + r * w_stride + 4 * k);
          for (int v = 0; v < kVecs; ++v) {
            const __m512i p = madd_bytes512<kSigned>(ws, xs[v]);
            part[r][v] = k == k0 ? p : _mm512_add_epi16(part[r][v], p);
          }
        }
      }
      for (int r = 0; r < kRows; ++r) {
        const __m512i s = _mm512_set1_epi32(scale[r * scale_stride]);
        for (int v = 0; v < kVecs; ++v) sum[r][v].v = _mm512_add_epi32(sum[r][v].v, _mm512_madd_epi16(part[r][v], s));
      }
    }
  }
  template <int kRows, int kVecs, int kDepth, int kMaxMagnitude, bool kSigned>
  static inline void add(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, I (&sum)[kRows][kVecs]) {
    static constexpr int32_t kOnes = 0x10001;
    add_scaled<kRows, kVecs, kDepth, kMaxMagnitude, kSigned>(w, w_stride, x, x_stride, &kOnes, 0, sum);
  }
#endif
  static inline I add_pair(I acc, const int16_t* sums, const int16_t* pair) {
    const __m512i m = splat_quad512(pair);
#if EI_VNNI
    return {_mm512_dpwssd_epi32(acc.v, load64(sums), m)};
#else
    return {_mm512_add_epi32(acc.v, _mm512_madd_epi16(load64(sums), m))};
#endif
  }
  static inline I times(const int32_t* sums, int32_t factor) {
    return {_mm512_mullo_epi32(load64(sums), _mm512_set1_epi32(factor))};
  }
  static inline I load_int(const int32_t* p) { return {load64(p)}; }
  static inline F to_float(I a) { return _mm512_cvtepi32_ps(a.v); }
  static inline F load(const float* p) { return _mm512_loadu_ps(p); }
  static inline void store(float* p, F a) { _mm512_storeu_ps(p, a); }
  static inline F scaled(F a, float s) { return _mm512_mul_ps(a, _mm512_set1_ps(s)); }
  static inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
};

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
static inline float sum16(F32x16 a) {
  const __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
static inline float max_of16(F32x16 a) { return _mm512_reduce_max_ps(a.v); }

}  // namespace edgeinfer::EI_TARGET

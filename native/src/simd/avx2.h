// AVX2 + FMA + F16C, with AVX-VNNI where the target has it; its 256-bit integer part also serves the
// AVX-512 targets. scalar.h says what each primitive means.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "quant/blocks.h"
#include "simd/x86_panels.h"

namespace edgeinfer::EI_TARGET {

constexpr bool kBiasSigned = EI_VNNI;  // with dpbusd, signed weights become w + 128 and the sums repay it

static inline float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline float f16_to_f32(f16_bits h) { return _cvtsh_ss(h); }
static inline f16_bits f32_to_f16(float f) { return f16_bits(_cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT)); }

// --- 32 bytes, 16 words, 8 dwords -----------------------------------------------------------------
using U8x32 = __m256i;
struct I16x16 {
  __m256i v;
};
struct I32x8 {
  __m256i v;
};

#if EI_VNNI
#ifdef __AVXVNNI__
static inline __m256i dpbusd(__m256i acc, __m256i u, __m256i s) { return _mm256_dpbusd_avx_epi32(acc, u, s); }
static inline __m256i dpwssd(__m256i acc, __m256i a, __m256i b) { return _mm256_dpwssd_avx_epi32(acc, a, b); }
#else
static inline __m256i dpbusd(__m256i acc, __m256i u, __m256i s) { return _mm256_dpbusd_epi32(acc, u, s); }
static inline __m256i dpwssd(__m256i acc, __m256i a, __m256i b) { return _mm256_dpwssd_epi32(acc, a, b); }
#endif
#else
static inline __m256i dpwssd(__m256i acc, __m256i a, __m256i b) { return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)); }
#endif

static inline U8x32 load_bytes(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
static inline void store_bytes(void* p, U8x32 a) { _mm256_storeu_si256(static_cast<__m256i*>(p), a); }
static inline U8x32 and_byte(U8x32 a, uint8_t mask) { return _mm256_and_si256(a, _mm256_set1_epi8(char(mask))); }
static inline U8x32 or_bytes(U8x32 a, U8x32 b) { return _mm256_or_si256(a, b); }
static inline U8x32 flip_sign_bits(U8x32 a) { return _mm256_xor_si256(a, _mm256_set1_epi8(char(0x80))); }
template <int kShift>
static inline U8x32 shift_right(U8x32 a) {
  return and_byte(_mm256_srli_epi16(a, kShift), uint8_t(0xff >> kShift));
}
template <int kShift>
static inline U8x32 shift_left(U8x32 a) {
  return and_byte(_mm256_slli_epi16(a, kShift), uint8_t(0xff << kShift));
}
static inline U8x32 join_low(U8x32 a, U8x32 h) { return or_bytes(and_byte(a, 15), _mm256_slli_epi16(h, 4)); }
static inline U8x32 join_high(U8x32 a, U8x32 h) { return or_bytes(shift_right<4>(a), h); }
static inline U8x32 nibbles16(const void* p) {
  const __m128i a = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return and_byte(_mm256_inserti128_si256(_mm256_castsi128_si256(a), _mm_srli_epi16(a, 4), 1), 15);
}
static inline U8x32 bits32(const void* p, uint8_t value) {
  uint32_t word;
  std::memcpy(&word, p, 4);
#ifdef EI_WIDE
  return _mm256_maskz_set1_epi8(word, char(value));
#else
  const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(int32_t(word)),
                                             _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i one = _mm256_set1_epi64x(int64_t(0x8040201008040201ull));
  return and_byte(_mm256_cmpeq_epi8(_mm256_and_si256(spread, one), one), value);
#endif
}
static inline U8x32 lookup(const int8_t* table, U8x32 index) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))), index);
}

static inline I16x16 scales8(uint64_t bytes) {
  return {_mm256_broadcastsi128_si256(_mm_cvtepi8_epi16(_mm_cvtsi64_si128(int64_t(bytes))))};
}
static inline I16x16 split_scales(__m128i bytes) {
  const __m128i split = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  return {_mm256_cvtepi8_epi16(_mm_shuffle_epi8(bytes, split))};
}
static inline I16x16 scales16(const int8_t* s) { return split_scales(_mm_loadu_si128(reinterpret_cast<const __m128i*>(s))); }
static inline I16x16 scales16(uint64_t first, uint64_t second) {
  return split_scales(_mm_set_epi64x(int64_t(second), int64_t(first)));
}
static inline void nibble_scales(const uint8_t* p, I16x16& s, I16x16& m) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), low = _mm_set1_epi8(15);
  s = split_scales(_mm_and_si128(bytes, low));
  m = split_scales(_mm_and_si128(_mm_srli_epi16(bytes, 4), low));
}
static inline I16x16 minus(I16x16 a, int b) { return {_mm256_sub_epi16(a.v, _mm256_set1_epi16(short(b)))}; }
static inline I16x16 times(I16x16 a, int factor) { return {_mm256_mullo_epi16(a.v, _mm256_set1_epi16(short(factor)))}; }

using Partial = I32x8;
static inline I32x8 add(I32x8 a, I32x8 b) { return {_mm256_add_epi32(a.v, b.v)}; }
static inline I32x8 load_i32x8(const int32_t* p) { return {load_bytes(p)}; }
static inline void store_i32x8(int32_t* p, I32x8 a) { store_bytes(p, a.v); }
// u8 x s8 in pairs to words. Signed weights: |w| times x with w's sign, which cannot saturate for |x| <= 127.
template <bool kSigned>
static inline __m256i madd_bytes(__m256i w, __m256i x) {
  if constexpr (kSigned) return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
  return _mm256_maddubs_epi16(w, x);
}
template <int kGroup, bool kSigned, int kSubs>
static inline Partial mac(Partial acc, U8x32 w, U8x32 x, I16x16 s) {
  const __m256i scale = _mm256_shuffle_epi8(s.v, _mm256_set1_epi16(short(0x0100 + 0x0202 * kGroup)));
  return {dpwssd(acc.v, madd_bytes<kSigned>(w, x), scale)};
}
template <int kSubs>
static inline Partial mac_words(Partial acc, I16x16 m, const int16_t* sums) {
  return {dpwssd(acc.v, m.v, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums)))};
}
template <bool kSigned>
static inline Partial dot(U8x32 w, U8x32 x) {
#if EI_VNNI
  if constexpr (!kSigned) return {dpbusd(_mm256_setzero_si256(), w, x)};
#endif
  return {_mm256_madd_epi16(madd_bytes<kSigned>(w, x), _mm256_set1_epi16(1))};
}

// --- 8 rows at a time -----------------------------------------------------------------------------
using F32x8 = __m256;
// Sums of neighbours, as hadd has them but in half the time: a's pairs and b's pairs, in some order.
static inline __m256i add_halves(__m256i a, __m256i b) {
  return _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
}
static inline __m256i add_quarters(__m256i a, __m256i b) {
  return _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}
static inline I32x8 reduce8(const Partial* r) {
  const __m256i a = add_quarters(add_halves(r[0].v, r[1].v), add_halves(r[2].v, r[3].v));
  const __m256i b = add_quarters(add_halves(r[4].v, r[5].v), add_halves(r[6].v, r[7].v));
  return {_mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31))};
}
static inline void transpose8(I32x8* r) {
  __m256i a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_epi32(r[i].v, r[i + 1].v);
    a[i + 1] = _mm256_unpackhi_epi32(r[i].v, r[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4)
    for (int k = 0; k < 2; ++k) {
      b[i + 2 * k] = _mm256_unpacklo_epi64(a[i + k], a[i + k + 2]);
      b[i + 2 * k + 1] = _mm256_unpackhi_epi64(a[i + k], a[i + k + 2]);
    }
  for (int i = 0; i < 4; ++i) {
    r[i].v = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
    r[i + 4].v = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
  }
}
static inline F32x8 zero_f32x8() { return _mm256_setzero_ps(); }
static inline F32x8 splat8(float x) { return _mm256_set1_ps(x); }
static inline F32x8 halves8(const f16_bits* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
static inline F32x8 load8(const float* p) { return _mm256_loadu_ps(p); }
static inline void store8(float* p, F32x8 a) { _mm256_storeu_ps(p, a); }
static inline F32x8 to_float(I32x8 a) { return _mm256_cvtepi32_ps(a.v); }
static inline I32x8 sub_splat(I32x8 a, int32_t b) { return {_mm256_sub_epi32(a.v, _mm256_set1_epi32(b))}; }
static inline F32x8 mul(F32x8 a, F32x8 b) { return _mm256_mul_ps(a, b); }
static inline F32x8 fma(F32x8 a, F32x8 b, F32x8 c) { return _mm256_fmadd_ps(a, b, c); }

// --- panels: 8 tokens a vector ----------------------------------------------------------------------
struct Ymm {
  static constexpr int kLanes = 8;
  using Int = __m256i;
  using Float = __m256;
  static inline Int zero() { return _mm256_setzero_si256(); }
  static inline Int load(const void* p) { return load_bytes(p); }
  static inline Int splat(int32_t a) { return _mm256_set1_epi32(a); }
  static inline Int add_words(Int a, Int b) { return _mm256_add_epi16(a, b); }
  static inline Int add_ints(Int a, Int b) { return _mm256_add_epi32(a, b); }
  static inline Int times(Int a, Int b) { return _mm256_mullo_epi32(a, b); }
  static inline Int madd_words(Int a, Int b) { return _mm256_madd_epi16(a, b); }
  template <bool kSigned>
  static inline Int madd_bytes(Int w, Int x) {
    return EI_TARGET::madd_bytes<kSigned>(w, x);
  }
#if EI_VNNI
  static inline Int dot_bytes(Int acc, Int w, Int x) { return dpbusd(acc, w, x); }
#endif
  static inline Int dot_words(Int acc, Int a, Int b) { return dpwssd(acc, a, b); }
  static inline Float to_float(Int a) { return _mm256_cvtepi32_ps(a); }
  static inline Float load_float(const float* p) { return _mm256_loadu_ps(p); }
  static inline void store_float(float* p, Float a) { _mm256_storeu_ps(p, a); }
  static inline Float scaled(Float a, float s) { return _mm256_mul_ps(a, _mm256_set1_ps(s)); }
  static inline Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
};
using Panel8 = PanelOf<Ymm>;

#ifndef EI_WIDE
using Panel = Panel8;
using NarrowPanel = Panel8;
constexpr int kFloatRows = 3;
constexpr int kFloatCols = 2;
constexpr int kScoreRows = 6;  // query rows and vectors of the attention tile
constexpr int kScoreVecs = 1;

// --- 16 floats in two registers -----------------------------------------------------------------------
struct F32x16 {
  __m256 lo, hi;
};
static inline F32x16 splat16(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static inline F32x16 load16(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
static inline void store16(float* p, F32x16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
static inline F32x16 from_f16(const f16_bits* p) { return {halves8(p), halves8(p + 8)}; }
static inline void to_f16(f16_bits* p, F32x16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}
static inline __m256 bf16x8(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
static inline F32x16 from_bf16(const uint16_t* p) { return {bf16x8(p), bf16x8(p + 8)}; }
static inline __m256 i8x8(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
static inline F32x16 from_i8(const int8_t* p) { return {i8x8(p), i8x8(p + 8)}; }
static inline F32x16 lookup_nibbles(const int8_t* codebook, const std::byte* p, bool high) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i index = _mm_and_si128(high ? _mm_srli_epi16(bytes, 4) : bytes, _mm_set1_epi8(15));
  const __m128i values = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codebook)), index);
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(values)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(values, values)))};
}
static inline void to_i8(int8_t* p, F32x16 a) {
  const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi));
  const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1)));
}
static inline F32x16 add(F32x16 a, F32x16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
static inline F32x16 sub(F32x16 a, F32x16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
static inline F32x16 mul(F32x16 a, F32x16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
static inline F32x16 div(F32x16 a, F32x16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
static inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
static inline F32x16 max(F32x16 a, F32x16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
static inline F32x16 min(F32x16 a, F32x16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
static inline F32x16 abs16(F32x16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
static inline F32x16 round16(F32x16 a) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, kMode), _mm256_round_ps(a.hi, kMode)};
}
static inline __m256 power2x8(__m256 n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
static inline F32x16 times_power2(F32x16 a, F32x16 n) {
  return {_mm256_mul_ps(a.lo, power2x8(n.lo)), _mm256_mul_ps(a.hi, power2x8(n.hi))};
}
template <int kDistance>
static inline F32x16 swap_lanes(F32x16 a) {
  if constexpr (kDistance == 8) return {a.hi, a.lo};
  if constexpr (kDistance == 4) return {_mm256_permute2f128_ps(a.lo, a.lo, 1), _mm256_permute2f128_ps(a.hi, a.hi, 1)};
  constexpr int kOrder = kDistance == 1 ? 0xb1 : 0x4e;
  return {_mm256_permute_ps(a.lo, kOrder), _mm256_permute_ps(a.hi, kOrder)};
}
static inline float sum8(__m256 a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
static inline float sum16(F32x16 a) { return sum8(_mm256_add_ps(a.lo, a.hi)); }
static inline float max_of16(F32x16 a) {
  const __m256 b = _mm256_max_ps(a.lo, a.hi);
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
#endif  // EI_WIDE

}  // namespace edgeinfer::EI_TARGET

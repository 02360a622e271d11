// Arm NEON: three targets, ARMv8.0 (neon), with the dot product (neon_dotprod), and with int8 matrix multiplication too
// (neon_i8mm; its panels are in neon_panels.h). scalar.h says what each primitive means.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "quant/blocks.h"

namespace edgeinfer::EI_TARGET {

constexpr bool kBiasSigned = false;  // sdot multiplies signed by signed; unsigned weights stay below 128
constexpr int kFloatRows = 2;
constexpr int kFloatCols = 2;
constexpr int kScoreRows = 6;  // query rows and vectors of the attention tile
constexpr int kScoreVecs = 1;

static inline float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline float f16_to_f32(f16_bits h) {
  __fp16 x;
  std::memcpy(&x, &h, 2);
  return float(x);
}
static inline f16_bits f32_to_f16(float f) {
  const __fp16 x = __fp16(f);
  f16_bits h;
  std::memcpy(&h, &x, 2);
  return h;
}

// --- 32 bytes, 16 words, 8 dwords -----------------------------------------------------------------
struct U8x32 {
  uint8x16_t lo, hi;
};
struct I16x16 {
  int16x8_t lo, hi;
};
struct I32x8 {
  int32x4_t lo, hi;
};

static inline U8x32 load_bytes(const void* p) {
  const auto* b = static_cast<const uint8_t*>(p);
  return {vld1q_u8(b), vld1q_u8(b + 16)};
}
static inline void store_bytes(void* p, U8x32 a) {
  auto* b = static_cast<uint8_t*>(p);
  vst1q_u8(b, a.lo);
  vst1q_u8(b + 16, a.hi);
}
static inline U8x32 nibbles16(const void* p) {
  const uint8x16_t a = vld1q_u8(static_cast<const uint8_t*>(p));
  return {vandq_u8(a, vdupq_n_u8(15)), vshrq_n_u8(a, 4)};
}
static inline U8x32 bits32(const void* p, uint8_t value) {
  const auto* b = static_cast<const uint8_t*>(p);
  const uint8x16_t one = vcombine_u8(vcreate_u8(0x8040201008040201ull), vcreate_u8(0x8040201008040201ull));
  const uint8x16_t lo = vcombine_u8(vdup_n_u8(b[0]), vdup_n_u8(b[1])), hi = vcombine_u8(vdup_n_u8(b[2]), vdup_n_u8(b[3]));
  const uint8x16_t v = vdupq_n_u8(value);
  return {vandq_u8(vtstq_u8(lo, one), v), vandq_u8(vtstq_u8(hi, one), v)};
}
static inline U8x32 flip_sign_bits(U8x32 a) { return {veorq_u8(a.lo, vdupq_n_u8(0x80)), veorq_u8(a.hi, vdupq_n_u8(0x80))}; }
template <int kShift>
static inline U8x32 shift_right(U8x32 a) {
  return {vshrq_n_u8(a.lo, kShift), vshrq_n_u8(a.hi, kShift)};
}
template <>
inline U8x32 shift_right<0>(U8x32 a) {
  return a;
}
template <int kShift>
static inline U8x32 shift_left(U8x32 a) {
  return {vshlq_n_u8(a.lo, kShift), vshlq_n_u8(a.hi, kShift)};
}
static inline U8x32 and_byte(U8x32 a, uint8_t mask) {
  return {vandq_u8(a.lo, vdupq_n_u8(mask)), vandq_u8(a.hi, vdupq_n_u8(mask))};
}
static inline U8x32 or_bytes(U8x32 a, U8x32 b) { return {vorrq_u8(a.lo, b.lo), vorrq_u8(a.hi, b.hi)}; }
static inline U8x32 join_low(U8x32 a, U8x32 h) { return {vsliq_n_u8(a.lo, h.lo, 4), vsliq_n_u8(a.hi, h.hi, 4)}; }
static inline U8x32 join_high(U8x32 a, U8x32 h) { return {vsriq_n_u8(h.lo, a.lo, 4), vsriq_n_u8(h.hi, a.hi, 4)}; }
static inline U8x32 lookup(const int8_t* table, U8x32 index) {
  const uint8x16_t t = vld1q_u8(reinterpret_cast<const uint8_t*>(table));
  return {vqtbl1q_u8(t, index.lo), vqtbl1q_u8(t, index.hi)};
}

static inline I16x16 scales8(uint64_t bytes) {
  const int16x8_t s = vmovl_s8(vcreate_s8(bytes));
  return {s, s};
}
static inline I16x16 split_scales(int8x16_t bytes) {
  return {vmovl_s8(vget_low_s8(vuzp1q_s8(bytes, bytes))), vmovl_s8(vget_low_s8(vuzp2q_s8(bytes, bytes)))};
}
static inline I16x16 scales16(const int8_t* s) { return split_scales(vld1q_s8(s)); }
static inline I16x16 scales16(uint64_t first, uint64_t second) {
  return split_scales(vcombine_s8(vcreate_s8(first), vcreate_s8(second)));
}
static inline void nibble_scales(const uint8_t* p, I16x16& s, I16x16& m) {
  const uint8x16_t bytes = vld1q_u8(p);
  s = split_scales(vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15))));
  m = split_scales(vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4)));
}
static inline I16x16 minus(I16x16 a, int b) {
  return {vsubq_s16(a.lo, vdupq_n_s16(int16_t(b))), vsubq_s16(a.hi, vdupq_n_s16(int16_t(b)))};
}
static inline I16x16 times(I16x16 a, int factor) {
  return {vmulq_n_s16(a.lo, int16_t(factor)), vmulq_n_s16(a.hi, int16_t(factor))};
}

static inline I32x8 load_i32x8(const int32_t* p) { return {vld1q_s32(p), vld1q_s32(p + 4)}; }
static inline void store_i32x8(int32_t* p, I32x8 a) {
  vst1q_s32(p, a.lo);
  vst1q_s32(p + 4, a.hi);
}

// Sums in any lanes, still to be added.
struct Partial {
  int32x4_t v;
};
static inline Partial add(Partial a, Partial b) { return {vaddq_s32(a.v, b.v)}; }

static inline int8x16_t as_signed(uint8x16_t a) { return vreinterpretq_s8_u8(a); }
// acc + a . b, in any lanes. Two products fit a word: 2 * 128 * 127 < 32768.
static inline int32x4_t dot16(int32x4_t acc, int8x16_t a, int8x16_t b) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(acc, a, b);
#else
  return vpadalq_s16(acc, vmlal_high_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), a, b));
#endif
}
template <bool kSigned>
static inline Partial dot(U8x32 w, U8x32 x) {
  const int32x4_t lo = dot16(vdupq_n_s32(0), as_signed(w.lo), as_signed(x.lo));
  return {dot16(lo, as_signed(w.hi), as_signed(x.hi))};
}

// Words as dwords, which multiply by lane: made once for four groups.
template <int kHalf>
static inline int32x4_t widened(int16x8_t s) {
  if constexpr (kHalf == 0) return vmovl_s16(vget_low_s16(s));
  return vmovl_high_s16(s);
}
template <int kGroup, bool kSigned, int kSubs>
static inline Partial mac(Partial acc, U8x32 w, U8x32 x, I16x16 s) {
  if constexpr (kSubs == 8) return {vmlaq_laneq_s32(acc.v, dot<kSigned>(w, x).v, widened<kGroup / 4>(s.lo), kGroup % 4)};
  const int32x4_t zero = vdupq_n_s32(0);
  const int32x4_t lo = dot16(zero, as_signed(w.lo), as_signed(x.lo)), hi = dot16(zero, as_signed(w.hi), as_signed(x.hi));
  acc.v = vmlaq_laneq_s32(acc.v, lo, widened<kGroup / 4>(s.lo), kGroup % 4);
  return {vmlaq_laneq_s32(acc.v, hi, widened<kGroup / 4>(s.hi), kGroup % 4)};
}
static inline int32x4_t mac8(int32x4_t acc, int16x8_t a, int16x8_t b) {
  return vmlal_high_s16(vmlal_s16(acc, vget_low_s16(a), vget_low_s16(b)), a, b);
}
template <int kSubs>
static inline Partial mac_words(Partial acc, I16x16 m, const int16_t* sums) {
  const int16x8_t a = vld1q_s16(sums), b = vld1q_s16(sums + 8);
  if constexpr (kSubs == 8) return {mac8(acc.v, m.lo, vaddq_s16(a, b))};
  return {mac8(mac8(acc.v, m.lo, a), m.hi, b)};
}

// --- 8 rows at a time -----------------------------------------------------------------------------
struct F32x8 {
  float32x4_t lo, hi;
};
static inline int32x4_t reduce4(const Partial* r) { return vpaddq_s32(vpaddq_s32(r[0].v, r[1].v), vpaddq_s32(r[2].v, r[3].v)); }
static inline I32x8 reduce8(const Partial* r) { return {reduce4(r), reduce4(r + 4)}; }
static inline int64x2_t pairs(int32x4_t a) { return vreinterpretq_s64_s32(a); }
static inline void transpose4(int32x4_t& a, int32x4_t& b, int32x4_t& c, int32x4_t& d) {
  const int64x2_t ab0 = pairs(vtrn1q_s32(a, b)), ab1 = pairs(vtrn2q_s32(a, b));
  const int64x2_t cd0 = pairs(vtrn1q_s32(c, d)), cd1 = pairs(vtrn2q_s32(c, d));
  a = vreinterpretq_s32_s64(vtrn1q_s64(ab0, cd0));
  b = vreinterpretq_s32_s64(vtrn1q_s64(ab1, cd1));
  c = vreinterpretq_s32_s64(vtrn2q_s64(ab0, cd0));
  d = vreinterpretq_s32_s64(vtrn2q_s64(ab1, cd1));
}
static inline void transpose8(I32x8* r) {
  transpose4(r[0].lo, r[1].lo, r[2].lo, r[3].lo);
  transpose4(r[4].hi, r[5].hi, r[6].hi, r[7].hi);
  transpose4(r[0].hi, r[1].hi, r[2].hi, r[3].hi);
  transpose4(r[4].lo, r[5].lo, r[6].lo, r[7].lo);
  for (int i = 0; i < 4; ++i) {
    const int32x4_t upper = r[i].hi;
    r[i].hi = r[i + 4].lo;
    r[i + 4].lo = upper;
  }
}
static inline float32x4_t halves4(const f16_bits* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
static inline F32x8 zero_f32x8() { return {vdupq_n_f32(0), vdupq_n_f32(0)}; }
static inline F32x8 splat8(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
static inline F32x8 halves8(const f16_bits* p) { return {halves4(p), halves4(p + 4)}; }
static inline F32x8 load8(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
static inline void store8(float* p, F32x8 a) {
  vst1q_f32(p, a.lo);
  vst1q_f32(p + 4, a.hi);
}
static inline F32x8 to_float(I32x8 a) { return {vcvtq_f32_s32(a.lo), vcvtq_f32_s32(a.hi)}; }
static inline I32x8 sub_splat(I32x8 a, int32_t b) { return {vsubq_s32(a.lo, vdupq_n_s32(b)), vsubq_s32(a.hi, vdupq_n_s32(b))}; }
static inline F32x8 mul(F32x8 a, F32x8 b) { return {vmulq_f32(a.lo, b.lo), vmulq_f32(a.hi, b.hi)}; }
static inline F32x8 fma(F32x8 a, F32x8 b, F32x8 c) { return {vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)}; }

// --- 16 floats in four registers ----------------------------------------------------------------------
struct F32x16 {
  float32x4_t v[4];
};
template <class F>
static inline F32x16 lanewise(F f) {
  return {{f(0), f(1), f(2), f(3)}};
}
static inline F32x16 splat16(float x) {
  return lanewise([x](int) { return vdupq_n_f32(x); });
}
static inline F32x16 load16(const float* p) {
  return lanewise([p](int i) { return vld1q_f32(p + 4 * i); });
}
static inline void store16(float* p, F32x16 a) {
  for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, a.v[i]);
}
static inline F32x16 from_f16(const f16_bits* p) {
  const float16x8_t a = vreinterpretq_f16_u16(vld1q_u16(p)), b = vreinterpretq_f16_u16(vld1q_u16(p + 8));
  return {{vcvt_f32_f16(vget_low_f16(a)), vcvt_high_f32_f16(a), vcvt_f32_f16(vget_low_f16(b)), vcvt_high_f32_f16(b)}};
}
static inline void to_f16(f16_bits* p, F32x16 a) {
  for (int i = 0; i < 4; ++i) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.v[i])));
}
static inline F32x16 from_bf16(const uint16_t* p) {
  return lanewise([p](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)); });
}
static inline F32x16 i8x16(int8x16_t b) {
  const int16x8_t lo = vmovl_s8(vget_low_s8(b)), hi = vmovl_s8(vget_high_s8(b));
  return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(lo))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(lo))),
           vcvtq_f32_s32(vmovl_s16(vget_low_s16(hi))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(hi)))}};
}
static inline F32x16 from_i8(const int8_t* p) { return i8x16(vld1q_s8(p)); }
static inline F32x16 lookup_nibbles(const int8_t* codebook, const std::byte* p, bool high) {
  const uint8x16_t bytes = vld1q_u8(reinterpret_cast<const uint8_t*>(p));
  return i8x16(vqtbl1q_s8(vld1q_s8(codebook), high ? vshrq_n_u8(bytes, 4) : vandq_u8(bytes, vdupq_n_u8(15))));
}
static inline void to_i8(int8_t* p, F32x16 a) {
  const int16x8_t lo = vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(a.v[0])), vqmovn_s32(vcvtnq_s32_f32(a.v[1])));
  const int16x8_t hi = vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(a.v[2])), vqmovn_s32(vcvtnq_s32_f32(a.v[3])));
  vst1q_s8(p, vcombine_s8(vqmovn_s16(lo), vqmovn_s16(hi)));
}
static inline F32x16 add(F32x16 a, F32x16 b) {
  return lanewise([&](int i) { return vaddq_f32(a.v[i], b.v[i]); });
}
static inline F32x16 sub(F32x16 a, F32x16 b) {
  return lanewise([&](int i) { return vsubq_f32(a.v[i], b.v[i]); });
}
static inline F32x16 mul(F32x16 a, F32x16 b) {
  return lanewise([&](int i) { return vmulq_f32(a.v[i], b.v[i]); });
}
static inline F32x16 div(F32x16 a, F32x16 b) {
  return lanewise([&](int i) { return vdivq_f32(a.v[i], b.v[i]); });
}
static inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return lanewise([&](int i) { return vfmaq_f32(c.v[i], a.v[i], b.v[i]); });
}
// A comparison and a select: NEON's own max and min treat NaN otherwise than the contract.
static inline F32x16 max(F32x16 a, F32x16 b) {
  return lanewise([&](int i) { return vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
}
static inline F32x16 min(F32x16 a, F32x16 b) {
  return lanewise([&](int i) { return vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
}
static inline F32x16 abs16(F32x16 a) {
  return lanewise([&](int i) { return vabsq_f32(a.v[i]); });
}
static inline F32x16 round16(F32x16 a) {
  return lanewise([&](int i) { return vrndnq_f32(a.v[i]); });
}
static inline F32x16 times_power2(F32x16 a, F32x16 n) {
  return lanewise([&](int i) {
    const int32x4_t bits = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n.v[i]), vdupq_n_s32(127)), 23);
    return vmulq_f32(a.v[i], vreinterpretq_f32_s32(bits));
  });
}
template <int kDistance>
static inline F32x16 swap_lanes(F32x16 a) {
  return lanewise([&](int i) {
    if constexpr (kDistance == 1) return vrev64q_f32(a.v[i]);
    if constexpr (kDistance == 2) return vextq_f32(a.v[i], a.v[i], 2);
    return a.v[i ^ (kDistance / 4)];
  });
}
static inline float sum16(F32x16 a) {
  const float32x4_t x = vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3]));
  const float32x2_t y = vadd_f32(vget_low_f32(x), vget_high_f32(x));
  return vget_lane_f32(y, 0) + vget_lane_f32(y, 1);
}
static inline float max_of16(F32x16 a) {
  float lanes[16];
  store16(lanes, a);
  float m = lanes[0];
  for (float x : lanes) m = x > m ? x : m;
  return m;
}

}  // namespace edgeinfer::EI_TARGET

#include "simd/neon_panels.h"

// The portable target: plain C++ on arrays. It defines what every primitive means; the other targets
// compute the same bits with their own instructions.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "quant/blocks.h"
#include "simd/token_lanes.h"

namespace edgeinfer::EI_TARGET {

constexpr bool kBiasSigned = false;  // signed weights are multiplied as they are
constexpr int kFloatRows = 2;        // rows and columns of the float tile
constexpr int kFloatCols = 2;
constexpr int kScoreRows = 2;  // query rows and vectors of the attention tile
constexpr int kScoreVecs = 2;

// --- one float at a time --------------------------------------------------------------------------
// Correctly rounded fma without the instruction: the product of two floats is exact in double; the sum is
// rounded to odd, so that the second rounding to float cannot be wrong (Boldo and Melquiond 2008).
static inline float fma1(float a, float b, float c) {
#ifdef __FMA__
  return __builtin_fmaf(a, b, c);
#elif defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  const double p = double(a) * double(b), x = double(c), s = p + x;
  const double bb = s - p, error = (p - (s - bb)) + (x - bb);
  uint64_t bits;
  std::memcpy(&bits, &s, 8);
  if (error != 0.0 && (bits & 1) == 0 && s - s == 0.0) {
    // The exact sum lies between s and its neighbour on the side of the error: take the odd one.
    bits += ((error > 0.0) == (s > 0.0)) ? 1 : uint64_t(-1);
  }
  double odd;
  std::memcpy(&odd, &bits, 8);
  return float(odd);
#endif
}

static inline float f16_to_f32(f16_bits h) {
  const uint32_t sign = uint32_t(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;
  uint32_t bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000u | (mantissa << 13) | (mantissa ? 0x400000u : 0u);
  } else if (exponent) {
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  } else {
    const float value = float(mantissa) * 5.9604644775390625e-8f;  // 2^-24
    std::memcpy(&bits, &value, 4);
    bits |= sign;
  }
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

static inline f16_bits f32_to_f16(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  const uint32_t sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000u) return f16_bits(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff));
  if (magnitude >= 0x477ff000u) return f16_bits(sign | 0x7c00);  // rounds to infinity
  if (magnitude < 0x38800000u) {                                 // subnormal: round in units of 2^-24
    float value;
    std::memcpy(&value, &magnitude, 4);
    return f16_bits(sign | uint32_t(__builtin_nearbyintf(value * 16777216.0f)));
  }
  const uint32_t rounded = magnitude - 0x38000000u + 0xfff + ((magnitude >> 13) & 1);
  return f16_bits(sign | (rounded >> 13));
}

// --- 32 bytes, 16 words, 8 dwords -----------------------------------------------------------------
struct U8x32 {
  uint8_t v[32];
};
struct I16x16 {
  int16_t v[16];
};
struct I32x8 {
  int32_t v[8];
};

static inline U8x32 load_bytes(const void* p) {
  U8x32 r;
  std::memcpy(r.v, p, 32);
  return r;
}
static inline void store_bytes(void* p, U8x32 a) { std::memcpy(p, a.v, 32); }
// 16 bytes: the low nibbles, then the high nibbles.
static inline U8x32 nibbles16(const void* p) {
  const uint8_t* b = static_cast<const uint8_t*>(p);
  U8x32 r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = b[i] & 15;
    r.v[i + 16] = b[i] >> 4;
  }
  return r;
}
// 32 bits, one per byte: `value` where the bit is set, else 0.
static inline U8x32 bits32(const void* p, uint8_t value) {
  const uint8_t* b = static_cast<const uint8_t*>(p);
  U8x32 r;
  for (int i = 0; i < 32; ++i) r.v[i] = (b[i / 8] >> (i % 8) & 1) ? value : 0;
  return r;
}
// a + 128 modulo 256.
static inline U8x32 flip_sign_bits(U8x32 a) {
  for (auto& x : a.v) x ^= 0x80;
  return a;
}
template <int kShift>
static inline U8x32 shift_right(U8x32 a) {
  for (auto& x : a.v) x = uint8_t(x >> kShift);
  return a;
}
template <int kShift>
static inline U8x32 shift_left(U8x32 a) {
  for (auto& x : a.v) x = uint8_t(x << kShift);
  return a;
}
static inline U8x32 and_byte(U8x32 a, uint8_t mask) {
  for (auto& x : a.v) x &= mask;
  return a;
}
static inline U8x32 or_bytes(U8x32 a, U8x32 b) {
  for (int i = 0; i < 32; ++i) a.v[i] |= b.v[i];
  return a;
}
// The low nibbles of a below the nibbles h, which are less than 16; the high nibbles of a below h, multiples of 16.
static inline U8x32 join_low(U8x32 a, U8x32 h) {
  for (int i = 0; i < 32; ++i) a.v[i] = uint8_t((a.v[i] & 15) | h.v[i] << 4);
  return a;
}
static inline U8x32 join_high(U8x32 a, U8x32 h) {
  for (int i = 0; i < 32; ++i) a.v[i] = uint8_t(a.v[i] >> 4 | h.v[i]);
  return a;
}
static inline U8x32 lookup(const int8_t* table, U8x32 index) {
  for (auto& x : index.v) x = uint8_t(table[x & 15]);
  return index;
}

// Scales of a superblock as words: lane g is the scale of the first half of group g of 32 values,
// lane 8 + g that of the second half.
static inline I16x16 scales8(uint64_t bytes) {
  int8_t s[8];
  std::memcpy(s, &bytes, 8);
  I16x16 r;
  for (int i = 0; i < 8; ++i) r.v[i] = r.v[i + 8] = s[i];
  return r;
}
static inline I16x16 scales16(const int8_t* s) {
  I16x16 r;
  for (int i = 0; i < 8; ++i) {
    r.v[i] = s[2 * i];
    r.v[i + 8] = s[2 * i + 1];
  }
  return r;
}
static inline I16x16 scales16(uint64_t first, uint64_t second) {
  int8_t s[16];
  std::memcpy(s, &first, 8);
  std::memcpy(s + 8, &second, 8);
  return scales16(s);
}
// 16 bytes: scales are the low nibbles, minimums the high ones.
static inline void nibble_scales(const uint8_t* p, I16x16& s, I16x16& m) {
  int8_t low[16], high[16];
  for (int i = 0; i < 16; ++i) {
    low[i] = int8_t(p[i] & 15);
    high[i] = int8_t(p[i] >> 4);
  }
  s = scales16(low);
  m = scales16(high);
}
static inline I16x16 minus(I16x16 a, int b) {
  for (auto& x : a.v) x = int16_t(x - b);
  return a;
}
static inline I16x16 times(I16x16 a, int factor) {
  for (auto& x : a.v) x = int16_t(x * factor);
  return a;
}

using Partial = I32x8;  // sums in any lanes, still to be added; Partial{} is zero
static inline I32x8 add(I32x8 a, I32x8 b) {
  for (int i = 0; i < 8; ++i) a.v[i] += b.v[i];
  return a;
}
static inline I32x8 load_i32x8(const int32_t* p) {
  I32x8 r;
  std::memcpy(r.v, p, 32);
  return r;
}
static inline void store_i32x8(int32_t* p, I32x8 a) { std::memcpy(p, a.v, 32); }
// acc += scale[kGroup] * w . x. kSubs is 8 where both halves of the group have the same scale, else 16.
template <int kGroup, bool kSigned, int kSubs>
static inline Partial mac(Partial acc, U8x32 w, U8x32 x, I16x16 s) {
  int lo = 0, hi = 0;
  for (int i = 0; i < 16; ++i) {
    lo += (kSigned ? int(int8_t(w.v[i])) : int(w.v[i])) * int8_t(x.v[i]);
    hi += (kSigned ? int(int8_t(w.v[i + 16])) : int(w.v[i + 16])) * int8_t(x.v[i + 16]);
  }
  acc.v[0] += lo * s.v[kGroup];
  acc.v[1] += hi * s.v[kGroup + 8];
  return acc;
}
// acc += m . sums, over the 16 words; kSubs as above.
template <int kSubs>
static inline Partial mac_words(Partial acc, I16x16 m, const int16_t* sums) {
  for (int i = 0; i < 16; ++i) acc.v[0] += int(m.v[i]) * sums[i];
  return acc;
}
template <bool kSigned>
static inline Partial dot(U8x32 w, U8x32 x) {
  Partial r{};
  for (int i = 0; i < 32; ++i) r.v[0] += (kSigned ? int(int8_t(w.v[i])) : int(w.v[i])) * int8_t(x.v[i]);
  return r;
}

// --- 8 rows at a time -----------------------------------------------------------------------------
struct F32x8 {
  float v[8];
};
static inline I32x8 reduce8(const Partial* rows) {
  I32x8 r{};
  for (int i = 0; i < 8; ++i)
    for (int k = 0; k < 8; ++k) r.v[i] += rows[i].v[k];
  return r;
}
static inline void transpose8(I32x8* rows) {
  for (int i = 0; i < 8; ++i)
    for (int k = 0; k < i; ++k) {
      const int32_t x = rows[i].v[k];
      rows[i].v[k] = rows[k].v[i];
      rows[k].v[i] = x;
    }
}
static inline F32x8 zero_f32x8() { return {}; }
static inline F32x8 splat8(float x) {
  F32x8 r;
  for (auto& y : r.v) y = x;
  return r;
}
static inline F32x8 halves8(const f16_bits* p) {
  F32x8 r;
  for (int i = 0; i < 8; ++i) r.v[i] = f16_to_f32(p[i]);
  return r;
}
static inline F32x8 load8(const float* p) {
  F32x8 r;
  std::memcpy(r.v, p, 32);
  return r;
}
static inline void store8(float* p, F32x8 a) { std::memcpy(p, a.v, 32); }
static inline F32x8 to_float(I32x8 a) {
  F32x8 r;
  for (int i = 0; i < 8; ++i) r.v[i] = float(a.v[i]);
  return r;
}
static inline I32x8 sub_splat(I32x8 a, int32_t b) {
  for (auto& x : a.v) x -= b;
  return a;
}
static inline F32x8 mul(F32x8 a, F32x8 b) {
  for (int i = 0; i < 8; ++i) a.v[i] *= b.v[i];
  return a;
}
static inline F32x8 fma(F32x8 a, F32x8 b, F32x8 c) {
  for (int i = 0; i < 8; ++i) c.v[i] = fma1(a.v[i], b.v[i], c.v[i]);
  return c;
}

// --- panels: kLanes tokens, four depths a lane --------------------------------------------------------
struct Panel16 : TokenLanes {
  static constexpr int kLanes = 16;           // tokens of a vector
  static constexpr int kRows = 4, kVecs = 1;  // rows and vectors of the tile when there are many tokens
  static constexpr int kRowsAlone = 4;        // rows of the tile with one vector
  struct I {
    int32_t v[16];
  };
  struct F {
    float v[16];
  };

  static inline I zero() { return {}; }
  // A scale as add_scaled wants it.
  static inline int32_t scale_word(int s) { return s; }
  // sum += scale * (w[0 .. kDepth) . x), for kRows rows and kVecs vectors. Rows of w are w_stride apart, vectors of x are
  // x_stride apart; a depth quad of a vector is 64 bytes after the last one.
  template <int kRows, int kVecs, int kDepth, int kMaxMagnitude, bool kSigned>
  static inline void add_scaled(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, const int32_t* scale,
                                int scale_stride, I (&sum)[kRows][kVecs]) {
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVecs; ++v)
        for (int k = 0; k < kDepth / 4; ++k)
          for (int t = 0; t < 16; ++t) {
            int s = 0;
            for (int i = 0; i < 4; ++i) {
              const int weight = kSigned ? int8_t(w[r * w_stride + 4 * k + i]) : w[r * w_stride + 4 * k + i];
              s += weight * x[v * x_stride + k * 64 + 4 * t + i];
            }
            sum[r][v].v[t] += s * scale[r * scale_stride];
          }
  }
  // The same with a scale of one.
  template <int kRows, int kVecs, int kDepth, int kMaxMagnitude, bool kSigned>
  static inline void add(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, I (&sum)[kRows][kVecs]) {
    static constexpr int32_t kOne = 1;
    add_scaled<kRows, kVecs, kDepth, kMaxMagnitude, kSigned>(w, w_stride, x, x_stride, &kOne, 0, sum);
  }
  // acc += pair . sums, two words a lane.
  static inline I add_pair(I acc, const int16_t* sums, const int16_t* pair) {
    for (int t = 0; t < 16; ++t) acc.v[t] += int(pair[0]) * sums[2 * t] + int(pair[1]) * sums[2 * t + 1];
    return acc;
  }
  static inline I times(const int32_t* sums, int32_t factor) {
    I r;
    for (int t = 0; t < 16; ++t) r.v[t] = factor * sums[t];
    return r;
  }
  static inline I load_int(const int32_t* p) {
    I r;
    std::memcpy(r.v, p, 64);
    return r;
  }
  static inline F to_float(I a) {
    F r;
    for (int i = 0; i < 16; ++i) r.v[i] = float(a.v[i]);
    return r;
  }
  static inline F load(const float* p) {
    F r;
    std::memcpy(r.v, p, 64);
    return r;
  }
  static inline void store(float* p, F a) { std::memcpy(p, a.v, 64); }
  static inline F scaled(F a, float s) {
    for (auto& x : a.v) x *= s;
    return a;
  }
  static inline F fma(F a, F b, F c) {
    for (int i = 0; i < 16; ++i) c.v[i] = fma1(a.v[i], b.v[i], c.v[i]);
    return c;
  }
};
using Panel = Panel16;
using NarrowPanel = Panel16;  // for few tokens

// --- 16 floats ------------------------------------------------------------------------------------
struct F32x16 {
  float v[16];
};
static inline F32x16 splat16(float x) {
  F32x16 r;
  for (auto& y : r.v) y = x;
  return r;
}
static inline F32x16 load16(const float* p) {
  F32x16 r;
  std::memcpy(r.v, p, 64);
  return r;
}
static inline void store16(float* p, F32x16 a) { std::memcpy(p, a.v, 64); }
static inline F32x16 from_f16(const f16_bits* p) {
  F32x16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = f16_to_f32(p[i]);
  return r;
}
static inline void to_f16(f16_bits* p, F32x16 a) {
  for (int i = 0; i < 16; ++i) p[i] = f32_to_f16(a.v[i]);
}
static inline F32x16 from_bf16(const uint16_t* p) {
  F32x16 r;
  for (int i = 0; i < 16; ++i) {
    const uint32_t b = uint32_t(p[i]) << 16;
    std::memcpy(&r.v[i], &b, 4);
  }
  return r;
}
static inline F32x16 from_i8(const int8_t* p) {
  F32x16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = float(p[i]);
  return r;
}
// Entries of a codebook of 16, by the low or the high nibbles of 16 bytes.
static inline F32x16 lookup_nibbles(const int8_t* codebook, const std::byte* p, bool high) {
  F32x16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = float(codebook[high ? uint8_t(p[i]) >> 4 : uint8_t(p[i]) & 15]);
  return r;
}
// Rounds to nearest even; |a| must be below 2^31.
static inline void to_i8(int8_t* p, F32x16 a) {
  for (int i = 0; i < 16; ++i) p[i] = int8_t(__builtin_nearbyintf(a.v[i]));
}
static inline F32x16 add(F32x16 a, F32x16 b) {
  for (int i = 0; i < 16; ++i) a.v[i] += b.v[i];
  return a;
}
static inline F32x16 sub(F32x16 a, F32x16 b) {
  for (int i = 0; i < 16; ++i) a.v[i] -= b.v[i];
  return a;
}
static inline F32x16 mul(F32x16 a, F32x16 b) {
  for (int i = 0; i < 16; ++i) a.v[i] *= b.v[i];
  return a;
}
static inline F32x16 div(F32x16 a, F32x16 b) {
  for (int i = 0; i < 16; ++i) a.v[i] /= b.v[i];
  return a;
}
static inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  for (int i = 0; i < 16; ++i) c.v[i] = fma1(a.v[i], b.v[i], c.v[i]);
  return c;
}
// As x86 does: the second operand where either is NaN.
static inline F32x16 max(F32x16 a, F32x16 b) {
  for (int i = 0; i < 16; ++i) a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return a;
}
static inline F32x16 min(F32x16 a, F32x16 b) {
  for (int i = 0; i < 16; ++i) a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
  return a;
}
static inline F32x16 abs16(F32x16 a) {
  for (auto& x : a.v) x = __builtin_fabsf(x);
  return a;
}
static inline F32x16 round16(F32x16 a) {
  for (auto& x : a.v) x = __builtin_nearbyintf(x);
  return a;
}
// a * 2^n, n integral in [-126, 127].
static inline F32x16 times_power2(F32x16 a, F32x16 n) {
  for (int i = 0; i < 16; ++i) {
    const uint32_t bits = uint32_t(int32_t(n.v[i]) + 127) << 23;
    float p;
    std::memcpy(&p, &bits, 4);
    a.v[i] *= p;
  }
  return a;
}
// Lane i gets lane i ^ kDistance, a power of two.
template <int kDistance>
static inline F32x16 swap_lanes(F32x16 a) {
  F32x16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i ^ kDistance];
  return r;
}
static inline float sum16(F32x16 a) {
  for (int w = 8; w >= 1; w /= 2)
    for (int i = 0; i < w; ++i) a.v[i] += a.v[i + w];
  return a.v[0];
}
static inline float max_of16(F32x16 a) {
  float m = a.v[0];
  for (float x : a.v) m = x > m ? x : m;
  return m;
}

}  // namespace edgeinfer::EI_TARGET

// Panels of the NEON targets: 4 tokens a vector. Products are added lane by lane (sdot, or widening products without it)
// or, with smmla, for two tokens and two rows an instruction. scalar.h says what each primitive means.
#pragma once

#include "simd/token_lanes.h"

namespace edgeinfer::EI_TARGET {

// What both share: sums with one lane a token.
struct Panel4 : TokenLanes {
  static constexpr int kLanes = 4;
  static constexpr int kRows = 4, kVecs = 2;  // sums and partial sums of the tile stay in registers
  static constexpr int kRowsAlone = 8;
  struct I {
    int32x4_t v;
  };
  struct F {
    float32x4_t v;
  };

  static constexpr bool kTakesSigned = true;
  static inline U8x32 without(U8x32 w, int offset) {
    const uint8x16_t o = vdupq_n_u8(uint8_t(offset));
    return {vsubq_u8(w.lo, o), vsubq_u8(w.hi, o)};
  }

  static inline I zero() { return {vdupq_n_s32(0)}; }
  static inline int32_t scale_word(int s) { return s; }
  static inline I add_pair(I acc, const int16_t* sums, const int16_t* pair) {
    // Not vld2: GCC loads it again for every row.
    const int32x4_t s = vreinterpretq_s32_s16(vld1q_s16(sums));
    uint32_t both;
    std::memcpy(&both, pair, 4);
    const int16x4_t m = vcreate_s16(both);
    return {vmlal_lane_s16(vmlal_lane_s16(acc.v, vmovn_s32(s), m, 0), vshrn_n_s32(s, 16), m, 1)};
  }
  static inline I times(const int32_t* sums, int32_t factor) { return {vmulq_n_s32(vld1q_s32(sums), factor)}; }
  static inline I load_int(const int32_t* p) { return {vld1q_s32(p)}; }
  static inline F to_float(I a) { return {vcvtq_f32_s32(a.v)}; }
  static inline F load(const float* p) { return {vld1q_f32(p)}; }
  static inline void store(float* p, F a) { vst1q_f32(p, a.v); }
  static inline F scaled(F a, float s) { return {vmulq_n_f32(a.v, s)}; }
  static inline F fma(F a, F b, F c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
};

#if defined(__ARM_FEATURE_MATMUL_INT8)

// Rows and tokens go in pairs. While it grows, sum[2 p][v] holds tokens 0 and 1 of vector v and sum[2 p + 1][v] tokens 2
// and 3, both for rows 2 p and 2 p + 1: lanes (token, row) 00 01 10 11.
struct Panel : Panel4 {
  static constexpr int kRun = 8, kTileRows = 2;

  // 32 unpacked bytes of one row, from its first run on.
  static inline void store_weights(uint8_t* tile, U8x32 w) {
    vst1_u8(tile, vget_low_u8(w.lo));
    vst1_u8(tile + 16, vget_high_u8(w.lo));
    vst1_u8(tile + 32, vget_low_u8(w.hi));
    vst1_u8(tile + 48, vget_high_u8(w.hi));
  }
  template <int kRows, int kVecs>
  static inline void begin(I (&sum)[kRows][kVecs], int v, I start) {
    const int32x4_t first = vzip1q_s32(start.v, start.v), second = vzip2q_s32(start.v, start.v);
    for (int r = 0; r < kRows; r += 2) {
      sum[r][v].v = first;
      sum[r + 1][v].v = second;
    }
  }
  template <int kRows, int kVecs>
  static inline void finish(I (&sum)[kRows][kVecs]) {
    for (int r = 0; r < kRows; r += 2)
      for (int v = 0; v < kVecs; ++v) {
        const int32x4_t first = sum[r][v].v, second = sum[r + 1][v].v;
        sum[r][v].v = vuzp1q_s32(first, second);
        sum[r + 1][v].v = vuzp2q_s32(first, second);
      }
  }
  template <int kRows, int kVecs, int kDepth, int kMaxMagnitude, bool kSigned>
  static inline void add(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, I (&sum)[kRows][kVecs]) {
    static_assert(kSigned || kMaxMagnitude < 128, "unsigned weights are multiplied as signed bytes");
#pragma GCC unroll 4
    for (int k = 0; k < kDepth / 8; ++k) {
      int8x16_t ws[kRows / 2];
      for (int p = 0; p < kRows / 2; ++p) ws[p] = vld1q_s8(reinterpret_cast<const int8_t*>(w) + p * 2 * w_stride + 16 * k);
      for (int v = 0; v < kVecs; ++v) {
        const int8_t* xs = x + v * x_stride + 8 * kPanelTokens * k;
        const int8x16_t first = vld1q_s8(xs), second = vld1q_s8(xs + 16);
        for (int p = 0; p < kRows / 2; ++p) {
          sum[2 * p][v].v = vmmlaq_s32(sum[2 * p][v].v, first, ws[p]);
          sum[2 * p + 1][v].v = vmmlaq_s32(sum[2 * p + 1][v].v, second, ws[p]);
        }
      }
    }
  }
  template <int kRows, int kVecs, int kDepth, int kMaxMagnitude, bool kSigned>
  static inline void add_scaled(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, const int32_t* scale,
                                int scale_stride, I (&sum)[kRows][kVecs]) {
    I part[kRows][kVecs];
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVecs; ++v) part[r][v] = zero();
    add<kRows, kVecs, kDepth, kMaxMagnitude, kSigned>(w, w_stride, x, x_stride, part);
    for (int r = 0; r < kRows; ++r) {
      // The scales of the two rows lie together: lanes row 0, 1, 0, 1.
      int64_t both;
      std::memcpy(&both, scale + r / 2 * 2 * scale_stride, 8);
      const int32x4_t s = vreinterpretq_s32_s64(vdupq_n_s64(both));
      for (int v = 0; v < kVecs; ++v) sum[r][v].v = vmlaq_s32(sum[r][v].v, part[r][v].v, s);
    }
  }
};

#else

struct Panel : Panel4 {
  template <int kRows, int kVecs, int kDepth, int kMaxMagnitude, bool kSigned>
  static inline void add(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, I (&sum)[kRows][kVecs]) {
    static_assert(kSigned || kMaxMagnitude < 128, "unsigned weights are multiplied as signed bytes");
#pragma GCC unroll 2
    for (int k = 0; k < kDepth; k += 16) {
      int8x16_t ws[kRows];
      for (int r = 0; r < kRows; ++r) ws[r] = vld1q_s8(reinterpret_cast<const int8_t*>(w) + r * w_stride + k);
      add16<kMaxMagnitude>(ws, x + kPanelTokens * k, x_stride, sum);
    }
  }
  template <int kRows, int kVecs, int kDepth, int kMaxMagnitude, bool kSigned>
  static inline void add_scaled(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, const int32_t* scale,
                                int scale_stride, I (&sum)[kRows][kVecs]) {
    I part[kRows][kVecs];
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVecs; ++v) part[r][v] = zero();
    add<kRows, kVecs, kDepth, kMaxMagnitude, kSigned>(w, w_stride, x, x_stride, part);
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVecs; ++v) sum[r][v].v = vmlaq_n_s32(sum[r][v].v, part[r][v].v, scale[r * scale_stride]);
  }

 private:
#if defined(__ARM_FEATURE_DOTPROD)
  // Depths 0 to 15 of all rows and tokens.
  template <int kMaxMagnitude, int kRows, int kVecs>
  static inline void add16(const int8x16_t (&ws)[kRows], const int8_t* x, int x_stride, I (&sum)[kRows][kVecs]) {
    add_quad<0>(ws, x, x_stride, sum);
    add_quad<1>(ws, x + 4 * kPanelTokens, x_stride, sum);
    add_quad<2>(ws, x + 8 * kPanelTokens, x_stride, sum);
    add_quad<3>(ws, x + 12 * kPanelTokens, x_stride, sum);
  }
  template <int kQuad, int kRows, int kVecs>
  static inline void add_quad(const int8x16_t (&ws)[kRows], const int8_t* x, int x_stride, I (&sum)[kRows][kVecs]) {
    for (int v = 0; v < kVecs; ++v) {
      const int8x16_t xs = vld1q_s8(x + v * x_stride);
      for (int r = 0; r < kRows; ++r) sum[r][v].v = vdotq_laneq_s32(sum[r][v].v, xs, ws[r], kQuad);
    }
  }
#else
  // The same in words, four of a token: as many quads as a word can sum, then they become dwords.
  struct Words {
    int16x8_t first, second;  // tokens 0 and 1, tokens 2 and 3
  };
  template <int kMaxMagnitude, int kRows, int kVecs>
  static inline void add16(const int8x16_t (&ws)[kRows], const int8_t* x, int x_stride, I (&sum)[kRows][kVecs]) {
    Words words[kRows][kVecs];
    start_words<0>(ws, x, x_stride, words);
    add_words<1>(ws, x + 4 * kPanelTokens, x_stride, words);
    if constexpr (4 * kMaxMagnitude * 127 > 32767) {
      add_to(words, sum);
      start_words<2>(ws, x + 8 * kPanelTokens, x_stride, words);
    } else {
      add_words<2>(ws, x + 8 * kPanelTokens, x_stride, words);
    }
    add_words<3>(ws, x + 12 * kPanelTokens, x_stride, words);
    add_to(words, sum);
  }
  template <int kQuad>
  static inline int8x8_t splat_quad(int8x16_t w) {
    return vreinterpret_s8_s32(vdup_laneq_s32(vreinterpretq_s32_s8(w), kQuad));
  }
  template <int kQuad, int kRows, int kVecs>
  static inline void start_words(const int8x16_t (&ws)[kRows], const int8_t* x, int x_stride, Words (&words)[kRows][kVecs]) {
    for (int v = 0; v < kVecs; ++v)
      for (int r = 0; r < kRows; ++r)
        words[r][v] = {vmull_s8(vld1_s8(x + v * x_stride), splat_quad<kQuad>(ws[r])),
                       vmull_s8(vld1_s8(x + v * x_stride + 8), splat_quad<kQuad>(ws[r]))};
  }
  template <int kQuad, int kRows, int kVecs>
  static inline void add_words(const int8x16_t (&ws)[kRows], const int8_t* x, int x_stride, Words (&words)[kRows][kVecs]) {
    for (int v = 0; v < kVecs; ++v)
      for (int r = 0; r < kRows; ++r) {
        words[r][v].first = vmlal_s8(words[r][v].first, vld1_s8(x + v * x_stride), splat_quad<kQuad>(ws[r]));
        words[r][v].second = vmlal_s8(words[r][v].second, vld1_s8(x + v * x_stride + 8), splat_quad<kQuad>(ws[r]));
      }
  }
  template <int kRows, int kVecs>
  static inline void add_to(const Words (&words)[kRows][kVecs], I (&sum)[kRows][kVecs]) {
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVecs; ++v)
        sum[r][v].v = vaddq_s32(sum[r][v].v, vpaddq_s32(vpaddlq_s16(words[r][v].first), vpaddlq_s16(words[r][v].second)));
  }
#endif
};

#endif

using NarrowPanel = Panel;

}  // namespace edgeinfer::EI_TARGET

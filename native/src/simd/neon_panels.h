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

  static inline I zero() { return {vdupq_n_s32(0)}; }
  static inline int32_t scale_word(int s) { return s; }
  static inline I add_pair(I acc, const int16_t* sums, const int16_t* pair) {
    const int16x4x2_t s = vld2_s16(sums);
    int32_t both;
    std::memcpy(&both, pair, 4);
    const int16x4_t m = vreinterpret_s16_s32(vdup_n_s32(both));
    return {vmlal_lane_s16(vmlal_lane_s16(acc.v, s.val[0], m, 0), s.val[1], m, 1)};
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
    for (int k = 0; k < kDepth / 16; ++k) {
      int8x16_t ws[kRows];
      for (int r = 0; r < kRows; ++r) ws[r] = vld1q_s8(reinterpret_cast<const int8_t*>(w) + r * w_stride + 16 * k);
      add_quad<0>(ws, x + 64 * (4 * k), x_stride, sum);
      add_quad<1>(ws, x + 64 * (4 * k + 1), x_stride, sum);
      add_quad<2>(ws, x + 64 * (4 * k + 2), x_stride, sum);
      add_quad<3>(ws, x + 64 * (4 * k + 3), x_stride, sum);
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
  // One quad of depth: of each row the quad with number kQuad of its 16 bytes.
  template <int kQuad, int kRows, int kVecs>
  static inline void add_quad(const int8x16_t (&ws)[kRows], const int8_t* x, int x_stride, I (&sum)[kRows][kVecs]) {
    for (int v = 0; v < kVecs; ++v) {
      const int8x16_t xs = vld1q_s8(x + v * x_stride);
      for (int r = 0; r < kRows; ++r) {
#if defined(__ARM_FEATURE_DOTPROD)
        sum[r][v].v = vdotq_laneq_s32(sum[r][v].v, xs, ws[r], kQuad);
#else
        const int32x4_t quad = vdupq_laneq_s32(vreinterpretq_s32_s8(ws[r]), kQuad);
        sum[r][v].v = dot_quads(sum[r][v].v, vreinterpretq_s8_s32(quad), xs);
#endif
      }
    }
  }
};

#endif

using NarrowPanel = Panel;

}  // namespace edgeinfer::EI_TARGET

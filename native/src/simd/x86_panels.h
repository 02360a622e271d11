// Panels of activations on x86: tokens in the 32-bit lanes of vectors of either width. scalar.h says what each function
// means; V is a kind of vectors.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "simd/token_lanes.h"

#if defined(__AVXVNNI__) || (defined(__AVX512VNNI__) && defined(__AVX512VL__))
#define EI_VNNI 1
#else
#define EI_VNNI 0
#endif

namespace edgeinfer::EI_TARGET {

#ifdef EI_WIDE
constexpr bool kManyRegisters = true;
#else
constexpr bool kManyRegisters = false;
#endif

template <class V>
struct PanelOf : TokenLanes {
  static constexpr int kLanes = V::kLanes;
  static constexpr int kRows = 4, kVecs = 2;
  static constexpr int kRowsAlone = kManyRegisters ? 8 : 4;
  struct I {
    typename V::Int v;
  };
  using F = typename V::Float;

  static inline I zero() { return {V::zero()}; }

  // With 16 registers what changes with every depth needs them all: other sums wait in memory.
  template <class Sum, int kRows, int kVecs>
  static inline void leave_in_memory(Sum (&sum)[kRows][kVecs]) {
    if constexpr (!kManyRegisters)
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVecs; ++v) asm volatile("" : "+m"(sum[r][v]));
  }

  template <int kRows, int kVecs, int kDepth, int kMaxMagnitude, bool kSigned>
  static inline void add(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, I (&sum)[kRows][kVecs]) {
#if EI_VNNI
    dot<kRows, kVecs, kDepth>(w, w_stride, x, x_stride, sum);
#else
    static const int32_t kOne = scale_word(1);
    add_scaled<kRows, kVecs, kDepth, kMaxMagnitude, kSigned>(w, w_stride, x, x_stride, &kOne, 0, sum);
#endif
  }

#if EI_VNNI
  static inline int32_t scale_word(int s) { return s; }

  template <int kRows, int kVecs, int kDepth, int kMaxMagnitude, bool kSigned>
  static inline void add_scaled(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, const int32_t* scale,
                                int scale_stride, I (&sum)[kRows][kVecs]) {
    leave_in_memory(sum);
    I part[kRows][kVecs];
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVecs; ++v) part[r][v] = zero();
    dot<kRows, kVecs, kDepth>(w, w_stride, x, x_stride, part);
    for (int r = 0; r < kRows; ++r) {
      const auto s = V::splat(scale[r * scale_stride]);
      for (int v = 0; v < kVecs; ++v) sum[r][v].v = V::add_ints(sum[r][v].v, V::times(part[r][v].v, s));
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
    constexpr int kQuads = kDepth / 4, kGroup = kFit >= kQuads ? kQuads : kFit >= 4 ? 4 : kFit >= 2 ? 2 : 1;
    // Short groups change the sums too often for them to wait in memory: there, two rows at a time fit the registers.
    constexpr int kAtOnce = !kManyRegisters && kGroup == 2 && kVecs > 1 ? 2 : kRows;
    for (int r0 = 0; r0 < kRows; r0 += kAtOnce) {
      for (int k0 = 0; k0 < kQuads; k0 += kGroup) {
        if constexpr (kGroup > 2) leave_in_memory(sum);
        typename V::Int part[kAtOnce][kVecs];
        for (int r = 0; r < kAtOnce; ++r)
          for (int v = 0; v < kVecs; ++v) part[r][v] = V::zero();
#pragma GCC unroll 2
        for (int k = k0; k < k0 + kGroup; ++k) {
          typename V::Int xs[kVecs];
          for (int v = 0; v < kVecs; ++v) xs[v] = V::load(x + v * x_stride + 64 * k);
          for (int r = 0; r < kAtOnce; ++r) {
            const auto ws = splat_quad(w + (r0 + r) * w_stride + 4 * k);
            for (int v = 0; v < kVecs; ++v) part[r][v] = V::add_words(part[r][v], V::template madd_bytes<kSigned>(ws, xs[v]));
          }
        }
        for (int r = 0; r < kAtOnce; ++r) {
          const auto s = V::splat(scale[(r0 + r) * scale_stride]);
          for (int v = 0; v < kVecs; ++v) sum[r0 + r][v].v = V::add_ints(sum[r0 + r][v].v, V::madd_words(part[r][v], s));
        }
      }
    }
  }
#endif

  static inline I add_pair(I acc, const int16_t* sums, const int16_t* pair) {
    return {V::dot_words(acc.v, V::load(sums), splat_quad(pair))};
  }
  static inline I times(const int32_t* sums, int32_t factor) { return {V::times(V::load(sums), V::splat(factor))}; }
  static inline I load_int(const int32_t* p) { return {V::load(p)}; }
  static inline F to_float(I a) { return V::to_float(a.v); }
  static inline F load(const float* p) { return V::load_float(p); }
  static inline void store(float* p, F a) { V::store_float(p, a); }
  static inline F scaled(F a, float s) { return V::scaled(a, s); }
  static inline F fma(F a, F b, F c) { return V::fma(a, b, c); }

 private:
  static inline typename V::Int splat_quad(const void* p) {
    int32_t quad;
    std::memcpy(&quad, p, 4);
    return V::splat(quad);
  }
#if EI_VNNI
  template <int kRows, int kVecs, int kDepth>
  static inline void dot(const uint8_t* w, int w_stride, const int8_t* x, int x_stride, I (&sum)[kRows][kVecs]) {
    for (int k = 0; k < kDepth / 4; ++k) {
      typename V::Int xs[kVecs];
      for (int v = 0; v < kVecs; ++v) xs[v] = V::load(x + v * x_stride + 64 * k);
      for (int r = 0; r < kRows; ++r) {
        const auto ws = splat_quad(w + r * w_stride + 4 * k);
        for (int v = 0; v < kVecs; ++v) sum[r][v].v = V::dot_bytes(sum[r][v].v, ws, xs[v]);
      }
    }
  }
#endif
};

}  // namespace edgeinfer::EI_TARGET

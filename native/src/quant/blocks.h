// Block layouts of the tensor types, as they lie in a GGUF file. Plain data: no functions, because this
// header is seen by every SIMD target and by the baseline (see native/README.md, "the compile rule").
// Source: the GGML tensor types of the GGUF specification; field order is the file format's.
#pragma once

#include <cstdint>

namespace edgeinfer {

using f16_bits = uint16_t;  // IEEE binary16, as bits

// --- 32 values a block, one or two float scales -----------------------------------------------------
struct BlockQ4_0 {
  f16_bits d;
  uint8_t qs[16];
};  // w = d (q - 8)
struct BlockQ4_1 {
  f16_bits d, m;
  uint8_t qs[16];
};  // w = d q + m
struct BlockQ5_0 {
  f16_bits d;
  uint8_t qh[4];
  uint8_t qs[16];
};  // w = d (q - 16)
struct BlockQ5_1 {
  f16_bits d, m;
  uint8_t qh[4];
  uint8_t qs[16];
};  // w = d q + m
struct BlockQ8_0 {
  f16_bits d;
  int8_t qs[32];
};  // w = d q
struct BlockIQ4_NL {
  f16_bits d;
  uint8_t qs[16];
};  // w = d codebook[q]
struct BlockMXFP4 {
  uint8_t e;
  uint8_t qs[16];
};  // w = 2^(e-127) e2m1(q)

// --- superblocks of 256 values: float scale(s), small integer scales per 16 or 32 values ------------
struct BlockQ2_K {
  uint8_t scales[16];
  uint8_t qs[64];
  f16_bits d, dmin;
};  // 16 x 16
struct BlockQ3_K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  f16_bits d;
};  // 16 x 16
struct BlockQ4_K {
  f16_bits d, dmin;
  uint8_t scales[12];
  uint8_t qs[128];
};  // 8 x 32
struct BlockQ5_K {
  f16_bits d, dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};  // 8 x 32
struct BlockQ6_K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  f16_bits d;
};  // 16 x 16
struct BlockIQ4_XS {
  f16_bits d;
  uint16_t scales_h;
  uint8_t scales_l[4];
  uint8_t qs[128];
};  // 8 x 32

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockIQ4_NL) == 18);
static_assert(sizeof(BlockMXFP4) == 17 && sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110);
static_assert(sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);
static_assert(sizeof(BlockIQ4_XS) == 136);

}  // namespace edgeinfer

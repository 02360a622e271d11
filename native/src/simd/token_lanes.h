// How panels of activations and unpacked tiles of weights lie, and where sums of a tile are, for targets whose
// instruction adds four neighbouring products to a lane. A target with another instruction defines the same names.
#pragma once

namespace edgeinfer::EI_TARGET {

struct TokenLanes {
  static constexpr int kRun = 4;       // depth values of one token that lie together in a panel
  static constexpr int kTileRows = 1;  // rows of a tile that are interleaved, in runs of kRun; above 1, store_weights is theirs

  // Whether products take signed bytes as cheaply as unsigned ones below 128: then `without` is theirs too.
  static constexpr bool kTakesSigned = false;

  // Sums start at `start` (one lane a token) in all rows. What follows may keep them in lanes of its own, until `finish`.
  template <class I, int kRows, int kVecs>
  static inline void begin(I (&sum)[kRows][kVecs], int v, I start) {
    for (int r = 0; r < kRows; ++r) sum[r][v] = start;
  }
  template <class I, int kRows, int kVecs>
  static inline void finish(I (&)[kRows][kVecs]) {}

  // Keeps the compiler from holding sums in registers that others need more.
  template <class Sum, int kRows, int kVecs>
  static inline void leave_in_memory(Sum (&)[kRows][kVecs]) {}
};

}  // namespace edgeinfer::EI_TARGET

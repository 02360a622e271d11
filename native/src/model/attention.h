// Attention of one step: which query rows meet which splits of which sequence, and the order in which the
// splits of a row are combined. The order is that of the positions, so nothing else in the batch shows in a result.
#pragma once

#include <vector>

#include "kernels/table.h"
#include "kv/pool.h"
#include "model/activations.h"
#include "model/spec.h"
#include "threads/pool.h"

namespace edgeinfer {

// One sequence's part of a step.
struct SequenceSlice {
  int first_token;       // index of its first new token in the step
  int n_tokens;          // new tokens
  int n_past;            // tokens in the cache before the step
  const int32_t* table;  // block ids
};

class Attention {
 public:
  Attention(const DecoderSpec& spec, KvPool& kv) : spec_(spec), kv_(kv) {}

  // By one thread, before the layers.
  void plan(const std::vector<SequenceSlice>& sequences, int n_threads);

  // By all threads, for every layer. q: (n_tokens, n_heads, kv_head_dim); out: (n_tokens, n_heads * head_dim).
  // Starts in a fresh phase and ends without a barrier.
  void run(const KernelTable& kernels, ThreadPool& pool, int layer, const float* q, float* out, Buffer<float>& scratch);

 private:
  // Query rows (token, head) that share keys: some tokens of a sequence, some heads of one kv head. All tokens lie in
  // one split, so that all rows end in the same one.
  struct Tile {
    const SequenceSlice* sequence;
    int token0, n_tokens;  // within the sequence's new tokens
    int kv_head, head0, n_heads;
    int n_splits;       // splits up to the tile's last position
    size_t first_part;  // of its splits, in parts_
  };

  int first_visible(int position, int window) const { return window > 0 && position >= window ? position - window + 1 : 0; }
  void run_split(const KernelTable& kernels, const Tile& tile, int split, int layer, const float* q, float* scratch, float* part);
  void fold(const KernelTable& kernels, const Tile& tile, int layer, float* state, const float* part, int split) const;
  void finish(const Tile& tile, const float* state, float* out) const;
  size_t part_floats() const { return size_t(part_rows_) * (size_t(spec_.kv_head_dim()) + 2); }
  int rows_of_split(const Tile& tile, int split, int layer) const;
  bool sees(const Tile& tile, int split, int layer) const { return rows_of_split(tile, split, layer) > 0; }

  const DecoderSpec& spec_;
  KvPool& kv_;
  std::vector<SequenceSlice> sequences_;
  std::vector<Tile> tiles_;
  bool by_split_ = false;  // few tiles: one piece of work is one split, combined in a second phase
  int part_rows_ = 0;      // of the largest tile
  size_t n_parts_ = 0;
  Buffer<float> parts_;
};

}  // namespace edgeinfer

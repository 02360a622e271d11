// Attention of one step: which query rows meet which splits of which sequence, and the order in which the
// splits of a row are combined. The order is that of the positions, so nothing else in the batch shows in a result.
#pragma once

#include <vector>

#include "kernels/table.h"
#include "kv/cache.h"
#include "model/activations.h"
#include "model/spec.h"
#include "threads/pool.h"

namespace edgeinfer {

// One sequence's part of a step.
struct SequenceSlice {
  int first_token;        // index of its first new token in the step
  int n_tokens;           // new tokens
  int n_past;             // tokens in the cache before the step
  const int32_t* tables;  // block ids in the first pool; what the new tokens do not see may be anything
  size_t table_stride;    // from there to those in the next pool

  const int32_t* table(int pool) const { return tables + size_t(pool) * table_stride; }
};

// (n_tokens, n_heads, kv_head_dim) each, after norm, rope and what the KV type wants.
struct Queries {
  const float* windows;  // as the tokens of their window see them
  const float* sinks;    // as the sinks see them; of layers that have such
};

class Attention {
 public:
  Attention(const DecoderSpec& spec, KvCache& kv) : spec_(spec), sinks_(spec.sink_span()), kv_(kv) {}

  // By one thread, before the layers.
  void plan(const std::vector<SequenceSlice>& sequences, int n_threads);

  // By all threads, for every layer. out: (n_tokens, n_heads * head_dim). Starts in a fresh phase and ends without a barrier.
  void run(const KernelTable& kernels, ThreadPool& pool, int layer, const Queries& q, float* out, Buffer<float>& scratch);

 private:
  // Query rows (token, head) that share keys: some tokens of a sequence, some heads of one kv head. All tokens lie in
  // one split, so that all rows end in the same one, and all or none of them have sinks before their window.
  struct Tile {
    const SequenceSlice* sequence;
    int token0, n_tokens;  // within the sequence's new tokens
    int kv_head, head0, n_heads;
    int n_splits;       // splits up to the tile's last position
    size_t first_part;  // of its pieces, in parts_

    int position(int token) const { return sequence->n_past + token0 + token; }
  };

  // A piece of a tile is one split of its tokens, or, behind all splits, its sinks.
  int pieces_of(const Tile& tile) const { return tile.n_splits + (sinks_.sinks > 0); }
  void run_piece(const KernelTable& kernels, const Tile& tile, int piece, int layer, const Queries& q, float* scratch,
                 float* part);
  void fold(const KernelTable& kernels, const Tile& tile, int layer, float* state, const float* part, int piece) const;
  void finish(const KernelTable& kernels, const Tile& tile, float* state, float* out) const;
  size_t part_floats() const { return size_t(part_rows_) * (size_t(spec_.kv_head_dim()) + 2); }
  int rows_of(const Tile& tile, int piece, int layer) const;
  bool sees(const Tile& tile, int piece, int layer) const { return rows_of(tile, piece, layer) > 0; }

  const DecoderSpec& spec_;
  const Span sinks_;  // of the layers that have some
  KvCache& kv_;
  std::vector<SequenceSlice> sequences_;
  std::vector<Tile> tiles_;
  bool by_piece_ = false;  // few tiles: each of their pieces is a piece of work, combined in a second phase
  int part_rows_ = 0;      // of the largest tile
  size_t n_parts_ = 0;
  Buffer<float> parts_;
};

}  // namespace edgeinfer

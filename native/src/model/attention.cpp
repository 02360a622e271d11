#include "model/attention.h"

#include <algorithm>
#include <cstring>

namespace edgeinfer {

// A part is what one piece gives for a tile, and the running state of a tile likewise: part_rows_ maxima, as many
// sums, then the values (part_rows_, kv_head_dim).

constexpr int kTilesPerThread = 4;  // enough that threads end together

void Attention::plan(const std::vector<SequenceSlice>& sequences, int n_threads) {
  sequences_ = sequences;
  tiles_.clear();
  n_parts_ = 0;
  const int group = spec_.n_heads / spec_.n_kv_heads;
  const int heads = std::min(group, kMaxQueryRows);
  // Large tiles read K and V once for many rows; a short step at a small depth wants enough tiles for every thread.
  int64_t n_pieces = 0;  // with one token a tile
  for (const SequenceSlice& s : sequences_)
    n_pieces += int64_t(s.n_tokens) * ((s.n_past + s.n_tokens - 1) / kKvSplit + 1) * spec_.n_kv_heads;
  const int64_t most_tokens = std::max(1, kMaxQueryRows / heads);
  const int tokens = int(std::clamp<int64_t>(n_pieces / (kTilesPerThread * n_threads), 1, most_tokens));
  int most_splits = 0;
  const int first_with_sinks = sinks_.sinks > 0 ? sinks_.window + sinks_.sinks : 0;
  for (const SequenceSlice& s : sequences_) {
    for (int t = 0; t < s.n_tokens;) {
      const int position = s.n_past + t;
      int n = std::min({tokens, s.n_tokens - t, kKvSplit - position % kKvSplit});
      if (position < first_with_sinks) n = std::min(n, first_with_sinks - position);
      const int n_splits = position / kKvSplit + 1;
      for (int kv_head = 0; kv_head < spec_.n_kv_heads; ++kv_head)
        for (int h = 0; h < group; h += heads) {
          tiles_.push_back({&s, t, n, kv_head, kv_head * group + h, std::min(heads, group - h), n_splits, n_parts_});
          n_parts_ += size_t(pieces_of(tiles_.back()));
        }
      most_splits = std::max(most_splits, n_splits);
      t += n;
    }
  }
  part_rows_ = tokens * heads;
  by_piece_ = most_splits > 1 && int(tiles_.size()) < kTilesPerThread * n_threads;
  if (by_piece_) parts_.get(n_parts_ * part_floats());
}

// Rows of later tokens may begin to see only in a later split; those that see this one come first.
int Attention::rows_of(const Tile& tile, int piece, int layer) const {
  const Span& span = spec_.layer_span[size_t(layer)];
  if (piece == tile.n_splits) return span.sees_sinks(tile.position(0)) ? tile.n_tokens * tile.n_heads : 0;
  int tokens = 0;
  while (tokens < tile.n_tokens && span.first(tile.position(tokens)) < (piece + 1) * kKvSplit) ++tokens;
  return tokens * tile.n_heads;
}

void Attention::run_piece(const KernelTable& kernels, const Tile& tile, int piece, int layer, const Queries& q, float* scratch,
                          float* part) {
  const Span& span = spec_.layer_span[size_t(layer)];
  const bool sinks = piece == tile.n_splits;
  const int dim = spec_.kv_head_dim(), base = sinks ? 0 : piece * kKvSplit;
  const int first_seen = sinks ? 0 : span.first(tile.position(0)),
            last_seen = sinks ? span.sinks - 1 : tile.position(tile.n_tokens - 1);
  const int32_t* table = tile.sequence->table(kv_.pool_of(layer));
  const std::byte* blocks[kKvSplit / kKvBlock];
  for (int b = 0; b < kKvSplit / kKvBlock; ++b) {
    const int index = base / kKvBlock + b;
    const bool seen = first_seen / kKvBlock <= index && index <= last_seen / kKvBlock;
    blocks[b] = seen ? kv_.block(layer, table[index]) : nullptr;
  }
  int first[kMaxQueryRows], last[kMaxQueryRows];
  float* queries = scratch;  // (rows, dim), gathered
  const int n_rows = rows_of(tile, piece, layer);
  for (int r = 0; r < n_rows; ++r) {
    const int token = tile.token0 + r / tile.n_heads, head = tile.head0 + r % tile.n_heads;
    const int position = tile.sequence->n_past + token;
    first[r] = sinks ? 0 : std::max(span.first(position) - base, 0);
    last[r] = sinks ? span.sinks : std::min(position + 1 - base, kKvSplit);
    const float* from = sinks ? q.sinks : q.windows;
    std::memcpy(queries + size_t(r) * dim, from + (size_t(tile.sequence->first_token + token) * spec_.n_heads + head) * dim,
                size_t(dim) * 4);
  }
  AttentionArgs args{};
  args.q = queries;
  args.q_stride = size_t(dim);
  args.n_rows = n_rows;
  args.head_dim = dim;
  args.blocks = blocks;
  args.k_offset = kv_.k_offset(layer, tile.kv_head);
  args.v_offset = kv_.v_offset(layer, tile.kv_head);
  args.first = first;
  args.last = last;
  args.scale = spec_.attention_scale;
  args.softcap = spec_.attention_softcap;
  args.scratch = scratch + size_t(part_rows_) * dim;
  args.max = part;
  args.sum = part + part_rows_;
  args.values = part + 2 * part_rows_;
  kernels.kv[int(kv_.type())].attend(args);
}

// Adds one piece to the running state of a tile; the first split that a row sees begins its state.
void Attention::fold(const KernelTable& kernels, const Tile& tile, int layer, float* state, const float* part, int piece) const {
  const Span& span = spec_.layer_span[size_t(layer)];
  const int dim = spec_.kv_head_dim(), n_rows = rows_of(tile, piece, layer);
  for (int r = 0; r < n_rows; ++r) {
    const int position = tile.position(r / tile.n_heads);
    const float* values = part + 2 * part_rows_ + size_t(r) * dim;
    float* into = state + 2 * part_rows_ + size_t(r) * dim;
    if (span.first(position) / kKvSplit == piece) {
      state[r] = part[r];
      state[part_rows_ + r] = part[part_rows_ + r];
      std::memcpy(into, values, size_t(dim) * 4);
    } else {
      kernels.combine(state + r, state + part_rows_ + r, into, part[r], part[part_rows_ + r], values, dim);
    }
  }
}

void Attention::finish(const KernelTable& kernels, const Tile& tile, float* state, float* out) const {
  const int dim = spec_.kv_head_dim();
  const auto rotate = kernels.kv[int(kv_.type())].rotate;
  for (int r = 0; r < tile.n_tokens * tile.n_heads; ++r) {
    const int token = tile.sequence->first_token + tile.token0 + r / tile.n_heads, head = tile.head0 + r % tile.n_heads;
    float* values = state + 2 * part_rows_ + size_t(r) * dim;
    if (rotate) rotate(values, dim);
    float* to = out + (size_t(token) * spec_.n_heads + head) * spec_.head_dim;
    const float sum = state[part_rows_ + r];
    for (int d = 0; d < spec_.head_dim; ++d) to[d] = values[d] / sum;
  }
}

void Attention::run(const KernelTable& kernels, ThreadPool& pool, int layer, const Queries& q, float* out,
                    Buffer<float>& scratch) {
  const size_t part = part_floats();
  const size_t working = size_t(part_rows_) * size_t(spec_.kv_head_dim()) + attention_scratch(spec_.kv_head_dim());
  float* work = scratch.get(working + 2 * part);
  float* state = work + working;
  const int n_tiles = int(tiles_.size());
  if (by_piece_) {
    int tile = 0;
    for (int i = pool.next_piece(); i < int(n_parts_); i = pool.next_piece()) {
      while (tile + 1 < n_tiles && size_t(i) >= tiles_[tile + 1].first_part) ++tile;
      const int piece = i - int(tiles_[tile].first_part);
      if (sees(tiles_[tile], piece, layer))
        run_piece(kernels, tiles_[tile], piece, layer, q, work, parts_.data() + size_t(i) * part);
    }
    pool.barrier();
  }
  for (int i = pool.next_piece(); i < n_tiles; i = pool.next_piece()) {
    const Tile& tile = tiles_[n_tiles - 1 - i];  // the longest first
    for (int piece = 0; piece < pieces_of(tile); ++piece) {
      if (!sees(tile, piece, layer)) continue;
      float* from = by_piece_ ? parts_.data() + (tile.first_part + size_t(piece)) * part : state + part;
      if (!by_piece_) run_piece(kernels, tile, piece, layer, q, work, from);
      fold(kernels, tile, layer, state, from, piece);
    }
    finish(kernels, tile, state, out);
  }
}

}  // namespace edgeinfer

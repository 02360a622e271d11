// KernelTable: what a SIMD target offers, at the grain of "these rows of this matrix". Plain data and
// function pointers only: seen by every target (native/README.md, "the compile rule").
//
// Exactness: for every output the float operations and their order are part of the contract, the same in
// every kernel of every target:
//   Group32 / Group256 types: acc = 0; for each block in order: acc = fma(d_w * d_x, float(isum), acc), then,
//     where the type has a float minimum, acc = fma(m_w * d_x, float(msum), acc); isum and msum are exact.
//   Float types: 16 lanes, lane i sums the products of depths i, i + 16, ... in order by fma; the lanes
//     are added as a tree (i with i + 8, + 4, + 2, + 1).
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/types.h"

namespace edgeinfer {

constexpr int kSuperblock = 256;     // values that share one activation scale in Group256
constexpr int kPanelTokens = 16;     // tokens interleaved in one activation panel
constexpr int kRowTile = 32;         // rows of one prefill tile
constexpr int kFewTokens = 64;       // up to so many columns a prefill kernel fetches ahead and wants long runs of rows
constexpr int kSumPairs = 12;        // pairs of sums of a superblock in a panel: 8 of 16 values, 4 of 32
constexpr int kMaxDirectTokens = 4;  // up to so many columns the direct (decode) kernels run
constexpr int kKvBlock = 32;         // tokens in one block of the KV cache
constexpr int kKvSplit = 256;        // tokens in one split of attention, counted from position 0
constexpr int kMaxQueryRows = 64;    // query rows of one attention task
constexpr int kMaxScoreRows = 8;     // of those, rows that a kernel takes together

// Activations of n tokens, quantized to int8 in groups of 32 or 256 (symmetric, round to nearest even).
// Row form serves the direct kernels, panel form the prefill kernels; both hold the same numbers.
struct QuantizedActivations {
  int n_tokens;
  int n_in;             // depth, a multiple of the group
  int8_t* q;            // (n_tokens, n_in)
  float* d;             // (n_tokens, n_in / group)
  int16_t* sums;        // Group32: (n_tokens, n_in / 32); Group256: (n_tokens, n_in / 256, 2, 8): sums of 16
                        // values, first the first halves of each 32, then the second halves
  int8_t* panel_q;      // (n_panels, n_in / run, 16, run): runs of KernelTable::panel_run depth values of 16 tokens
  float* panel_d;       // (n_panels, n_in / group, 16)
  int16_t* panel_sums;  // Group32: int32 (n_panels, n_in / 32, 16); Group256: (n_panels, n_in / 256, kSumPairs, 16, 2):
                        // sums of 16 values in pairs, then sums of 32 values in pairs
};

// Rows [row0, row1) of a matrix times some tokens. out[token * out_stride + row].
struct MatmulArgs {
  const std::byte* weights;  // row 0 of the matrix
  size_t row_bytes;
  int n_in;
  int row0, row1;
  const float* x;                    // (n_tokens, n_in), direct kernels of Float types
  const float* panel_x;              // as pack_panel_float leaves them, prefill kernels of Float types
  const QuantizedActivations* acts;  // the other types
  const int* columns;                // direct kernels: which tokens; null: 0 .. n_columns - 1
  int n_columns;
  const int* out_columns;  // direct kernels: where each column is stored; null: as columns
  float* out;
  size_t out_stride;
  std::byte* scratch;  // scratch_bytes, private to the thread
};

// One kv head of one sequence, one split of its tokens, several query rows.
struct AttentionArgs {
  const float* q;  // (n_rows, q_stride)
  size_t q_stride;
  int n_rows;                      // <= kMaxQueryRows
  int head_dim;                    // a multiple of 32
  const std::byte* const* blocks;  // KV blocks of this split, (kKvSplit / kKvBlock) base pointers
  size_t k_offset, v_offset;       // of this layer and kv head within a block
  const int* first;                // (n_rows) visible tokens of this split: [first, last)
  const int* last;
  float scale;
  float softcap;   // 0: none
  float* scratch;  // attention_scratch(head_dim) floats
  float* max;      // out (n_rows)
  float* sum;      // out (n_rows)
  float* values;   // out (n_rows, head_dim), not yet divided by sum
};

// Scores of some rows, and K and V of a split as floats.
constexpr size_t attention_scratch(int head_dim) { return size_t(kKvSplit) * (size_t(kMaxScoreRows) + 2 * size_t(head_dim)); }

// One type of the KV cache. Queries, keys and values go through `rotate` before, and what attention gives for a query goes
// through it after its splits are combined: an orthonormal transform that is its own inverse, so that scores stay and
// values come back.
struct KvKernels {
  void (*attend)(const AttentionArgs&);
  // One token of one kv head into a block: K transposed (head_dim, kKvBlock), V (kKvBlock, head_dim).
  void (*store)(const float* k, const float* v, std::byte* k_base, std::byte* v_base, int slot, int head_dim);
  void (*rotate)(float* x, int head_dim);  // in place; null: the type wants none
};

struct TypeKernels {
  void (*direct)(const MatmulArgs&);   // any n_columns, in groups of up to 4
  void (*prefill)(const MatmulArgs&);  // columns 0 .. n_columns - 1
  void (*dequantize)(const std::byte* row, float* out, int n);
};

struct KernelTable {
  const char* name;
  TypeKernels types[kTensorTypeCount];
  size_t scratch_bytes;
  int panel_run;  // depth values of one token that lie together in an int8 panel

  void (*quantize32)(const float* x, int token, const QuantizedActivations& out);
  void (*quantize256)(const float* x, int token, const QuantizedActivations& out);
  // One panel of the rows `tokens` (n <= kPanelTokens); lanes beyond them are zeros.
  void (*pack_panel32)(int panel, const int* tokens, int n, const QuantizedActivations& acts);
  void (*pack_panel256)(int panel, const int* tokens, int n, const QuantizedActivations& acts);
  // panels: (n_panels, kPanelTokens, n_in rounded up to 16), in the order that the target's prefill kernels read.
  void (*pack_panel_float)(int panel, const int* tokens, int n, const float* x, int n_in, float* panels);

  void (*rms_norm)(const float* x, const float* weight, float* out, int n, float eps);
  void (*silu_mul)(float* gate_inout, const float* up, int n);  // gate = silu(gate) * up
  void (*gelu_mul)(float* gate_inout, const float* up, int n);  // tanh approximation
  void (*softcap)(float* x, int n, float cap);
  void (*softmax)(float* x, int n);  // in place, router

  KvKernels kv[kKvTypeCount];
  // Folds split (m, l, o) into the running (max, sum, values).
  void (*combine)(float* max, float* sum, float* values, const float m, const float l, const float* o, int head_dim);
  // Limits of a core, for measurements.
  uint8_t (*read_all)(const std::byte* bytes, size_t n);  // n: a multiple of 128
  int64_t (*spin_float)(int rounds, float* sink);         // sink: (64); returns multiply-adds done
  int64_t (*spin_int8)(int rounds, const uint8_t* w, const int8_t* x, int32_t* sink);
};

// Bytes of K (or V) of one kv head in one block.
constexpr size_t kv_head_bytes(KvType type, int head_dim) {
  return size_t(head_dim / 32) * kKvBlock * size_t(kKvTypes[int(type)].bytes);
}

// The best table this processor can run, or the one that EDGEINFER_TARGET names.
const KernelTable& kernels();
// Every table compiled in that this processor can run, best last; null-terminated.
const KernelTable* const* available_kernels();

}  // namespace edgeinfer

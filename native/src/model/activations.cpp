#include "model/activations.h"

#include <algorithm>

namespace edgeinfer {

QuantizedActivations Activations::Storage::shape(int n_tokens, int n_in, int group) {
  const size_t n = size_t(n_tokens), groups = size_t(n_in / group);
  const size_t padded = (n + 2 * kPanelTokens - 1) / kPanelTokens * kPanelTokens;
  QuantizedActivations a{};
  a.n_tokens = n_tokens;
  a.n_in = n_in;
  a.q = q.get(n * n_in);
  a.d = d.get(n * groups);
  a.sums = sums.get(n * groups * (group == 32 ? 1 : 16));
  if (n_tokens > kMaxDirectTokens) {
    a.panel_q = panel_q.get(padded * n_in);
    a.panel_d = panel_d.get(padded * groups);
    a.panel_sums = panel_sums.get(padded * groups * (group == 32 ? 2 : 2 * kSumPairs));
  }
  return a;
}

void Activations::shape(int n_tokens, int n_in) {
  n_tokens_ = n_tokens;
  n_in_ = n_in;
  x_ = storage_.get(size_t(n_tokens) * size_t(n_in));
  if (n_in % 32 == 0) q32_ = s32_.shape(n_tokens, n_in, 32);
  if (n_in % kSuperblock == 0) q256_ = s256_.shape(n_tokens, n_in, kSuperblock);
  if (n_tokens > kMaxDirectTokens)
    panels_ = panel_storage_.get(size_t(n_panels()) * kPanelTokens * size_t((n_in + 15) / 16 * 16));
}

void Activations::quantize(const KernelTable& kernels, int token, Forms forms) {
  if (forms.group32) kernels.quantize32(row(token), token, q32_);
  if (forms.group256) kernels.quantize256(row(token), token, q256_);
}

void Activations::pack(const KernelTable& kernels, int panel, Forms forms) {
  if (forms.floats) kernels.pack_panel_float(panel, x_, n_tokens_, n_in_, panels_);
  if (forms.group32) kernels.pack_panel32(panel, q32_);
  if (forms.group256) kernels.pack_panel256(panel, q256_);
}

size_t Activations::bytes() const { return storage_.bytes() + panel_storage_.bytes() + s32_.bytes() + s256_.bytes(); }

namespace {

// Rows of one piece of work: one tile when many tokens share the unpacked rows; otherwise enough for a long read, and few
// enough that the last pieces even out the threads.
int rows_per_piece(int total_rows, int n_threads, int n_columns) {
  if (n_columns > kNarrowTokens) return kRowTile;
  const int even = total_rows / (n_threads * 8);
  return std::clamp(even / 8 * 8, 8, 128);
}

}  // namespace

void multiply(const KernelTable& kernels, ThreadPool& pool, const Activations& x, const Product* products, int n_products,
              Buffer<std::byte>& scratch) {
  int total_rows = 0;
  for (int i = 0; i < n_products; ++i) total_rows += products[i].matrix->n_rows;
  const bool prefill = products[0].columns == nullptr && x.n_tokens() > kMaxDirectTokens;
  const int step = rows_per_piece(total_rows, pool.size(), prefill ? x.n_tokens() : 1);

  int piece = pool.next_piece(), first = 0;
  for (int i = 0; i < n_products; ++i) {
    const Product& p = products[i];
    const Matrix& m = *p.matrix;
    const int n_pieces = (m.n_rows + step - 1) / step;
    for (; piece < first + n_pieces; piece = pool.next_piece()) {
      const TensorTypeInfo& type = kTensorTypes[int(m.type)];
      MatmulArgs args{};
      args.weights = m.data + size_t(p.slice) * m.slice_bytes();
      args.row_bytes = m.row_bytes;
      args.n_in = m.n_in;
      args.row0 = (piece - first) * step;
      args.row1 = std::min(args.row0 + step, m.n_rows);
      args.x = x.rows();
      args.panel_x = x.panels();
      args.acts = x.of(type.form);
      args.columns = p.columns;
      args.out_columns = p.out_columns;
      args.n_columns = p.columns ? p.n_columns : x.n_tokens();
      args.out = p.out;
      args.out_stride = p.out_stride;
      if (prefill) args.scratch = scratch.get(kernels.scratch_bytes(m.n_in));
      const TypeKernels& k = kernels.types[int(m.type)];
      (prefill ? k.prefill : k.direct)(args);
    }
    first += n_pieces;
  }
}

}  // namespace edgeinfer

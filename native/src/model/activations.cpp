#include "model/activations.h"

#include <algorithm>
#include <numeric>

namespace edgeinfer {

QuantizedActivations Activations::Storage::shape(int n_tokens, int n_in, int group, int n_panels) {
  const size_t n = size_t(n_tokens), groups = size_t(n_in / group);
  QuantizedActivations a{};
  a.n_tokens = n_tokens;
  a.n_in = n_in;
  a.q = q.get(n * n_in);
  a.d = d.get(n * groups);
  a.sums = sums.get(n * groups * (group == 32 ? 1 : 16));
  if (n_panels > 0) {
    const size_t padded = size_t(n_panels + 1) * kPanelTokens;
    a.panel_q = panel_q.get(padded * n_in);
    a.panel_d = panel_d.get(padded * groups);
    a.panel_sums = panel_sums.get(padded * groups * (group == 32 ? 2 : 2 * kSumPairs));
  }
  return a;
}

void Activations::shape(int n_tokens, int n_in, int n_panels) {
  n_tokens_ = n_tokens;
  n_in_ = n_in;
  x_ = storage_.get(size_t(n_tokens) * size_t(n_in));
  if (n_in % 32 == 0) q32_ = s32_.shape(n_tokens, n_in, 32, n_panels);
  if (n_in % kSuperblock == 0) q256_ = s256_.shape(n_tokens, n_in, kSuperblock, n_panels);
  if (n_panels > 0) panels_ = panel_storage_.get(size_t(n_panels) * kPanelTokens * size_t((n_in + 15) / 16 * 16));
}

void Activations::quantize(const KernelTable& kernels, int token, Forms forms) {
  if (forms.group32) kernels.quantize32(row(token), token, q32_);
  if (forms.group256) kernels.quantize256(row(token), token, q256_);
}

void Activations::pack(const KernelTable& kernels, int panel, Forms forms) {
  int tokens[kPanelTokens];
  std::iota(tokens, tokens + kPanelTokens, panel * kPanelTokens);
  pack(kernels, panel, forms, tokens, std::min(kPanelTokens, n_tokens_ - panel * kPanelTokens));
}

void Activations::pack(const KernelTable& kernels, int panel, Forms forms, const int* tokens, int n) {
  if (forms.floats) kernels.pack_panel_float(panel, tokens, n, x_, n_in_, panels_);
  if (forms.group32) kernels.pack_panel32(panel, tokens, n, q32_);
  if (forms.group256) kernels.pack_panel256(panel, tokens, n, q256_);
}

QuantizedActivations Activations::of(ActivationForm form, int first_panel) const {
  QuantizedActivations a = *of(form);
  const bool small = form == ActivationForm::Group32;
  const size_t tokens = size_t(first_panel) * kPanelTokens, groups = size_t(a.n_in / (small ? 32 : kSuperblock));
  a.panel_q += tokens * size_t(a.n_in);
  a.panel_d += tokens * groups;
  a.panel_sums += tokens * groups * (small ? 2 : 2 * kSumPairs);
  return a;
}

namespace {

// Rows of one piece of work: one tile when many tokens share the unpacked rows; otherwise enough for a long read, and few
// enough that the last pieces even out the threads.
int rows_per_piece(int total_rows, int n_threads, int n_columns) {
  if (n_columns > kFewTokens) return kRowTile;
  const int even = total_rows / (n_threads * 8);
  return std::clamp(even / 8 * 8, 8, 128);
}

// Where the direct kernels store chosen columns.
constexpr int kInOrder[] = {0, 1, 2, 3};
static_assert(std::size(kInOrder) == kMaxDirectTokens);

}  // namespace

void multiply(const KernelTable& kernels, ThreadPool& pool, const Activations& x, const Product* products, int n_products,
              Buffer<std::byte>& scratch) {
  int total_rows = 0;
  for (int i = 0; i < n_products; ++i) total_rows += products[i].matrix->n_rows;

  int piece = pool.next_piece(), first = 0;
  for (int i = 0; i < n_products; ++i) {
    const Product& p = products[i];
    const Matrix& m = *p.matrix;
    const TensorTypeInfo& type = kTensorTypes[int(m.type)];
    const int n_columns = p.columns ? p.n_columns : x.n_tokens();
    const bool prefill = n_columns > kMaxDirectTokens;
    const QuantizedActivations acts = x.of(type.form, prefill ? p.first_panel : 0);
    const int step = rows_per_piece(total_rows, pool.size(), prefill ? n_columns : 1);
    const int n_pieces = (m.n_rows + step - 1) / step;
    for (; piece < first + n_pieces; piece = pool.next_piece()) {
      MatmulArgs args{};
      args.weights = m.data + size_t(p.slice) * m.slice_bytes();
      args.row_bytes = m.row_bytes;
      args.n_in = m.n_in;
      args.row0 = (piece - first) * step;
      args.row1 = std::min(args.row0 + step, m.n_rows);
      args.x = x.rows();
      args.panel_x = x.panels(p.first_panel);
      args.acts = &acts;
      args.columns = p.columns;
      args.out_columns = p.columns ? kInOrder : nullptr;
      args.n_columns = n_columns;
      args.out = p.out;
      args.out_stride = p.out_stride;
      args.scratch = scratch.get(kernels.scratch_bytes);
      const TypeKernels& k = kernels.types[int(m.type)];
      (prefill ? k.prefill : k.direct)(args);
    }
    first += n_pieces;
  }
}

}  // namespace edgeinfer

// SingleProduct: one matrix of one type times some tokens with the kernels of one target, on the calling thread. What the
// engine does for every matrix of a step, alone, for tests and measurements.
#pragma once

#include <vector>

#include "model/activations.h"

namespace edgeinfer {

class SingleProduct {
 public:
  // weights: (n_rows) rows of n_in values; x: (n_tokens, n_in).
  SingleProduct(const KernelTable& kernels, TensorType type, const std::byte* weights, int n_rows, const float* x, int n_tokens,
                int n_in, bool prefill)
      : kernels_(kernels.types[int(type)]), prefill_(prefill) {
    const TensorTypeInfo& info = kTensorTypes[int(type)];
    Forms forms;
    forms.add(info.form);
    // Panels exist only above kMaxDirectTokens: ask for the shape of a prefill and fill the tokens there are.
    activations_.shape(prefill ? std::max(n_tokens, kMaxDirectTokens + 1) : n_tokens, n_in);
    for (int t = 0; t < activations_.n_tokens(); ++t) {
      const float* from = x + size_t(std::min(t, n_tokens - 1)) * size_t(n_in);
      std::copy(from, from + n_in, activations_.row(t));
      activations_.quantize(kernels, t, forms);
    }
    if (prefill)
      for (int p = 0; p < activations_.n_panels(); ++p) activations_.pack(kernels, p, forms);
    args_.weights = weights;
    args_.row_bytes = size_t(n_in / info.values) * size_t(info.bytes);
    args_.n_in = n_in;
    args_.row0 = 0;
    args_.row1 = n_rows;
    args_.x = activations_.rows();
    args_.panel_x = activations_.panels();
    args_.acts = activations_.of(info.form);
    args_.n_columns = n_tokens;
    args_.out_stride = size_t(n_rows);
    args_.scratch = scratch_.get(kernels.scratch_bytes);
  }

  // out: (n_tokens, n_rows).
  void run(float* out) {
    args_.out = out;
    (prefill_ ? kernels_.prefill : kernels_.direct)(args_);
  }

 private:
  const TypeKernels& kernels_;
  const bool prefill_;
  Activations activations_;
  Buffer<std::byte> scratch_;
  MatmulArgs args_{};
};

}  // namespace edgeinfer

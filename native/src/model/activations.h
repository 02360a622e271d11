// Activations: the input of some matrices, in every form their types need, and the product with them.
#pragma once

#include <memory>
#include <vector>

#include "kernels/table.h"
#include "model/weights.h"
#include "threads/pool.h"

namespace edgeinfer {

// A growing, 64-byte aligned array without initialisation. Contents are lost when it grows.
template <class T>
class Buffer {
 public:
  T* get(size_t n) {
    if (n > size_) {
      data_.reset();
      data_.reset(static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))));
      size_ = n;
    }
    return data_.get();
  }
  T* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* p) const { ::operator delete(p, std::align_val_t(64)); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

// Which forms of its input a set of matrices reads.
struct Forms {
  bool floats = false, group32 = false, group256 = false;
  static Forms of(const Matrix& m) {
    Forms forms;
    forms.add(m);
    return forms;
  }
  bool any() const { return floats || group32 || group256; }
  void add(const Matrix& m) { add(kTensorTypes[int(m.type)].form); }
  void add(ActivationForm form) {
    floats |= form == ActivationForm::Float;
    group32 |= form == ActivationForm::Group32;
    group256 |= form == ActivationForm::Group256;
  }
};

// n_tokens rows of n_in floats, and their int8 forms. All threads of a team use one object: one thread calls
// `shape`, then each token is filled by one thread (`row`, then `quantize`), then after a barrier `pack` is shared.
class Activations {
 public:
  void shape(int n_tokens, int n_in) { shape(n_tokens, n_in, n_tokens > kMaxDirectTokens ? panels_for(n_tokens) : 0); }
  // Likewise, with room for so many panels.
  void shape(int n_tokens, int n_in, int n_panels);
  float* row(int token) { return x_ + size_t(token) * size_t(n_in_); }
  const float* rows() const { return x_; }
  int n_tokens() const { return n_tokens_; }
  int n_in() const { return n_in_; }

  // Quantizes one finished row into the forms that some matrices need.
  void quantize(const KernelTable& kernels, int token, Forms forms);
  // Interleaves one panel of finished rows, for the prefill kernels: of consecutive tokens, or of chosen ones.
  void pack(const KernelTable& kernels, int panel, Forms forms);
  void pack(const KernelTable& kernels, int panel, Forms forms, const int* tokens, int n);
  int n_panels() const { return panels_for(n_tokens_); }
  static constexpr int panels_for(int n_tokens) { return (n_tokens + kPanelTokens - 1) / kPanelTokens; }

  const float* panels(int first_panel = 0) const {
    return panels_ + size_t(first_panel) * kPanelTokens * size_t((n_in_ + 15) / 16 * 16);
  }
  const QuantizedActivations* of(ActivationForm form) const { return form == ActivationForm::Group32 ? &q32_ : &q256_; }
  // With panels counted from `first_panel` on.
  QuantizedActivations of(ActivationForm form, int first_panel) const;

 private:
  struct Storage {
    Buffer<int8_t> q, panel_q;
    Buffer<float> d, panel_d;
    Buffer<int16_t> sums, panel_sums;
    QuantizedActivations shape(int n_tokens, int n_in, int group, int n_panels);
  };

  int n_tokens_ = 0, n_in_ = 0;
  float* x_ = nullptr;
  float* panels_ = nullptr;
  Buffer<float> storage_, panel_storage_;
  Storage s32_, s256_;
  QuantizedActivations q32_{}, q256_{};
};

// One product of a phase: a matrix (or one slice of it) with some tokens of the activations.
struct Product {
  const Matrix* matrix;
  float* out;  // out[column * out_stride + row]
  size_t out_stride;
  int slice = 0;
  const int* columns = nullptr;  // (n_columns) tokens of the activations; null: all of them
  int n_columns = 0;
  int first_panel = 0;  // of more than kMaxDirectTokens columns
};

// Shares the rows of all products among the team. scratch: private to the thread. Ends without a barrier.
void multiply(const KernelTable& kernels, ThreadPool& pool, const Activations& x, const Product* products, int n_products,
              Buffer<std::byte>& scratch);

}  // namespace edgeinfer

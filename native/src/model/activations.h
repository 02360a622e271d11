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
  size_t bytes() const { return size_ * sizeof(T); }

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
  void shape(int n_tokens, int n_in);
  float* row(int token) { return x_ + size_t(token) * size_t(n_in_); }
  const float* rows() const { return x_; }
  int n_tokens() const { return n_tokens_; }
  int n_in() const { return n_in_; }

  // Quantizes one finished row into the forms that some matrices need.
  void quantize(const KernelTable& kernels, int token, Forms forms);
  // Interleaves one panel of finished rows, for the prefill kernels.
  void pack(const KernelTable& kernels, int panel, Forms forms);
  const float* panels() const { return panels_; }
  int n_panels() const { return (n_tokens_ + kPanelTokens - 1) / kPanelTokens; }

  const QuantizedActivations* of(ActivationForm form) const { return form == ActivationForm::Group32 ? &q32_ : &q256_; }
  size_t bytes() const;

 private:
  struct Storage {
    Buffer<int8_t> q, panel_q;
    Buffer<float> d, panel_d;
    Buffer<int16_t> sums, panel_sums;
    QuantizedActivations shape(int n_tokens, int n_in, int group);
    size_t bytes() const { return q.bytes() + panel_q.bytes() + d.bytes() + panel_d.bytes() + sums.bytes() + panel_sums.bytes(); }
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
  float* out;  // out[token * out_stride + row]
  size_t out_stride;
  int slice = 0;
  const int* columns = nullptr;  // null: all tokens of the activations
  const int* out_columns = nullptr;
  int n_columns = 0;  // with columns
};

// Shares the rows of all products among the team. scratch: private to the thread. Ends without a barrier.
void multiply(const KernelTable& kernels, ThreadPool& pool, const Activations& x, const Product* products, int n_products,
              Buffer<std::byte>& scratch);

}  // namespace edgeinfer

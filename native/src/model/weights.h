// Weights: where each tensor of the decoder lies in the mapped file. Matrices are never copied; norms and biases (a
// few kilobytes) are, as floats.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "gguf/file.h"
#include "model/spec.h"
#include "quant/types.h"

namespace edgeinfer {

struct Matrix {
  TensorType type = TensorType::F32;
  const std::byte* data = nullptr;  // null: the model has no such matrix
  size_t row_bytes = 0;
  int n_in = 0;    // length of a row
  int n_rows = 0;  // of one slice
  size_t slice_bytes() const { return row_bytes * size_t(n_rows); }
};

struct LayerWeights {
  std::vector<float> attention_norm, post_attention_norm, ffn_norm, post_ffn_norm;  // (n_embd)
  std::vector<float> q_norm, k_norm;                                                // (head_dim) or the whole row
  std::vector<float> q_bias, k_bias, v_bias, output_bias;
  Matrix q, k, v, output;                                 // fused files: slices of attn_qkv
  Matrix gate, up, down;                                  // fused files: halves of ffn_up
  Matrix router, gate_experts, up_experts, down_experts;  // one slice an expert
};

struct Weights {
  std::shared_ptr<const gguf::File> file;
  Matrix embedding, head;
  std::vector<float> output_norm;
  std::vector<LayerWeights> layers;
  size_t copied_bytes = 0;  // norms and biases on the heap

  // Throws kBadModelFile for a missing tensor or a wrong shape, kUnsupportedModel for a type without kernels.
  static Weights load(std::shared_ptr<const gguf::File> file, const DecoderSpec& spec);
};

}  // namespace edgeinfer

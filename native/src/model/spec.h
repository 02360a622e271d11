// DecoderSpec: the twin of models/spec.py, which explains every field.
#pragma once

#include <string>
#include <vector>

namespace edgeinfer {

enum class QkNorm { kNone, kHead, kRow };
enum class Activation { kSilu, kGelu };
enum class RopeStyle { kAdjacent, kHalves };

struct RopeTable {
  std::vector<float> frequencies;  // (n_rot / 2), radians per position
  float magnitude = 1.0f;
};

struct DecoderSpec {
  std::string architecture;
  int n_layers = 0, n_embd = 0, n_vocab = 0, n_ctx_train = 0;
  int n_heads = 0, n_kv_heads = 0, head_dim = 0, n_ff = 0;
  float norm_eps = 0.0f;

  bool pre_norm = true, post_norm = false;
  QkNorm qk_norm = QkNorm::kNone;

  bool qkv_bias = false, output_bias = false, fused_qkv = false, fused_gate_up = false, tied_output = false;
  Activation activation = Activation::kSilu;

  RopeStyle rope_style = RopeStyle::kAdjacent;
  std::vector<RopeTable> ropes;
  std::vector<int> layer_rope;    // (n_layers), -1: none
  std::vector<int> layer_window;  // (n_layers), 0: all

  float attention_scale = 0.0f, attention_softcap = 0.0f, logit_softcap = 0.0f;
  float embedding_scale = 1.0f, residual_scale = 1.0f, logit_scale = 1.0f;

  int n_experts = 0, n_experts_used = 0, n_ff_expert = 0;
  bool expert_weights_norm = false;
  float expert_weights_scale = 1.0f;

  // head_dim rounded up to what the KV cache stores; the added dimensions are zero.
  int kv_head_dim() const { return (head_dim + 31) / 32 * 32; }
};

}  // namespace edgeinfer

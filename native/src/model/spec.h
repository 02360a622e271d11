// DecoderSpec: the twin of models/spec.py, which explains every field.
#pragma once

#include <algorithm>
#include <compare>
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

// What a token sees: its window, and of what lies before that only the first `sinks` tokens.
struct Span {
  int window = 0;  // tokens, itself included; 0: all
  int sinks = 0;   // whole KV blocks

  // Where the window of a token begins. As long as only sinks lie before it, it is all there is.
  int first(int position) const {
    const int begin = position - window + 1;
    return window == 0 || begin <= sinks ? 0 : begin;
  }
  bool sees_sinks(int position) const { return sinks > 0 && first(position) > 0; }
  // Where a query stands as the sinks see it: what was left out between them and its window does not count (StreamingLLM,
  // section 3.2).
  int sink_position(int position) const { return std::min(position, window + sinks - 1); }

  auto operator<=>(const Span&) const = default;
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
  std::vector<int> layer_rope;   // (n_layers), -1: none
  std::vector<Span> layer_span;  // (n_layers)

  float attention_scale = 0.0f, attention_softcap = 0.0f, logit_softcap = 0.0f;
  float embedding_scale = 1.0f, residual_scale = 1.0f, logit_scale = 1.0f;

  int n_experts = 0, n_experts_used = 0, n_ff_expert = 0;
  bool expert_weights_norm = false;
  float expert_weights_scale = 1.0f;

  bool embeds = false;  // what is asked of a token is its final state, not its logits

  // head_dim rounded up to what the KV cache stores; the added dimensions are zero.
  int kv_head_dim() const { return (head_dim + 31) / 32 * 32; }

  // Numbers in what is asked of a token.
  int row_width() const { return embeds ? n_embd : n_vocab; }

  // The kinds of layers: those that see the same tokens share KV blocks.
  std::vector<Span> spans() const {
    std::vector<Span> kinds = layer_span;
    std::sort(kinds.begin(), kinds.end());
    kinds.erase(std::unique(kinds.begin(), kinds.end()), kinds.end());
    return kinds;
  }
  // The one kind that has sinks; without sinks if there is none.
  Span sink_span() const {
    const auto at = std::find_if(layer_span.begin(), layer_span.end(), [](const Span& s) { return s.sinks > 0; });
    return at == layer_span.end() ? Span{} : *at;
  }
};

}  // namespace edgeinfer

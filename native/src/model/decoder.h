// Decoder: the one forward pass. A step runs new tokens of any mix of sequences through all layers.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "kernels/table.h"
#include "kv/cache.h"
#include "model/activations.h"
#include "model/attention.h"
#include "model/profile.h"
#include "model/spec.h"
#include "model/weights.h"
#include "threads/pool.h"

namespace edgeinfer {

struct Step {
  const int32_t* tokens;  // (n_tokens) new tokens of all sequences, one after another
  int n_tokens;
  std::vector<SequenceSlice> sequences;
  const int32_t* rows;  // (n_rows) tokens of the step of which something is asked
  int n_rows;
  float* out;  // (n_rows, row_width) their logits, or final states, see DecoderSpec::embeds
};

class Decoder {
 public:
  Decoder(DecoderSpec spec, std::shared_ptr<const gguf::File> file, KvCache& kv, ThreadPool& pool);

  // Computes a checked step. Throws kCancelled if `cancel` became true between two layers.
  void run(const Step& step, const std::atomic<bool>& cancel);

  const DecoderSpec& spec() const { return spec_; }
  const Weights& weights() const { return weights_; }
  Profile& profile() { return profile_; }

 private:
  struct Thread {
    Buffer<std::byte> matmul;
    Buffer<float> attention;
    std::vector<int> experts;  // (n_experts) by the router's preference
  };

  void prepare(const Step& step);
  void prepare_tokens();
  void prepare_experts(int n_input_panels);
  bool all_asked() const;
  std::vector<SequenceSlice> asked_slices() const;
  void work(int i_thread, const Step& step, const std::atomic<bool>& cancel);
  void embed(int i_thread, const Step& step);
  void rope_angles(int i_thread);
  void attention_block(int i_thread, int layer);
  void heads(int i_thread, int layer);
  void project(int i_thread, int layer);
  void place_heads(int i_thread, int layer);
  void norm_rows(int i_thread, int n_rows, int at, const std::vector<float>& weight);
  void place_query(int layer, int row, int token, int head);
  void place_key_value(int layer, int token, int kv_head);
  void norm_head(float* raw, int head, const std::vector<float>& bias, const std::vector<float>& norm) const;
  void add_bias(float* raw, const std::vector<float>& bias, int head) const;
  void place_padded(const float* head, float* to) const;
  void keep_asked(int i_thread);
  void feed_forward(int i_thread, int layer);
  void experts(int i_thread, int layer);
  void choose_experts(int i_thread, int token);
  void group_by_expert(int layer);
  void pack_for_experts(Activations& a, Forms forms, const std::vector<int>& tokens);
  void head(int i_thread, const Step& step);

  void rope(float* head, int layer, int token, bool for_sinks = false) const;
  Forms qkv_forms(int layer) const;
  void add_block(int token, const std::vector<float>& post_norm);
  void activate(int row, const Matrix& down);
  void end_layer(int token, int layer);
  void norm_input(int token, const std::vector<float>& weight, Forms forms);
  void pack(Activations& a, Forms forms);
  void multiply(int i_thread, const Activations& x, std::initializer_list<Product> products);

  void measured(int i_thread, Op op, int layer) {
    if (i_thread == 0 && profile_.on()) profile_.end(op, layer);
  }

  bool narrows(int layer) const { return narrow_ && layer + 1 == spec_.n_layers; }
  int n_q() const { return spec_.n_heads * spec_.head_dim; }
  int n_kv() const { return spec_.n_kv_heads * spec_.head_dim; }
  int n_qkv() const { return n_q() + 2 * n_kv(); }

  // Splits n items among the team: thread i takes [begin, end).
  struct Range {
    int begin, end;
  };
  Range share(int n, int i_thread) const {
    return {int(int64_t(n) * i_thread / pool_.size()), int(int64_t(n) * (i_thread + 1) / pool_.size())};
  }

  const DecoderSpec spec_;
  const Span sinks_;  // of the layers that have some
  const Weights weights_;
  KvCache& kv_;
  ThreadPool& pool_;
  const KernelTable& kernels_;
  Attention attention_, asked_attention_;
  std::vector<Thread> threads_;
  Profile profile_;

  // Of the running step.
  int n_tokens_ = 0;  // that the operations run on
  const int32_t* rows_ = nullptr;
  int n_rows_ = 0;
  bool narrow_ = false;  // once the last layer has its keys and values, only the asked tokens go on
  bool cancelled_ = false;
  std::vector<int> positions_;               // (n_tokens)
  std::vector<const SequenceSlice*> owner_;  // (n_tokens)
  std::vector<SequenceSlice> sequences_;
  Buffer<float> x_;                // (n_tokens, n_embd) residual stream
  Buffer<float> asked_x_;          // (n_rows, n_embd) what goes on of it
  float* residual_ = nullptr;      // (n_tokens_, n_embd) one of the two
  Activations input_;              // normed residual stream
  Buffer<float> qkv_;              // (n_tokens, (n_heads + 2 n_kv_heads) * head_dim)
  Buffer<float> q_, sink_q_;       // (n_tokens, n_heads, kv_head_dim), see Queries
  Buffer<float> angles_;           // (n_tokens, 2, n_rot / 2) of each table: cos, sin
  std::vector<size_t> angles_at_;  // (n_ropes) start of each table in angles_, then those at the positions for sinks
  Activations attended_;           // (n_tokens, n_heads * head_dim)
  Buffer<float> added_;            // (n_tokens, n_embd) what attention or feed-forward adds
  Activations hidden_;             // (n_tokens, n_ff): activation(gate) * up
  Buffer<float> up_;               // as hidden_
  Activations last_;               // (n_rows, n_embd) final norm

  // Experts: pairs (token, rank) are sorted by expert; a slot is a place in that order. hidden_, up_ and expert_out_ are
  // in slots.
  Buffer<float> router_;            // (n_tokens, n_experts)
  std::vector<float> pair_weight_;  // (n_tokens * n_experts_used)
  std::vector<int> pair_expert_;    // likewise
  std::vector<int> slot_of_pair_, token_of_slot_;
  std::vector<int> slots_;        // 0, 1, 2 ...
  std::vector<int> expert_slot_;  // (n_experts) where the next pair of an expert goes
  struct ExpertPanel {
    int slot, n;  // the slots that one panel holds
  };
  std::vector<ExpertPanel> expert_panels_;  // of the experts with more than kMaxDirectTokens tokens
  std::vector<Product> gate_up_products_, down_products_;
  Buffer<float> expert_out_;  // (n_tokens * n_experts_used, n_embd)
};

}  // namespace edgeinfer

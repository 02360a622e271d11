#include "model/decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "errors.h"

namespace edgeinfer {

Decoder::Decoder(DecoderSpec spec, std::shared_ptr<const gguf::File> file, KvPool& kv, ThreadPool& pool)
    : spec_(std::move(spec)),
      weights_(Weights::load(std::move(file), spec_)),
      kv_(kv),
      pool_(pool),
      kernels_(kernels()),
      attention_(spec_, kv),
      threads_(static_cast<size_t>(pool.size())) {}

void Decoder::run(const Step& step, const std::atomic<bool>& cancel) {
  prepare(step);
  profile_.begin_step();
  pool_.run([&](int i_thread) { work(i_thread, step, cancel); });
  if (cancelled_) throw Error(ErrorCode::kCancelled, "the step was cancelled");
}

void Decoder::prepare(const Step& step) {
  n_tokens_ = step.n_tokens;
  cancelled_ = false;
  sequences_ = step.sequences;
  positions_.resize(size_t(n_tokens_));
  owner_.resize(size_t(n_tokens_));
  for (const SequenceSlice& s : sequences_)
    for (int t = 0; t < s.n_tokens; ++t) {
      positions_[size_t(s.first_token + t)] = s.n_past + t;
      owner_[size_t(s.first_token + t)] = &s;
    }

  const size_t n = size_t(n_tokens_);
  const int n_qkv = (spec_.n_heads + 2 * spec_.n_kv_heads) * spec_.head_dim;
  x_.get(n * spec_.n_embd);
  qkv_.get(n * n_qkv);
  q_.get(n * spec_.n_heads * spec_.kv_head_dim());
  added_.get(n * spec_.n_embd);
  attended_.shape(n_tokens_, spec_.n_heads * spec_.head_dim);
  if (spec_.n_experts > 0) {
    prepare_experts();
  } else {
    input_.shape(n_tokens_, spec_.n_embd);
    hidden_.shape(n_tokens_, spec_.n_ff);
    up_.get(n * spec_.n_ff);
  }
  if (step.n_rows > 0) last_.shape(step.n_rows, spec_.n_embd);

  size_t angles = 0;
  angles_at_.clear();
  for (const RopeTable& table : spec_.ropes) {
    angles_at_.push_back(angles);
    angles += n * 2 * table.frequencies.size();
  }
  angles_.get(angles);
  attention_.plan(sequences_, pool_.size());
}

void Decoder::prepare_experts() {
  const int n_pairs = n_tokens_ * spec_.n_experts_used;
  const size_t pairs = size_t(n_pairs);
  // An expert gets panels for more than kMaxDirectTokens tokens, and has at most one that is not full.
  const int n_panels =
      n_tokens_ <= kMaxDirectTokens ? 0 : std::min(n_pairs / (kMaxDirectTokens + 1), n_pairs / kPanelTokens + spec_.n_experts);
  input_.shape(n_tokens_, spec_.n_embd, std::max(n_panels, Activations::panels_for(n_tokens_)));
  hidden_.shape(n_pairs, spec_.n_ff_expert, n_panels);
  up_.get(pairs * spec_.n_ff_expert);
  router_.get(size_t(n_tokens_) * spec_.n_experts);
  expert_out_.get(pairs * spec_.n_embd);
  pair_weight_.resize(pairs);
  pair_expert_.resize(pairs);
  slot_of_pair_.resize(pairs);
  token_of_slot_.resize(pairs);
  slots_.resize(pairs);
  std::iota(slots_.begin(), slots_.end(), 0);
}

void Decoder::work(int i_thread, const Step& step, const std::atomic<bool>& cancel) {
  embed(i_thread, step);
  rope_angles(i_thread);
  measured(i_thread, Op::kEmbed, -1);
  for (int layer = 0; layer < spec_.n_layers; ++layer) {
    if (i_thread == 0 && cancel.load(std::memory_order_relaxed)) cancelled_ = true;
    attention_block(i_thread, layer);
    if (cancelled_) return;  // written before a barrier of the attention block: all threads see the same
    if (spec_.n_experts > 0)
      experts(i_thread, layer);
    else
      feed_forward(i_thread, layer);
  }
  if (step.n_rows > 0) head(i_thread, step);
}

void Decoder::embed(int i_thread, const Step& step) {
  const Matrix& e = weights_.embedding;
  const auto [begin, end] = share(n_tokens_, i_thread);
  for (int t = begin; t < end; ++t) {
    float* x = x_.data() + size_t(t) * spec_.n_embd;
    kernels_.types[int(e.type)].dequantize(e.data + size_t(step.tokens[t]) * e.row_bytes, x, spec_.n_embd);
    if (spec_.embedding_scale != 1.0f)
      for (int i = 0; i < spec_.n_embd; ++i) x[i] *= spec_.embedding_scale;
    norm_input(t, weights_.layers[0].attention_norm, input_, qkv_forms(0));
  }
}

// cos and sin of every token of the step, once for all layers. Angles are taken in double: positions of a long context
// times a frequency keep their fraction.
void Decoder::rope_angles(int i_thread) {
  const auto [begin, end] = share(n_tokens_, i_thread);
  for (size_t r = 0; r < spec_.ropes.size(); ++r) {
    const RopeTable& table = spec_.ropes[r];
    const size_t half = table.frequencies.size();
    for (int t = begin; t < end; ++t) {
      float* cosines = angles_.data() + angles_at_[r] + size_t(t) * 2 * half;
      for (size_t i = 0; i < half; ++i) {
        const double angle = double(positions_[size_t(t)]) * double(table.frequencies[i]);
        cosines[i] = float(std::cos(angle)) * table.magnitude;
        cosines[half + i] = float(std::sin(angle)) * table.magnitude;
      }
    }
  }
}

Forms Decoder::qkv_forms(int layer) const {
  const LayerWeights& w = weights_.layers[size_t(layer)];
  Forms forms;
  for (const Matrix* m : {&w.q, &w.k, &w.v}) forms.add(*m);
  return forms;
}

// The input of the next matrices: the residual stream of one token, normed and quantized as they need it.
void Decoder::norm_input(int token, const std::vector<float>& weight, Activations& into, Forms forms) {
  const float* x = x_.data() + size_t(token) * spec_.n_embd;
  if (weight.empty())
    std::memcpy(into.row(token), x, size_t(spec_.n_embd) * 4);
  else
    kernels_.rms_norm(x, weight.data(), into.row(token), spec_.n_embd, spec_.norm_eps);
  into.quantize(kernels_, token, forms);
}

// All rows are quantized: barrier, and panels where the prefill kernels will run. Leaves a fresh phase.
void Decoder::pack(Activations& a, Forms forms) {
  pool_.barrier();
  if (a.n_tokens() <= kMaxDirectTokens || !forms.any()) return;
  for (int panel = pool_.next_piece(); panel < a.n_panels(); panel = pool_.next_piece()) a.pack(kernels_, panel, forms);
  pool_.barrier();
}

void Decoder::multiply(int i_thread, const Activations& x, std::initializer_list<Product> products) {
  edgeinfer::multiply(kernels_, pool_, x, products.begin(), int(products.size()), threads_[size_t(i_thread)].matmul);
}

// Adds a row of added_ to the residual stream, normed first where the family does so.
void Decoder::add_block(int token, const std::vector<float>& post_norm) {
  float* x = x_.data() + size_t(token) * spec_.n_embd;
  float* added = added_.data() + size_t(token) * spec_.n_embd;
  if (!post_norm.empty()) kernels_.rms_norm(added, post_norm.data(), added, spec_.n_embd, spec_.norm_eps);
  for (int i = 0; i < spec_.n_embd; ++i) x[i] += spec_.residual_scale * added[i];
}

// hidden = activation(hidden) * up of one row, quantized for the down matrix.
void Decoder::activate(int row, const Matrix& down) {
  const auto activation = spec_.activation == Activation::kSilu ? kernels_.silu_mul : kernels_.gelu_mul;
  activation(hidden_.row(row), up_.data() + size_t(row) * hidden_.n_in(), hidden_.n_in());
  Forms forms;
  forms.add(down);
  hidden_.quantize(kernels_, row, forms);
}

// Adds what the feed-forward gave, and begins the next layer.
void Decoder::end_layer(int token, int layer) {
  add_block(token, weights_.layers[size_t(layer)].post_ffn_norm);
  if (layer + 1 < spec_.n_layers)
    norm_input(token, weights_.layers[size_t(layer) + 1].attention_norm, input_, qkv_forms(layer + 1));
}

void Decoder::attention_block(int i_thread, int layer) {
  const LayerWeights& w = weights_.layers[size_t(layer)];
  const int n_q = spec_.n_heads * spec_.head_dim, n_kv = spec_.n_kv_heads * spec_.head_dim;
  const size_t stride = size_t(n_q + 2 * n_kv);

  pack(input_, qkv_forms(layer));
  multiply(i_thread, input_,
           {{&w.q, qkv_.data(), stride}, {&w.k, qkv_.data() + n_q, stride}, {&w.v, qkv_.data() + n_q + n_kv, stride}});
  pool_.barrier();
  measured(i_thread, Op::kQkv, layer);
  place_heads(i_thread, layer);
  pool_.barrier();
  measured(i_thread, Op::kHeads, layer);
  attention_.run(kernels_, pool_, layer, q_.data(), attended_.row(0), threads_[size_t(i_thread)].attention);
  pool_.barrier();
  measured(i_thread, Op::kAttend, layer);

  Forms out_forms;
  out_forms.add(w.output);
  const auto [begin, end] = share(n_tokens_, i_thread);
  for (int t = begin; t < end; ++t) attended_.quantize(kernels_, t, out_forms);
  pack(attended_, out_forms);
  multiply(i_thread, attended_, {{&w.output, added_.data(), size_t(spec_.n_embd)}});
  pool_.barrier();
  measured(i_thread, Op::kOutput, layer);

  Forms ffn_forms;
  for (const Matrix* m : {&w.gate, &w.up, &w.gate_experts, &w.up_experts, &w.router})
    if (m->data) ffn_forms.add(*m);
  for (int t = begin; t < end; ++t) {
    float* added = added_.data() + size_t(t) * spec_.n_embd;
    for (size_t i = 0; i < w.output_bias.size(); ++i) added[i] += w.output_bias[i];
    add_block(t, w.post_attention_norm);
    norm_input(t, w.ffn_norm, input_, ffn_forms);
  }
  measured(i_thread, Op::kAttentionEnd, layer);
}

// From raw q, k, v to what attention reads: bias, norm, rope; q into its own array, k and v into the cache.
void Decoder::place_heads(int i_thread, int layer) {
  const LayerWeights& w = weights_.layers[size_t(layer)];
  const int dim = spec_.head_dim, padded = spec_.kv_head_dim();
  const int n_q = spec_.n_heads * dim, n_kv = spec_.n_kv_heads * dim;
  const size_t stride = size_t(n_q + 2 * n_kv);
  const int table = spec_.layer_rope[size_t(layer)];
  const size_t half = table >= 0 ? spec_.ropes[size_t(table)].frequencies.size() : 0;

  if (spec_.qk_norm == QkNorm::kRow) {
    const auto [begin, end] = share(n_tokens_, i_thread);
    for (int t = begin; t < end; ++t) {
      float* q = qkv_.data() + size_t(t) * stride;
      kernels_.rms_norm(q, w.q_norm.data(), q, n_q, spec_.norm_eps);
      kernels_.rms_norm(q + n_q, w.k_norm.data(), q + n_q, n_kv, spec_.norm_eps);
    }
    pool_.barrier();
  }

  const int heads = spec_.n_heads + spec_.n_kv_heads;
  const auto [begin, end] = share(n_tokens_ * heads, i_thread);
  alignas(64) float key[4096], value[4096];
  for (int i = begin; i < end; ++i) {
    const int t = i / heads, h = i % heads;
    const bool is_q = h < spec_.n_heads;
    const int kv_head = h - spec_.n_heads;
    float* raw = qkv_.data() + size_t(t) * stride + (is_q ? h * dim : n_q + kv_head * dim);
    const std::vector<float>& bias = is_q ? w.q_bias : w.k_bias;
    if (!bias.empty())
      for (int d = 0; d < dim; ++d) raw[d] += bias[size_t((is_q ? h : kv_head) * dim + d)];
    if (spec_.qk_norm == QkNorm::kHead) kernels_.rms_norm(raw, (is_q ? w.q_norm : w.k_norm).data(), raw, dim, spec_.norm_eps);
    if (table >= 0) rope(raw, angles_.data() + angles_at_[size_t(table)] + size_t(t) * 2 * half, table);

    float* to = is_q ? q_.data() + (size_t(t) * spec_.n_heads + h) * padded : key;
    std::memcpy(to, raw, size_t(dim) * 4);
    std::fill(to + dim, to + padded, 0.0f);
    if (is_q) continue;
    const float* v = qkv_.data() + size_t(t) * stride + n_q + n_kv + kv_head * dim;
    for (int d = 0; d < dim; ++d) value[d] = w.v_bias.empty() ? v[d] : v[d] + w.v_bias[size_t(kv_head * dim + d)];
    std::fill(value + dim, value + padded, 0.0f);
    const int position = positions_[size_t(t)];
    std::byte* block = kv_.block(owner_[size_t(t)]->table[position / kKvBlock]);
    const auto store = kv_.type() == KvType::F16 ? kernels_.store_kv_f16 : kernels_.store_kv_q8_0;
    store(key, value, block + kv_.k_offset(layer, kv_head), block + kv_.v_offset(layer, kv_head), position % kKvBlock, padded);
  }
}

// Rotary embedding (Su et al. 2021) of one head; dimensions beyond n_rot stay.
void Decoder::rope(float* head, const float* angles, int table) const {
  const size_t half = spec_.ropes[size_t(table)].frequencies.size();
  const bool adjacent = spec_.rope_style == RopeStyle::kAdjacent;
  for (size_t i = 0; i < half; ++i) {
    float& a = head[adjacent ? 2 * i : i];
    float& b = head[adjacent ? 2 * i + 1 : i + half];
    const float c = angles[i], s = angles[half + i], x = a, y = b;
    a = x * c - y * s;
    b = x * s + y * c;
  }
}

void Decoder::feed_forward(int i_thread, int layer) {
  const LayerWeights& w = weights_.layers[size_t(layer)];
  const size_t n_ff = size_t(spec_.n_ff);
  Forms forms;
  forms.add(w.gate);
  forms.add(w.up);
  pack(input_, forms);
  multiply(i_thread, input_, {{&w.gate, hidden_.row(0), n_ff}, {&w.up, up_.data(), n_ff}});
  pool_.barrier();
  measured(i_thread, Op::kGateUp, layer);

  Forms down_forms;
  down_forms.add(w.down);
  const auto [begin, end] = share(n_tokens_, i_thread);
  for (int t = begin; t < end; ++t) activate(t, w.down);
  measured(i_thread, Op::kActivate, layer);
  pack(hidden_, down_forms);
  multiply(i_thread, hidden_, {{&w.down, added_.data(), size_t(spec_.n_embd)}});
  pool_.barrier();
  measured(i_thread, Op::kDown, layer);

  for (int t = begin; t < end; ++t) end_layer(t, layer);
  measured(i_thread, Op::kLayerEnd, layer);
}

// Chooses the experts of a token from the router's logits: softmax over all, the largest n_experts_used (the lower index
// wins a tie).
void Decoder::choose_experts(int i_thread, int token) {
  const int used = spec_.n_experts_used;
  std::vector<int>& order = threads_[size_t(i_thread)].experts;
  order.resize(size_t(spec_.n_experts));
  float* p = router_.data() + size_t(token) * spec_.n_experts;
  kernels_.softmax(p, spec_.n_experts);
  std::iota(order.begin(), order.end(), 0);
  // A NaN compares as the smallest, so that the order stays one.
  const auto key = [p](int e) { return p[e] == p[e] ? p[e] : -1.0f; };
  std::partial_sort(order.begin(), order.begin() + used, order.end(),
                    [&](int a, int b) { return key(a) != key(b) ? key(a) > key(b) : a < b; });
  float total = 0.0f;
  for (int k = 0; k < used; ++k) total += p[order[size_t(k)]];
  for (int k = 0; k < used; ++k) {
    const float weight = p[order[size_t(k)]];
    pair_expert_[size_t(token * used + k)] = order[size_t(k)];
    pair_weight_[size_t(token * used + k)] = (spec_.expert_weights_norm ? weight / total : weight) * spec_.expert_weights_scale;
  }
}

// Sorts the pairs by expert, so that each expert's weights are read once, and plans its products. The tokens of an expert
// that has many go through panels of their own.
void Decoder::group_by_expert(int layer) {
  const LayerWeights& w = weights_.layers[size_t(layer)];
  const int used = spec_.n_experts_used, n_pairs = n_tokens_ * used;
  expert_slot_.assign(size_t(spec_.n_experts), 0);
  for (int pair = 0; pair < n_pairs; ++pair) ++expert_slot_[size_t(pair_expert_[size_t(pair)])];

  expert_panels_.clear();
  gate_up_products_.clear();
  down_products_.clear();
  const size_t n_ff = size_t(spec_.n_ff_expert), n_embd = size_t(spec_.n_embd);
  int first = 0;
  for (int e = 0; e < spec_.n_experts; ++e) {
    const int n = expert_slot_[size_t(e)];
    expert_slot_[size_t(e)] = first;
    if (n == 0) continue;
    const int panel = int(expert_panels_.size());
    if (n > kMaxDirectTokens)
      for (int i = 0; i < n; i += kPanelTokens) expert_panels_.push_back({first + i, std::min(kPanelTokens, n - i)});
    const int* tokens = token_of_slot_.data() + first;
    gate_up_products_.push_back({&w.gate_experts, hidden_.row(first), n_ff, e, tokens, n, panel});
    gate_up_products_.push_back({&w.up_experts, up_.data() + size_t(first) * n_ff, n_ff, e, tokens, n, panel});
    float* out = expert_out_.data() + size_t(first) * n_embd;
    down_products_.push_back({&w.down_experts, out, n_embd, e, slots_.data() + first, n, panel});
    first += n;
  }
  for (int pair = 0; pair < n_pairs; ++pair) {
    const int slot = expert_slot_[size_t(pair_expert_[size_t(pair)])]++;
    token_of_slot_[size_t(slot)] = pair / used;
    slot_of_pair_[size_t(pair)] = slot;
  }
}

// tokens: (n_pairs) the row of each slot. Begins in a fresh phase and leaves one.
void Decoder::pack_for_experts(Activations& a, Forms forms, const std::vector<int>& tokens) {
  const int n = int(expert_panels_.size());
  if (n == 0) return;
  for (int i = pool_.next_piece(); i < n; i = pool_.next_piece()) {
    const ExpertPanel& panel = expert_panels_[size_t(i)];
    a.pack(kernels_, i, forms, tokens.data() + panel.slot, panel.n);
  }
  pool_.barrier();
}

void Decoder::experts(int i_thread, int layer) {
  const LayerWeights& w = weights_.layers[size_t(layer)];
  const int used = spec_.n_experts_used;
  const auto [begin, end] = share(n_tokens_, i_thread);
  Forms router_forms, expert_forms, down_forms;
  router_forms.add(w.router);
  for (const Matrix* m : {&w.gate_experts, &w.up_experts}) expert_forms.add(*m);
  down_forms.add(w.down_experts);

  pack(input_, router_forms);
  multiply(i_thread, input_, {{&w.router, router_.data(), size_t(spec_.n_experts)}});
  pool_.barrier();
  if (n_tokens_ > kMaxDirectTokens) {
    for (int t = begin; t < end; ++t) choose_experts(i_thread, t);
    pool_.barrier();
  } else if (i_thread == 0) {
    for (int t = 0; t < n_tokens_; ++t) choose_experts(i_thread, t);
  }
  if (i_thread == 0) group_by_expert(layer);
  pool_.barrier();
  measured(i_thread, Op::kRouter, layer);

  Buffer<std::byte>& scratch = threads_[size_t(i_thread)].matmul;
  pack_for_experts(input_, expert_forms, token_of_slot_);
  edgeinfer::multiply(kernels_, pool_, input_, gate_up_products_.data(), int(gate_up_products_.size()), scratch);
  pool_.barrier();
  measured(i_thread, Op::kGateUp, layer);

  const auto [slot_begin, slot_end] = share(n_tokens_ * used, i_thread);
  for (int slot = slot_begin; slot < slot_end; ++slot) activate(slot, w.down_experts);
  pool_.barrier();
  measured(i_thread, Op::kActivate, layer);
  pack_for_experts(hidden_, down_forms, slots_);
  edgeinfer::multiply(kernels_, pool_, hidden_, down_products_.data(), int(down_products_.size()), scratch);
  pool_.barrier();
  measured(i_thread, Op::kDown, layer);

  for (int t = begin; t < end; ++t) {
    float* sum = added_.data() + size_t(t) * spec_.n_embd;
    std::fill(sum, sum + spec_.n_embd, 0.0f);
    for (int pair = t * used; pair < (t + 1) * used; ++pair) {
      const float weight = pair_weight_[size_t(pair)];
      const float* from = expert_out_.data() + size_t(slot_of_pair_[size_t(pair)]) * spec_.n_embd;
      for (int i = 0; i < spec_.n_embd; ++i) sum[i] += weight * from[i];
    }
    end_layer(t, layer);
  }
  measured(i_thread, Op::kLayerEnd, layer);
}

// Final norm, output head, scale and cap, for the rows asked for only.
void Decoder::head(int i_thread, const Step& step) {
  pool_.barrier();
  Forms forms;
  forms.add(weights_.head);
  const auto [begin, end] = share(step.n_rows, i_thread);
  for (int r = begin; r < end; ++r) {
    const float* x = x_.data() + size_t(step.rows[r]) * spec_.n_embd;
    kernels_.rms_norm(x, weights_.output_norm.data(), last_.row(r), spec_.n_embd, spec_.norm_eps);
    last_.quantize(kernels_, r, forms);
  }
  pack(last_, forms);
  multiply(i_thread, last_, {{&weights_.head, step.logits, size_t(spec_.n_vocab)}});
  pool_.barrier();
  measured(i_thread, Op::kHead, -1);
  if (spec_.logit_scale == 1.0f && spec_.logit_softcap == 0.0f) return;
  for (int r = begin; r < end; ++r) {
    float* logits = step.logits + size_t(r) * spec_.n_vocab;
    for (int i = 0; i < spec_.n_vocab; ++i) logits[i] *= spec_.logit_scale;
    if (spec_.logit_softcap != 0.0f) kernels_.softcap(logits, spec_.n_vocab, spec_.logit_softcap);
  }
}

size_t Decoder::scratch_bytes() const {
  size_t total = x_.bytes() + qkv_.bytes() + q_.bytes() + angles_.bytes() + added_.bytes() + up_.bytes() + router_.bytes() +
                 expert_out_.bytes() + input_.bytes() + attended_.bytes() + hidden_.bytes() + last_.bytes();
  for (const Thread& t : threads_) total += t.matmul.bytes() + t.attention.bytes();
  return total;
}

}  // namespace edgeinfer

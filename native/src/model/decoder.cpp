#include "model/decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "errors.h"

namespace edgeinfer {

Decoder::Decoder(DecoderSpec spec, std::shared_ptr<const gguf::File> file, KvCache& kv, ThreadPool& pool)
    : spec_(std::move(spec)),
      sinks_(spec_.sink_span()),
      weights_(Weights::load(std::move(file), spec_)),
      kv_(kv),
      pool_(pool),
      kernels_(kernels()),
      attention_(spec_, kv),
      asked_attention_(spec_, kv),
      threads_(static_cast<size_t>(pool.size())) {}

void Decoder::run(const Step& step, const std::atomic<bool>& cancel) {
  prepare(step);
  profile_.begin_step();
  pool_.run([&](int i_thread) { work(i_thread, step, cancel); });
  if (cancelled_) throw Error(ErrorCode::kCancelled, "the step was cancelled");
}

void Decoder::prepare(const Step& step) {
  n_tokens_ = step.n_tokens;
  rows_ = step.rows;
  n_rows_ = step.n_rows;
  cancelled_ = false;
  sequences_ = step.sequences;
  positions_.resize(size_t(n_tokens_));
  owner_.resize(size_t(n_tokens_));
  for (const SequenceSlice& s : sequences_)
    for (int t = 0; t < s.n_tokens; ++t) {
      positions_[size_t(s.first_token + t)] = s.n_past + t;
      owner_[size_t(s.first_token + t)] = &s;
    }

  const size_t n = size_t(n_tokens_), n_queries = size_t(std::max(n_tokens_, n_rows_));
  residual_ = x_.get(n * spec_.n_embd);
  qkv_.get(n_queries * (spec_.n_heads + 2 * spec_.n_kv_heads) * spec_.head_dim);
  q_.get(n_queries * spec_.n_heads * spec_.kv_head_dim());
  if (sinks_.sinks > 0) sink_q_.get(n_queries * spec_.n_heads * spec_.kv_head_dim());
  narrow_ = !all_asked();
  prepare_tokens();
  if (n_rows_ > 0) last_.shape(n_rows_, spec_.n_embd);

  size_t angles = 0;
  angles_at_.clear();
  for (int set = 0; set < (sinks_.sinks > 0 ? 2 : 1); ++set)
    for (const RopeTable& table : spec_.ropes) {
      angles_at_.push_back(angles);
      angles += n * 2 * table.frequencies.size();
    }
  angles_.get(angles);
  attention_.plan(sequences_, pool_.size());
  if (narrow_ && n_rows_ > 0) {
    asked_x_.get(size_t(n_rows_) * spec_.n_embd);
    asked_attention_.plan(asked_slices(), pool_.size());
  }
}

// Whether the step asks for all its tokens, in their order.
bool Decoder::all_asked() const {
  for (int r = 0; r < n_rows_; ++r)
    if (rows_[r] != r) return false;
  return n_rows_ == n_tokens_;
}

// The tokens that were asked for, as if they were all that is new: runs of them are slices.
std::vector<SequenceSlice> Decoder::asked_slices() const {
  std::vector<SequenceSlice> slices;
  for (int r = 0; r < n_rows_; ++r) {
    const size_t token = size_t(rows_[r]);
    const bool follows = r > 0 && rows_[r] == rows_[r - 1] + 1 && owner_[token] == owner_[token - 1];
    if (follows)
      ++slices.back().n_tokens;
    else
      slices.push_back({r, 1, positions_[token], owner_[token]->tables, owner_[token]->table_stride});
  }
  return slices;
}

// Room for n_tokens_ rows of everything between the residual stream and itself.
void Decoder::prepare_tokens() {
  const size_t n = size_t(n_tokens_);
  // The panels of all tokens, and of those that were asked for.
  const int n_panels = Activations::panels_for(n_tokens_) + (narrow_ ? Activations::panels_for(n_rows_) : 0);
  added_.get(n * spec_.n_embd);
  attended_.shape(n_tokens_, spec_.n_heads * spec_.head_dim);
  if (spec_.n_experts > 0) {
    prepare_experts(n_panels);
  } else {
    input_.shape(n_tokens_, spec_.n_embd, std::max(n_tokens_, n_rows_) > kMaxDirectTokens ? n_panels : 0);
    hidden_.shape(n_tokens_, spec_.n_ff);
    up_.get(n * spec_.n_ff);
  }
}

void Decoder::prepare_experts(int n_input_panels) {
  const int n_pairs = n_tokens_ * spec_.n_experts_used;
  const size_t pairs = size_t(n_pairs);
  // An expert gets panels for more than kMaxDirectTokens tokens, and has at most one that is not full.
  const int n_panels =
      n_tokens_ <= kMaxDirectTokens ? 0 : std::min(n_pairs / (kMaxDirectTokens + 1), n_pairs / kPanelTokens + spec_.n_experts);
  input_.shape(n_tokens_, spec_.n_embd, std::max(n_panels, n_input_panels));
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
    heads(i_thread, layer);
    if (cancelled_) return;                      // written before a barrier of heads(): all threads see the same
    if (narrows(layer) && n_rows_ == 0) return;  // keys and values were all that was missing
    attention_block(i_thread, layer);
    if (spec_.n_experts > 0)
      experts(i_thread, layer);
    else
      feed_forward(i_thread, layer);
  }
  head(i_thread, step);
}

void Decoder::embed(int i_thread, const Step& step) {
  const Matrix& e = weights_.embedding;
  const auto [begin, end] = share(n_tokens_, i_thread);
  for (int t = begin; t < end; ++t) {
    float* x = x_.data() + size_t(t) * spec_.n_embd;
    kernels_.types[int(e.type)].dequantize(e.data + size_t(step.tokens[t]) * e.row_bytes, x, spec_.n_embd);
    if (spec_.embedding_scale != 1.0f)
      for (int i = 0; i < spec_.n_embd; ++i) x[i] *= spec_.embedding_scale;
    norm_input(t, weights_.layers[0].attention_norm, qkv_forms(0));
  }
}

// cos and sin of every token of the step, once for all layers. Angles are taken in double: positions of a long context
// times a frequency keep their fraction.
void Decoder::rope_angles(int i_thread) {
  const auto [begin, end] = share(n_tokens_, i_thread);
  for (size_t a = 0; a < angles_at_.size(); ++a) {
    const bool for_sinks = a >= spec_.ropes.size();
    const RopeTable& table = spec_.ropes[a % spec_.ropes.size()];
    const size_t half = table.frequencies.size();
    for (int t = begin; t < end; ++t) {
      const int position = for_sinks ? sinks_.sink_position(positions_[size_t(t)]) : positions_[size_t(t)];
      float* cosines = angles_.data() + angles_at_[a] + size_t(t) * 2 * half;
      for (size_t i = 0; i < half; ++i) {
        const double angle = double(position) * double(table.frequencies[i]);
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
void Decoder::norm_input(int token, const std::vector<float>& weight, Forms forms) {
  const float* x = residual_ + size_t(token) * spec_.n_embd;
  if (weight.empty())
    std::memcpy(input_.row(token), x, size_t(spec_.n_embd) * 4);
  else
    kernels_.rms_norm(x, weight.data(), input_.row(token), spec_.n_embd, spec_.norm_eps);
  input_.quantize(kernels_, token, forms);
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
  float* x = residual_ + size_t(token) * spec_.n_embd;
  float* added = added_.data() + size_t(token) * spec_.n_embd;
  if (!post_norm.empty()) kernels_.rms_norm(added, post_norm.data(), added, spec_.n_embd, spec_.norm_eps);
  for (int i = 0; i < spec_.n_embd; ++i) x[i] += spec_.residual_scale * added[i];
}

// hidden = activation(hidden) * up of one row, quantized for the down matrix.
void Decoder::activate(int row, const Matrix& down) {
  const auto activation = spec_.activation == Activation::kSilu ? kernels_.silu_mul : kernels_.gelu_mul;
  activation(hidden_.row(row), up_.data() + size_t(row) * hidden_.n_in(), hidden_.n_in());
  hidden_.quantize(kernels_, row, Forms::of(down));
}

// Adds what the feed-forward gave, and begins the next layer.
void Decoder::end_layer(int token, int layer) {
  add_block(token, weights_.layers[size_t(layer)].post_ffn_norm);
  if (layer + 1 < spec_.n_layers) norm_input(token, weights_.layers[size_t(layer) + 1].attention_norm, qkv_forms(layer + 1));
}

// q, k and v of the layer's input, raw.
void Decoder::project(int i_thread, int layer) {
  const LayerWeights& w = weights_.layers[size_t(layer)];
  const size_t stride = size_t(n_qkv());
  const Product k{&w.k, qkv_.data() + n_q(), stride}, v{&w.v, qkv_.data() + n_q() + n_kv(), stride};
  Product q{&w.q, qkv_.data(), stride};
  pack(input_, qkv_forms(layer));
  if (!narrows(layer)) return multiply(i_thread, input_, {q, k, v});
  if (n_rows_ == 0) return multiply(i_thread, input_, {k, v});

  q.columns = rows_;
  q.n_columns = n_rows_;
  q.first_panel = input_.n_panels();
  if (n_rows_ > kMaxDirectTokens) {
    const Forms forms = Forms::of(w.q);
    for (int i = pool_.next_piece(); i * kPanelTokens < n_rows_; i = pool_.next_piece())
      input_.pack(kernels_, q.first_panel + i, forms, rows_ + i * kPanelTokens,
                  std::min(kPanelTokens, n_rows_ - i * kPanelTokens));
    pool_.barrier();
  }
  multiply(i_thread, input_, {q, k, v});
}

void Decoder::heads(int i_thread, int layer) {
  project(i_thread, layer);
  pool_.barrier();
  measured(i_thread, Op::kQkv, layer);
  place_heads(i_thread, layer);
  if (narrows(layer)) keep_asked(i_thread);
  pool_.barrier();
  measured(i_thread, Op::kHeads, layer);
}

// From here on only the tokens that were asked for exist. Nothing but qkv_ and q_ is in use meanwhile.
void Decoder::keep_asked(int i_thread) {
  const auto [begin, end] = share(n_rows_, i_thread);
  for (int r = begin; r < end; ++r)
    std::memcpy(asked_x_.data() + size_t(r) * spec_.n_embd, x_.data() + size_t(rows_[r]) * spec_.n_embd,
                size_t(spec_.n_embd) * 4);
  if (i_thread != 0) return;
  residual_ = asked_x_.data();
  n_tokens_ = n_rows_;
  prepare_tokens();
}

void Decoder::attention_block(int i_thread, int layer) {
  const LayerWeights& w = weights_.layers[size_t(layer)];
  Attention& attention = narrows(layer) ? asked_attention_ : attention_;
  attention.run(kernels_, pool_, layer, {q_.data(), sink_q_.data()}, attended_.row(0), threads_[size_t(i_thread)].attention);
  pool_.barrier();
  measured(i_thread, Op::kAttend, layer);

  const Forms out_forms = Forms::of(w.output);
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
    norm_input(t, w.ffn_norm, ffn_forms);
  }
  measured(i_thread, Op::kAttentionEnd, layer);
}

// From raw q, k, v to what attention reads: bias, norm, rope, rotation; q into its own array, k and v into the cache.
void Decoder::place_heads(int i_thread, int layer) {
  const bool narrow = narrows(layer);
  const int n_keys = int(positions_.size()), n_queries = narrow ? n_rows_ : n_keys;
  if (spec_.qk_norm == QkNorm::kRow) {
    const LayerWeights& w = weights_.layers[size_t(layer)];
    norm_rows(i_thread, n_queries, 0, w.q_norm);
    norm_rows(i_thread, n_keys, n_q(), w.k_norm);
    pool_.barrier();
  }
  const auto [first_query, last_query] = share(n_queries * spec_.n_heads, i_thread);
  for (int i = first_query; i < last_query; ++i) {
    const int row = i / spec_.n_heads;
    place_query(layer, row, narrow ? rows_[row] : row, i % spec_.n_heads);
  }
  const auto [first_key, last_key] = share(n_keys * spec_.n_kv_heads, i_thread);
  for (int i = first_key; i < last_key; ++i) place_key_value(layer, i / spec_.n_kv_heads, i % spec_.n_kv_heads);
}

// Norms a part of qkv_, all heads of a row together.
void Decoder::norm_rows(int i_thread, int n_rows, int at, const std::vector<float>& weight) {
  const auto [begin, end] = share(n_rows, i_thread);
  for (int i = begin; i < end; ++i) {
    float* row = qkv_.data() + size_t(i) * size_t(n_qkv()) + at;
    kernels_.rms_norm(row, weight.data(), row, int(weight.size()), spec_.norm_eps);
  }
}

void Decoder::place_query(int layer, int row, int token, int head) {
  const LayerWeights& w = weights_.layers[size_t(layer)];
  float* raw = qkv_.data() + size_t(row) * size_t(n_qkv()) + head * spec_.head_dim;
  norm_head(raw, head, w.q_bias, w.q_norm);
  const size_t at = (size_t(row) * spec_.n_heads + head) * spec_.kv_head_dim();
  if (spec_.layer_span[size_t(layer)].sinks > 0) {
    alignas(64) float for_sinks[4096];
    std::memcpy(for_sinks, raw, size_t(spec_.head_dim) * 4);
    rope(for_sinks, layer, token, true);
    place_padded(for_sinks, sink_q_.data() + at);
  }
  rope(raw, layer, token);
  place_padded(raw, q_.data() + at);
}

void Decoder::place_key_value(int layer, int token, int kv_head) {
  const LayerWeights& w = weights_.layers[size_t(layer)];
  float* raw = qkv_.data() + size_t(token) * size_t(n_qkv()) + n_q() + kv_head * spec_.head_dim;
  norm_head(raw, kv_head, w.k_bias, w.k_norm);
  rope(raw, layer, token);
  float* raw_value = raw + n_kv();
  add_bias(raw_value, w.v_bias, kv_head);
  alignas(64) float key[4096], value[4096];
  place_padded(raw, key);
  place_padded(raw_value, value);
  const int position = positions_[size_t(token)];
  std::byte* block = kv_.block(layer, owner_[size_t(token)]->table(kv_.pool_of(layer))[position / kKvBlock]);
  kernels_.kv[int(kv_.type())].store(key, value, block + kv_.k_offset(layer, kv_head), block + kv_.v_offset(layer, kv_head),
                                     position % kKvBlock, spec_.kv_head_dim());
}

// Bias and norm of one head of a query or key.
void Decoder::norm_head(float* raw, int head, const std::vector<float>& bias, const std::vector<float>& norm) const {
  add_bias(raw, bias, head);
  if (spec_.qk_norm == QkNorm::kHead) kernels_.rms_norm(raw, norm.data(), raw, spec_.head_dim, spec_.norm_eps);
}

void Decoder::add_bias(float* raw, const std::vector<float>& bias, int head) const {
  if (bias.empty()) return;
  for (int d = 0; d < spec_.head_dim; ++d) raw[d] += bias[size_t(head * spec_.head_dim + d)];
}

// One head, with zeros up to the dimension that attention works on, rotated as the KV type wants it.
void Decoder::place_padded(const float* head, float* to) const {
  std::memcpy(to, head, size_t(spec_.head_dim) * 4);
  std::fill(to + spec_.head_dim, to + spec_.kv_head_dim(), 0.0f);
  if (const auto rotate = kernels_.kv[int(kv_.type())].rotate) rotate(to, spec_.kv_head_dim());
}

// Rotary embedding (Su et al. 2021) of one head; dimensions beyond n_rot stay.
void Decoder::rope(float* head, int layer, int token, bool for_sinks) const {
  const int table = spec_.layer_rope[size_t(layer)];
  if (table < 0) return;
  const size_t half = spec_.ropes[size_t(table)].frequencies.size();
  const size_t set = size_t(table) + (for_sinks ? spec_.ropes.size() : 0);
  const float* angles = angles_.data() + angles_at_[set] + size_t(token) * 2 * half;
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

  const Forms down_forms = Forms::of(w.down);
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
  const Forms router_forms = Forms::of(w.router), down_forms = Forms::of(w.down_experts);
  Forms expert_forms;
  for (const Matrix* m : {&w.gate_experts, &w.up_experts}) expert_forms.add(*m);

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

// Final norm, and unless that is the result the output head, scale and cap, for the rows asked for only.
void Decoder::head(int i_thread, const Step& step) {
  pool_.barrier();
  const Forms forms = Forms::of(weights_.head);
  const auto [begin, end] = share(step.n_rows, i_thread);
  for (int r = begin; r < end; ++r) {
    const float* x = residual_ + size_t(r) * spec_.n_embd;
    float* state = spec_.embeds ? step.out + size_t(r) * spec_.n_embd : last_.row(r);
    kernels_.rms_norm(x, weights_.output_norm.data(), state, spec_.n_embd, spec_.norm_eps);
    if (!spec_.embeds) last_.quantize(kernels_, r, forms);
  }
  if (spec_.embeds) return;
  pack(last_, forms);
  multiply(i_thread, last_, {{&weights_.head, step.out, size_t(spec_.n_vocab)}});
  pool_.barrier();
  measured(i_thread, Op::kHead, -1);
  if (spec_.logit_scale == 1.0f && spec_.logit_softcap == 0.0f) return;
  for (int r = begin; r < end; ++r) {
    float* logits = step.out + size_t(r) * spec_.n_vocab;
    for (int i = 0; i < spec_.n_vocab; ++i) logits[i] *= spec_.logit_scale;
    if (spec_.logit_softcap != 0.0f) kernels_.softcap(logits, spec_.n_vocab, spec_.logit_softcap);
  }
}

}  // namespace edgeinfer

#include "engine/engine.h"

#include <algorithm>
#include <string>

#include "errors.h"

namespace edgeinfer {

namespace {

void require(bool good, const char* what, int at) {
  if (!good) throw Error(ErrorCode::kInvalidRequest, std::string("step: ") + what + " at index " + std::to_string(at));
}

std::vector<int> pool_of_layers(const DecoderSpec& spec, const std::vector<Span>& spans, size_t n_pools) {
  if (spans.size() != n_pools) throw Error(ErrorCode::kInvalidRequest, "there is one KV pool for each kind of layer");
  std::vector<int> pools;
  for (const Span& span : spec.layer_span) pools.push_back(int(std::find(spans.begin(), spans.end(), span) - spans.begin()));
  return pools;
}

}  // namespace

Engine::Engine(std::shared_ptr<const gguf::File> file, const DecoderSpec& spec, int n_threads, const std::vector<int>& n_blocks,
               KvType kv_type)
    : file_(file),
      spans_(spec.spans()),
      kv_(kv_type, n_blocks, pool_of_layers(spec, spans_, n_blocks.size()), spec.n_kv_heads, spec.kv_head_dim()),
      threads_(n_threads),
      decoder_(spec, std::move(file), kv_, threads_) {}

void Engine::check(const StepArrays& a) const {
  require(a.n_tokens > 0 && a.n_sequences > 0 && a.starts[0] == 0 && a.starts[a.n_sequences] == a.n_tokens,
          "starts do not cover the tokens", 0);
  for (int i = 0; i < a.n_tokens; ++i) require(a.tokens[i] >= 0 && a.tokens[i] < n_vocab(), "token outside the vocabulary", i);
  for (int s = 0; s < a.n_sequences; ++s) {
    require(a.starts[s] < a.starts[s + 1], "sequence without tokens", s);
    require(a.lengths[s] >= 0, "negative length", s);
    check_tables(a, s);
  }
  for (int r = 0; r < a.n_rows; ++r) require(a.rows[r] >= 0 && a.rows[r] < a.n_tokens, "row outside the tokens", r);
}

// Every block that the new tokens see is one of its pool.
void Engine::check_tables(const StepArrays& a, int sequence) const {
  const size_t s = size_t(sequence);
  const int64_t end = int64_t(a.lengths[s]) + a.starts[s + 1] - a.starts[s];
  require(end <= int64_t(a.max_blocks) * kKvBlock, "table too short", sequence);
  for (size_t p = 0; p < spans_.size(); ++p) {
    const int32_t* table = a.tables + (p * size_t(a.n_sequences) + s) * size_t(a.max_blocks);
    const auto check = [&](int64_t first_token, int64_t end_token) {
      for (int64_t b = first_token / kKvBlock; b * kKvBlock < end_token; ++b)
        require(table[b] >= 0 && table[b] < kv_.pool(int(p)).n_blocks(), "block outside the pool, in table", sequence);
    };
    check(0, std::min<int64_t>(spans_[p].sinks, end));
    check(spans_[p].first(a.lengths[s]), end);
  }
}

void Engine::step(const StepArrays& a) {
  check(a);
  cancel_.store(false, std::memory_order_relaxed);
  Step step{a.tokens, a.n_tokens, {}, a.rows, a.n_rows, a.out};
  const size_t stride = size_t(a.n_sequences) * size_t(a.max_blocks);
  for (int s = 0; s < a.n_sequences; ++s)
    step.sequences.push_back(
        {a.starts[s], a.starts[s + 1] - a.starts[s], a.lengths[s], a.tables + size_t(s) * size_t(a.max_blocks), stride});
  decoder_.run(step, cancel_);
  file_->require_intact();
}

}  // namespace edgeinfer

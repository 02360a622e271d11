#include "engine/engine.h"

#include <string>

#include "errors.h"

namespace edgeinfer {

Engine::Engine(std::shared_ptr<const gguf::File> file, const DecoderSpec& spec, int n_threads, int n_blocks, KvType kv_type)
    : file_(file),
      kv_(kv_type, n_blocks, spec.n_layers, spec.n_kv_heads, spec.kv_head_dim()),
      threads_(n_threads),
      decoder_(spec, std::move(file), kv_, threads_) {}

void Engine::check(const StepArrays& a) const {
  const auto require = [](bool good, const char* what, int at) {
    if (!good) throw Error(ErrorCode::kInvalidRequest, std::string("step: ") + what + " at index " + std::to_string(at));
  };
  require(a.n_tokens > 0 && a.n_sequences > 0 && a.starts[0] == 0 && a.starts[a.n_sequences] == a.n_tokens,
          "starts do not cover the tokens", 0);
  for (int i = 0; i < a.n_tokens; ++i) require(a.tokens[i] >= 0 && a.tokens[i] < n_vocab(), "token outside the vocabulary", i);
  for (int s = 0; s < a.n_sequences; ++s) {
    require(a.starts[s] < a.starts[s + 1], "sequence without tokens", s);
    require(a.lengths[s] >= 0, "negative length", s);
    const int64_t end = int64_t(a.lengths[s]) + a.starts[s + 1] - a.starts[s];
    require((end + kKvBlock - 1) / kKvBlock <= a.max_blocks, "table too short", s);
    for (int b = 0; b < (end + kKvBlock - 1) / kKvBlock; ++b) {
      const int32_t id = a.tables[size_t(s) * size_t(a.max_blocks) + size_t(b)];
      require(id >= 0 && id < kv_.n_blocks(), "block outside the pool, in table", s);
    }
  }
  for (int r = 0; r < a.n_rows; ++r) require(a.rows[r] >= 0 && a.rows[r] < a.n_tokens, "row outside the tokens", r);
}

void Engine::step(const StepArrays& a) {
  check(a);
  cancel_.store(false, std::memory_order_relaxed);
  Step step{a.tokens, a.n_tokens, {}, a.rows, a.n_rows, a.logits};
  for (int s = 0; s < a.n_sequences; ++s)
    step.sequences.push_back(
        {a.starts[s], a.starts[s + 1] - a.starts[s], a.lengths[s], a.tables + size_t(s) * size_t(a.max_blocks)});
  decoder_.run(step, cancel_);
  file_->require_intact();
}

}  // namespace edgeinfer

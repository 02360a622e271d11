// Engine: one loaded model with its threads and its KV memory, behind one checked call per step.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "gguf/file.h"
#include "kv/cache.h"
#include "model/decoder.h"
#include "threads/pool.h"

namespace edgeinfer {

// The arrays of one step, as they cross from Python (edgeinfer/backends/native.py names them).
struct StepArrays {
  const int32_t* tokens;  // (n_tokens)
  int n_tokens;
  const int32_t* starts;   // (n_sequences + 1)
  const int32_t* lengths;  // (n_sequences)
  const int32_t* tables;   // (n_pools, n_sequences, max_blocks)
  int n_sequences, max_blocks;
  const int32_t* rows;  // (n_rows)
  int n_rows;
  float* out;  // (n_rows, row_width)
};

class Engine {
 public:
  Engine(std::shared_ptr<const gguf::File> file, const DecoderSpec& spec, int n_threads, const std::vector<int>& n_blocks,
         KvType kv_type);

  // Throws kInvalidRequest for arrays that make no sense, kCancelled, kModelFileChanged. The caller's lengths decide what
  // the cache holds, so a step that throws has changed nothing.
  void step(const StepArrays& arrays);
  void cancel() { cancel_.store(true, std::memory_order_relaxed); }

  KvCache& kv() { return kv_; }
  int n_vocab() const { return decoder_.spec().n_vocab; }
  int row_width() const { return decoder_.spec().row_width(); }
  Profile& profile() { return decoder_.profile(); }
  size_t copied_weight_bytes() const { return decoder_.weights().copied_bytes; }

 private:
  void check(const StepArrays& a) const;
  void check_tables(const StepArrays& a, int sequence) const;

  std::shared_ptr<const gguf::File> file_;
  const std::vector<Span> spans_;  // (n_pools)
  KvCache kv_;
  ThreadPool threads_;
  Decoder decoder_;
  std::atomic<bool> cancel_{false};
};

}  // namespace edgeinfer

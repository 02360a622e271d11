// KvPool: the paged KV memory of some layers. Block ids, reference counts and tables live in Python
// (edgeinfer/kv); this room only knows where block i lies and how to copy it.
#pragma once

#include <cstddef>

#include "kernels/table.h"

namespace edgeinfer {

class KvPool {
 public:
  // Reserves address space only: the system gives memory as blocks are first written.
  // Throws kNotEnoughMemory if even the address space cannot be had.
  KvPool(KvType type, int n_blocks, int n_layers, int n_kv_heads, int head_dim);
  ~KvPool();
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;

  std::byte* block(int id) { return base_ + size_t(id) * block_bytes_; }
  void copy_block(int from, int to);

  // Offset in a block of K (or V) of one layer and head: [layer][K, V][kv head].
  size_t k_offset(int layer, int head) const { return (size_t(layer) * 2 * n_kv_heads_ + head) * head_bytes_; }
  size_t v_offset(int layer, int head) const { return k_offset(layer, head) + size_t(n_kv_heads_) * head_bytes_; }

  int n_blocks() const { return n_blocks_; }
  size_t block_bytes() const { return block_bytes_; }

 private:
  int n_blocks_, n_kv_heads_;
  size_t head_bytes_, block_bytes_;
  std::byte* base_ = nullptr;
};

}  // namespace edgeinfer

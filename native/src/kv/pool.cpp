#include "kv/pool.h"

#include <sys/mman.h>

#include <cstring>
#include <string>

#include "errors.h"

namespace edgeinfer {

KvPool::KvPool(KvType type, int n_blocks, int n_layers, int n_kv_heads, int head_dim)
    : n_blocks_(n_blocks), n_kv_heads_(n_kv_heads), head_bytes_(kv_head_bytes(type, head_dim)) {
  block_bytes_ = size_t(n_layers) * 2 * size_t(n_kv_heads) * head_bytes_;
  size_t total;
  if (__builtin_mul_overflow(block_bytes_, size_t(n_blocks), &total))
    throw Error(ErrorCode::kNotEnoughMemory, "the KV cache would not fit any address space", "use a smaller --context-length");
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_NORESERVE
  flags |= MAP_NORESERVE;
#endif
  void* base = mmap(nullptr, total, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (base == MAP_FAILED)
    throw Error(ErrorCode::kNotEnoughMemory,
                "cannot reserve " + std::to_string(total >> 20) + " MiB of address space for the KV cache",
                "use a smaller --context-length, or --kv-type q8_0 or iq4_nl");
  base_ = static_cast<std::byte*>(base);
}

KvPool::~KvPool() { munmap(base_, block_bytes_ * size_t(n_blocks_)); }

void KvPool::copy_block(int from, int to) { std::memcpy(block(to), block(from), block_bytes_); }

}  // namespace edgeinfer

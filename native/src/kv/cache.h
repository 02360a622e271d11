// KvCache: keys and values of all layers, a pool for each kind of layer. Layers that see the same tokens of a sequence need
// the same blocks; those with a window can do without old ones.
#pragma once

#include <memory>
#include <vector>

#include "kv/pool.h"

namespace edgeinfer {

class KvCache {
 public:
  // n_blocks: (n_pools). layer_pool: (n_layers) the pool that a layer is in.
  KvCache(KvType type, const std::vector<int>& n_blocks, std::vector<int> layer_pool, int n_kv_heads, int head_dim)
      : type_(type), layer_pool_(std::move(layer_pool)) {
    std::vector<int> n_layers(n_blocks.size(), 0);
    for (int pool : layer_pool_) layer_index_.push_back(n_layers[size_t(pool)]++);
    for (size_t i = 0; i < n_blocks.size(); ++i)
      pools_.push_back(std::make_unique<KvPool>(type, n_blocks[i], n_layers[i], n_kv_heads, head_dim));
  }

  KvType type() const { return type_; }
  int n_pools() const { return int(pools_.size()); }
  KvPool& pool(int i) { return *pools_[size_t(i)]; }
  const KvPool& pool(int i) const { return *pools_[size_t(i)]; }

  int pool_of(int layer) const { return layer_pool_[size_t(layer)]; }
  std::byte* block(int layer, int id) { return pool(pool_of(layer)).block(id); }
  size_t k_offset(int layer, int head) const { return pool(pool_of(layer)).k_offset(layer_index_[size_t(layer)], head); }
  size_t v_offset(int layer, int head) const { return pool(pool_of(layer)).v_offset(layer_index_[size_t(layer)], head); }

 private:
  KvType type_;
  std::vector<int> layer_pool_, layer_index_;  // (n_layers)
  std::vector<std::unique_ptr<KvPool>> pools_;
};

}  // namespace edgeinfer

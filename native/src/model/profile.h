// Profile: where the time of the steps goes, by operation and layer, as thread 0 sees it: its own work and its wait for
// the others at the barrier that ends the operation. Off, it costs a branch an operation.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

namespace edgeinfer {

enum class Op : uint8_t {
  kEmbed,         // embedding rows, rope angles
  kQkv,           // panels of the input, q, k and v
  kHeads,         // bias, norm and rope of the heads, KV write
  kAttend,        // scores, softmax, values
  kOutput,        // quantizing what attention gave, output matrix
  kAttentionEnd,  // residual, norm and quantizing before the feed-forward
  kRouter,        // router matrix, choice of experts
  kGateUp,        // panels of the input, gate and up
  kActivate,      // activation, quantizing
  kDown,          // panels, down matrix
  kLayerEnd,      // residual, norm and quantizing before the next layer
  kHead,          // final norm, output head
};
constexpr std::array<std::string_view, 12> kOpNames = {"embed",  "qkv",     "heads",    "attend", "output",    "attention end",
                                                       "router", "gate up", "activate", "down",   "layer end", "head"};

class Profile {
 public:
  struct Entry {
    Op op;
    int layer;  // -1: outside the layers
    int calls;
    double seconds;
  };

  void start() {
    entries_.clear();
    on_ = true;
  }
  // What was measured since start(), in order of first use; ends the measurement.
  std::vector<Entry> take() {
    on_ = false;
    return std::move(entries_);
  }

  bool on() const { return on_; }
  void begin_step() {
    if (on_) last_ = Clock::now();
  }
  // An operation of thread 0 ends, and the next one begins.
  void end(Op op, int layer) {
    const Clock::time_point now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    for (Entry& e : entries_)
      if (e.op == op && e.layer == layer) {
        ++e.calls;
        e.seconds += seconds;
        return;
      }
    entries_.push_back({op, layer, 1, seconds});
  }

 private:
  using Clock = std::chrono::steady_clock;
  bool on_ = false;
  Clock::time_point last_;
  std::vector<Entry> entries_;
};

}  // namespace edgeinfer

// ThreadPool: one team of threads that runs a step together. The caller is thread 0 and works too.
//
// Threads meet at barriers; a waiting thread spins for some tens of microseconds, then sleeps, so that a step has no
// system calls in the common case and an idle engine uses no CPU.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace edgeinfer {

class ThreadPool {
 public:
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return n_threads_; }

  // Runs work(i) on every thread i and returns when all are done. work must not throw.
  void run(const std::function<void(int)>& work);

  // Within work: waits for all threads of the team.
  void barrier();

  // Within work, after a barrier: the next piece of the current phase's work; pieces are handed out once each, and every
  // barrier starts a new phase.
  int next_piece() { return pieces_[phase() % kPhases].fetch_add(1, std::memory_order_relaxed); }

 private:
  static constexpr int kPhases = 4;

  unsigned phase() const { return epoch_.load(std::memory_order_relaxed); }
  void worker(int i_thread);

  const int n_threads_;
  const std::function<void(int)>* work_ = nullptr;
  bool stopping_ = false;
  alignas(64) std::atomic<uint32_t> runs_{0};   // how many runs were started
  alignas(64) std::atomic<uint32_t> epoch_{0};  // how many barriers were passed
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> pieces_[kPhases] = {};
  std::vector<std::thread> threads_;
};

}  // namespace edgeinfer

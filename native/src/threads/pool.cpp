#include "threads/pool.h"

#include <chrono>

namespace edgeinfer {
namespace {

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");  // waits about as long as x86's pause; yield does nothing on most cores
#endif
}

// Longer than any gap within a step, too short to matter in idle time.
constexpr std::chrono::microseconds kSpinTime{50};
constexpr int kSpinsPerLook = 64;  // at the clock

void wait_while(const std::atomic<uint32_t>& value, uint32_t old) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point start{};
  do {
    for (int i = 0; i < kSpinsPerLook; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      relax();
    }
    if (start == Clock::time_point{}) start = Clock::now();
  } while (Clock::now() - start < kSpinTime);
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int n_threads) : n_threads_(n_threads) {
  for (int i = 1; i < n_threads; ++i) threads_.emplace_back([this, i] { worker(i); });
}

ThreadPool::~ThreadPool() {
  stopping_ = true;
  runs_.fetch_add(1, std::memory_order_release);
  runs_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void ThreadPool::run(const std::function<void(int)>& work) {
  work_ = &work;
  runs_.fetch_add(1, std::memory_order_release);
  runs_.notify_all();
  work(0);
  barrier();
}

void ThreadPool::worker(int i_thread) {
  for (uint32_t seen = 0;; ++seen) {
    wait_while(runs_, seen);
    if (stopping_) return;
    (*work_)(i_thread);
    barrier();
  }
}

void ThreadPool::barrier() {
  const uint32_t epoch = epoch_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 < n_threads_) {
    wait_while(epoch_, epoch);
    return;
  }
  // The last to arrive prepares the phase after the next: nobody can be in it yet, and nobody is left in it.
  arrived_.store(0, std::memory_order_relaxed);
  pieces_[(epoch + 2) % kPhases].store(0, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
}

}  // namespace edgeinfer

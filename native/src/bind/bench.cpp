// Measurements for `edgeinfer bench`: what the machine can do, and what one kernel does.
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <atomic>
#include <chrono>
#include <vector>

#include "bind/bind.h"
#include "bind/names.h"
#include "errors.h"
#include "model/single_product.h"
#include "threads/pool.h"

namespace nb = nanobind;

namespace edgeinfer::bind {
namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// What keeps a compiler from leaving the measured work out.
std::atomic<int32_t> g_sink;

// Threads that measure together: all begin at a barrier, and the slowest ends the time.
class Limits {
 public:
  explicit Limits(int n_threads) : pool_(n_threads) {}

  // Bytes a second that the threads read together, each its own stretch of `bytes`.
  double read(Bytes bytes) {
    const size_t share = bytes.shape(0) / size_t(pool_.size()) / 128 * 128;
    if (share == 0) throw Error(ErrorCode::kInvalidRequest, "read: too few bytes for so many threads");
    const auto* from = reinterpret_cast<const std::byte*>(bytes.data());
    const double seconds = timed([&](int i) { g_sink ^= kernels().read_all(from + size_t(i) * share, share); });
    return double(share) * pool_.size() / seconds;
  }
  // Multiply-adds a second.
  double float_peak(int rounds) {
    return per_second([rounds] {
      alignas(64) float sink[64];
      for (int i = 0; i < 64; ++i) sink[i] = i < 16 ? 0.5f : 1.0f;
      const int64_t done = kernels().spin_float(rounds, sink);
      g_sink ^= int32_t(sink[0]);
      return done;
    });
  }
  double int8_peak(int rounds) {
    return per_second([rounds] {
      alignas(64) uint8_t w[16 * kSuperblock] = {};
      alignas(64) int8_t x[16 * 32 * kPanelTokens] = {};
      alignas(64) int32_t sink[16 * kPanelTokens];
      const int64_t done = kernels().spin_int8(rounds, w, x, sink);
      g_sink ^= sink[0];
      return done;
    });
  }
  // Seconds until all threads have met once.
  double barrier(int rounds) {
    return timed([&](int) {
             for (int i = 0; i < rounds; ++i) pool_.barrier();
           }) /
           rounds;
  }

 private:
  template <class Work>
  double timed(const Work& work) {
    nb::gil_scoped_release unlocked;
    Clock::time_point start;
    pool_.run([&](int i) {
      pool_.barrier();
      if (i == 0) start = Clock::now();
      work(i);
    });
    return seconds_since(start);
  }
  template <class Work>
  double per_second(const Work& work) {
    std::atomic<int64_t> done = 0;
    const double seconds = timed([&](int) { done += work(); });
    return double(done) / seconds;
  }

  ThreadPool pool_;
};

// One product on made-up weights.
class KernelBench {
 public:
  KernelBench(const std::string& target, const std::string& type, int n_in, size_t weight_bytes, int n_tokens, bool prefill)
      : type_(type_of(type)),
        row_bytes_(size_t(n_in / kTensorTypes[int(type_)].values) * size_t(kTensorTypes[int(type_)].bytes)),
        n_rows_(std::max(kRowTile, int(weight_bytes / row_bytes_ / kRowTile) * kRowTile)),
        weights_(size_t(n_rows_) * row_bytes_),
        out_(size_t(n_rows_) * size_t(n_tokens)),
        product_(table_of(target), type_, made_up(), n_rows_, tokens(n_tokens, n_in).data(), n_tokens, n_in, prefill) {}

  double run() {
    nb::gil_scoped_release unlocked;
    const Clock::time_point start = Clock::now();
    product_.run(out_.data());
    return seconds_since(start);
  }
  int n_rows() const { return n_rows_; }
  size_t row_bytes() const { return row_bytes_; }

 private:
  // Bits that are small finite numbers wherever a 16-bit or 32-bit float lies.
  const std::byte* made_up() {
    uint32_t state = 1;
    for (std::byte& b : weights_) {
      state = state * 1664525 + 1013904223;
      b = std::byte(state >> 24 & 0x3b);
    }
    return weights_.data();
  }
  static std::vector<float> tokens(int n_tokens, int n_in) {
    std::vector<float> x(size_t(n_tokens) * size_t(n_in));
    for (size_t i = 0; i < x.size(); ++i) x[i] = float(int(i * 7919 % 200) - 100) * 0.01f;
    return x;
  }

  const TensorType type_;
  const size_t row_bytes_;
  const int n_rows_;
  std::vector<std::byte> weights_;
  std::vector<float> out_;
  SingleProduct product_;
};

}  // namespace

void add_bench(nb::module_& m) {
  m.attr("TENSOR_TYPES") = [] {
    nb::list names;
    for (const TensorTypeInfo& info : kTensorTypes) names.append(info.name);
    return names;
  }();
  nb::class_<Limits>(m, "Limits", "What some threads of this machine can do at most, with the SIMD target in use.")
      .def(nb::init<int>(), nb::arg("n_threads"))
      .def("read", &Limits::read, nb::arg("bytes"), "Bytes a second, streaming through an array.")
      .def("float_peak", &Limits::float_peak, nb::arg("rounds"), "Float multiply-adds a second.")
      .def("int8_peak", &Limits::int8_peak, nb::arg("rounds"), "Multiply-adds of bytes a second.")
      .def("barrier", &Limits::barrier, nb::arg("rounds"), "Seconds of one barrier.");
  nb::class_<KernelBench>(m, "KernelBench", "One product of made-up weights, on one thread.")
      .def(nb::init<const std::string&, const std::string&, int, size_t, int, bool>(), nb::arg("target"), nb::arg("type"),
           nb::arg("n_in"), nb::arg("weight_bytes"), nb::arg("n_tokens"), nb::arg("prefill"))
      .def("run", &KernelBench::run, "Seconds of one product.")
      .def_prop_ro("n_rows", &KernelBench::n_rows)
      .def_prop_ro("row_bytes", &KernelBench::row_bytes);
}

}  // namespace edgeinfer::bind

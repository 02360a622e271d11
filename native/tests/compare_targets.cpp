// Every kernel of every target that this processor runs, bit for bit against the scalar target: random and extreme
// blocks, tails, NaN. tests/native/test_kernels.py proves the scalar target (and the x86 ones) against slow references;
// this program carries the proof to processors that are emulated. Exit code 1 if anything differs.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "model/activations.h"

using namespace edgeinfer;

namespace {

std::mt19937 generator(7);

uint32_t below(uint32_t n) { return uint32_t(generator() % n); }
float normal() { return std::normal_distribution<float>(0.0f, 2.0f)(generator); }

// Random bytes, with exponents of all 16-bit and 32-bit floats kept small enough to be finite.
std::vector<std::byte> random_weights(TensorType type, size_t n_bytes) {
  std::vector<std::byte> bytes(n_bytes);
  for (std::byte& b : bytes) b = std::byte(below(256));
  const TensorTypeInfo& info = kTensorTypes[int(type)];
  const auto tame = [&](size_t at) { bytes[at + 1] = std::byte(uint8_t(bytes[at + 1]) & 0xbb); };
  const std::string name = info.name;
  for (size_t block = 0; block < n_bytes; block += size_t(info.bytes)) {
    if (name == "F32")
      bytes[block + 3] = std::byte(uint8_t(bytes[block + 3]) & 0xbf);
    else if (name == "F16")
      tame(block);
    else if (name == "BF16")
      bytes[block + 1] = std::byte(uint8_t(bytes[block + 1]) & 0xbf);
    else if (name == "Q2_K") {
      tame(block + 80);
      tame(block + 82);
    } else if (name == "Q3_K")
      tame(block + 108);
    else if (name == "Q6_K")
      tame(block + 208);
    else if (name == "MXFP4")
      bytes[block] = std::byte(110 + below(30));
    else {
      tame(block);
      if (name == "Q4_1" || name == "Q5_1" || name == "Q4_K" || name == "Q5_K") tame(block + 2);
    }
  }
  return bytes;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(&a[i], &b[i], 4) != 0 && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  return true;
}

std::vector<float> matmul(const KernelTable& k, TensorType type, const std::vector<std::byte>& weights,
                          const std::vector<float>& x, int n_in, int n_rows, int n_tokens, bool prefill) {
  const TensorTypeInfo& info = kTensorTypes[int(type)];
  Activations acts;
  acts.shape(prefill ? std::max(n_tokens, kMaxDirectTokens + 1) : n_tokens, n_in);
  const bool g32 = info.form == ActivationForm::Group32, g256 = info.form == ActivationForm::Group256;
  for (int t = 0; t < acts.n_tokens(); ++t) {
    std::memcpy(acts.row(t), x.data() + size_t(std::min(t, n_tokens - 1)) * size_t(n_in), size_t(n_in) * 4);
    acts.quantize(k, t, g32, g256);
  }
  if (prefill && (g32 || g256))
    for (int p = 0; p < acts.n_panels(); ++p) acts.pack(k, p, g32, g256);
  std::vector<float> out(size_t(n_tokens) * size_t(n_rows));
  Buffer<std::byte> scratch;
  MatmulArgs a{};
  a.weights = weights.data();
  a.row_bytes = size_t(n_in / info.values) * size_t(info.bytes);
  a.n_in = n_in;
  a.x = acts.rows();
  a.acts = acts.of(info.form);
  a.n_columns = n_tokens;
  a.out = out.data();
  a.out_stride = size_t(n_rows);
  a.scratch = scratch.get(k.scratch_bytes(n_in));
  for (int row = 0; row < n_rows; row += prefill ? kRowTile : n_rows) {
    a.row0 = row;
    a.row1 = std::min(row + (prefill ? kRowTile : n_rows), n_rows);
    (prefill ? k.types[int(type)].prefill : k.types[int(type)].direct)(a);
  }
  return out;
}

bool check_matmul(const KernelTable& reference, const KernelTable& k, TensorType type) {
  const TensorTypeInfo& info = kTensorTypes[int(type)];
  for (int round = 0; round < 6; ++round) {
    const int n_in = int(1 + below(4)) * std::max(info.values, 32) + (info.values == 1 ? int(below(32)) : 0);
    const int n_rows = int(1 + below(70)), n_tokens = int(1 + below(37));
    const auto weights = random_weights(type, size_t(n_rows) * size_t(n_in / info.values) * size_t(info.bytes));
    std::vector<float> x(size_t(n_in) * size_t(n_tokens));
    for (float& v : x) v = round == 4 ? (below(2) ? 3.0f : -3.0f) : normal();
    if (round == 5) x[below(uint32_t(x.size()))] = NAN;
    const auto expected = matmul(reference, type, weights, x, n_in, n_rows, n_tokens, false);
    for (bool prefill : {false, true})
      if (!same(expected, matmul(k, type, weights, x, n_in, n_rows, n_tokens, prefill))) return false;
    std::vector<float> a(static_cast<size_t>(n_in)), b(static_cast<size_t>(n_in));
    reference.types[int(type)].dequantize(weights.data(), a.data(), n_in);
    k.types[int(type)].dequantize(weights.data(), b.data(), n_in);
    if (!same(a, b)) return false;
  }
  return true;
}

bool check_elementwise(const KernelTable& reference, const KernelTable& k) {
  for (int n : {1, 15, 16, 33, 1000}) {
    std::vector<float> x(static_cast<size_t>(n)), y(static_cast<size_t>(n));
    for (float& v : x) v = normal() * 10.0f;
    for (float& v : y) v = normal();
    const auto run = [&](const KernelTable& t) {
      std::vector<float> all;
      for (int op = 0; op < 5; ++op) {
        std::vector<float> z = x;
        if (op == 0) t.silu_mul(z.data(), y.data(), n);
        if (op == 1) t.gelu_mul(z.data(), y.data(), n);
        if (op == 2) t.softcap(z.data(), n, 5.0f);
        if (op == 3) t.softmax(z.data(), n);
        if (op == 4) t.rms_norm(x.data(), y.data(), z.data(), n, 1e-5f);
        all.insert(all.end(), z.begin(), z.end());
      }
      return all;
    };
    if (!same(run(reference), run(k))) return false;
  }
  return true;
}

std::vector<float> attend(const KernelTable& k, bool f16, int dim, const std::vector<float>& keys,
                          const std::vector<float>& values, const std::vector<float>& q, int n_rows,
                          const std::vector<int>& first, const std::vector<int>& last, float softcap) {
  const size_t head = kv_head_bytes(f16 ? KvType::F16 : KvType::Q8_0, dim);
  std::vector<std::byte> memory(2 * head * (kKvSplit / kKvBlock));
  const std::byte* blocks[kKvSplit / kKvBlock];
  for (int t = 0; t < kKvSplit; ++t) {
    std::byte* block = memory.data() + size_t(t / kKvBlock) * 2 * head;
    blocks[t / kKvBlock] = block;
    (f16 ? k.store_kv_f16 : k.store_kv_q8_0)(keys.data() + size_t(t) * size_t(dim), values.data() + size_t(t) * size_t(dim),
                                             block, block + head, t % kKvBlock, dim);
  }
  std::vector<float> scores(size_t(n_rows) * kKvSplit), out(size_t(n_rows) * size_t(dim + 2));
  AttentionArgs a{};
  a.q = q.data();
  a.q_stride = size_t(dim);
  a.n_rows = n_rows;
  a.head_dim = dim;
  a.blocks = blocks;
  a.k_offset = 0;
  a.v_offset = head;
  a.first = first.data();
  a.last = last.data();
  a.scale = 0.2f;
  a.softcap = softcap;
  a.scores = scores.data();
  a.max = out.data();
  a.sum = out.data() + n_rows;
  a.values = out.data() + 2 * n_rows;
  (f16 ? k.attend_f16 : k.attend_q8_0)(a);
  // Folding the result into itself exercises combine.
  k.combine(a.max, a.sum, a.values, a.max[0] + 1.0f, 2.0f, keys.data(), dim);
  return out;
}

bool check_attention(const KernelTable& reference, const KernelTable& k) {
  for (int round = 0; round < 12; ++round) {
    const int dim = 32 * int(1 + below(4)), n_rows = int(1 + below(kMaxQueryRows));
    std::vector<float> keys(size_t(kKvSplit) * size_t(dim)), values(keys.size()), q(size_t(n_rows) * size_t(dim));
    for (auto* v : {&keys, &values, &q})
      for (float& x : *v) x = normal();
    std::vector<int> first, last;
    for (int r = 0; r < n_rows; ++r) {
      first.push_back(int(below(100)));
      last.push_back(first.back() + 1 + int(below(uint32_t(kKvSplit - first.back()))));
    }
    for (bool f16 : {true, false})
      for (float softcap : {0.0f, 3.0f})
        if (!same(attend(reference, f16, dim, keys, values, q, n_rows, first, last, softcap),
                  attend(k, f16, dim, keys, values, q, n_rows, first, last, softcap)))
          return false;
  }
  return true;
}

}  // namespace

int main() {
  const KernelTable& reference = *available_kernels()[0];
  int failures = 0;
  const auto report = [&](const char* target, const char* what, bool good) {
    std::printf("%-14s %-12s %s\n", target, what, good ? "equal" : "DIFFERENT");
    failures += !good;
  };
  for (const KernelTable* const* t = available_kernels(); *t; ++t) {
    for (int i = 0; i < kTensorTypeCount; ++i)
      report((*t)->name, kTensorTypes[i].name, check_matmul(reference, **t, TensorType(i)));
    report((*t)->name, "elementwise", check_elementwise(reference, **t));
    report((*t)->name, "attention", check_attention(reference, **t));
  }
  return failures ? 1 : 0;
}

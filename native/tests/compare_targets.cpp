// Every kernel of every target that this processor runs, bit for bit against the scalar target: random and extreme
// blocks, tails, NaN. tests/native/test_kernels.py proves the scalar target (and the x86 ones) against slow references;
// this program carries the proof to processors that are emulated. Exit code 1 if anything differs.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "model/single_product.h"

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
  std::vector<float> out(size_t(n_tokens) * size_t(n_rows));
  SingleProduct(k, type, weights.data(), n_rows, x.data(), n_tokens, n_in, prefill).run(out.data());
  return out;
}

bool check_matmul(const KernelTable& reference, const KernelTable& k, TensorType type) {
  const TensorTypeInfo& info = kTensorTypes[int(type)];
  for (int round = 0; round < 6; ++round) {
    const int n_in = int(1 + below(4)) * std::max(info.values, 32) + (info.values == 1 ? int(below(32)) : 0);
    const int n_rows = int(1 + below(70)), n_tokens = int(1 + below(37)) + (round == 3 ? kFewTokens : 0);
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

template <class T>
bool same_bytes(const T* a, const T* b, size_t n) {
  return std::memcmp(a, b, n * sizeof(T)) == 0;
}

// The values of one token in a panel, whatever the runs in which the target interleaves them.
std::vector<int8_t> unpacked(const QuantizedActivations& a, int token, int run) {
  std::vector<int8_t> values(static_cast<size_t>(a.n_in));
  const int8_t* panel = a.panel_q + size_t(token / kPanelTokens) * kPanelTokens * size_t(a.n_in);
  for (int k = 0; k < a.n_in; ++k) values[size_t(k)] = panel[k / run * run * kPanelTokens + token % kPanelTokens * run + k % run];
  return values;
}

// The int8 forms themselves: a wrong sum or panel could cancel in a product. Rows of ties, of zeros, of subnormals.
bool check_quantize(const KernelTable& reference, const KernelTable& k) {
  for (int n_tokens : {5, 16, 19}) {
    const int n_in = 3 * kSuperblock;
    const Forms forms{.group32 = true, .group256 = true};
    Activations a, b;
    a.shape(n_tokens, n_in);
    b.shape(n_tokens, n_in);
    for (int t = 0; t < n_tokens; ++t) {
      for (int i = 0; i < n_in; ++i) {
        const float tie = i % 32 == 0 ? 127.0f : float(below(254)) - 126.5f;
        const float kinds[] = {normal(), tie, 0.0f, normal() * 1e-38f, normal() * 1e30f};
        a.row(t)[i] = b.row(t)[i] = kinds[t % 5];
      }
      a.quantize(reference, t, forms);
      b.quantize(k, t, forms);
    }
    for (int p = 0; p < a.n_panels(); ++p) {
      a.pack(reference, p, forms);
      b.pack(k, p, forms);
    }
    for (ActivationForm form : {ActivationForm::Group32, ActivationForm::Group256}) {
      const bool g32 = form == ActivationForm::Group32;
      const QuantizedActivations &x = *a.of(form), &y = *b.of(form);
      const size_t padded = size_t(a.n_panels()) * kPanelTokens, groups = size_t(n_in / (g32 ? 32 : kSuperblock));
      const size_t sums = g32 ? groups : groups * 16;
      if (!same_bytes(x.q, y.q, size_t(n_tokens) * size_t(n_in)) || !same_bytes(x.d, y.d, size_t(n_tokens) * groups) ||
          !same_bytes(x.sums, y.sums, size_t(n_tokens) * sums) || !same_bytes(x.panel_d, y.panel_d, padded * groups) ||
          !same_bytes(x.panel_sums, y.panel_sums, padded * groups * (g32 ? 2 : 2 * kSumPairs)))
        return false;
      for (int t = 0; t < int(padded); ++t)
        if (unpacked(x, t, reference.panel_run) != unpacked(y, t, k.panel_run)) return false;
    }
  }
  return true;
}

// Every 16-bit float to float, and what lies on, beside and between them back to 16 bits, through the KV cache.
bool check_halves(const KernelTable& reference, const KernelTable& k) {
  constexpr int kAll = 1 << 16, kDim = 32;
  std::vector<uint16_t> halves(kAll);
  for (int i = 0; i < kAll; ++i) halves[size_t(i)] = uint16_t(i);
  std::vector<float> a(kAll), b(kAll);
  const auto* bytes = reinterpret_cast<const std::byte*>(halves.data());
  reference.types[int(TensorType::F16)].dequantize(bytes, a.data(), kAll);
  k.types[int(TensorType::F16)].dequantize(bytes, b.data(), kAll);
  if (!same(a, b)) return false;
  const size_t head = kv_head_bytes(KvType::F16, kDim);
  for (int i = 0; i + kDim <= kAll; i += kDim)
    for (int step = -1; step <= 1; ++step) {
      float x[kDim];
      for (int lane = 0; lane < kDim; ++lane) {
        const float here = a[size_t(i + lane)], next = a[size_t(std::min(i + lane + 1, kAll - 1))];
        const float middle = std::isfinite(here) && std::isfinite(next) ? here + (next - here) * 0.5f : 65520.0f;
        x[lane] = std::isnan(here) ? 1e9f : step ? std::nextafter(middle, float(step) * INFINITY) : middle;
      }
      std::vector<std::byte> ours(2 * head), theirs(2 * head);
      reference.kv[int(KvType::F16)].store(x, x, ours.data(), ours.data() + head, 3, kDim);
      k.kv[int(KvType::F16)].store(x, x, theirs.data(), theirs.data() + head, 3, kDim);
      if (!same_bytes(ours.data(), theirs.data(), 2 * head)) return false;
    }
  return true;
}

bool check_elementwise(const KernelTable& reference, const KernelTable& k) {
  const float extremes[] = {0.0f, -0.0f, 1e-40f, 88.0f, -87.0f, 200.0f, -200.0f, 3e38f, INFINITY, -INFINITY, NAN};
  for (int n : {1, 15, 16, 33, 1000}) {
    std::vector<float> x(static_cast<size_t>(n)), y(static_cast<size_t>(n));
    for (float& v : x) v = below(8) ? normal() * 10.0f : extremes[below(std::size(extremes))];
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

// A block of keys and values that are normal, tied, constant, zero, tiny or large; and what a rotation makes of them.
bool check_store(const KernelTable& reference, const KernelTable& k, KvType type) {
  const KvKernels &expected = reference.kv[int(type)], &kv = k.kv[int(type)];
  for (int dim : {32, 64, 96, 128, 256}) {
    const size_t head = kv_head_bytes(type, dim);
    std::vector<std::byte> ours(2 * head), theirs(2 * head);
    for (int slot = 0; slot < kKvBlock; ++slot) {
      std::vector<float> key(static_cast<size_t>(dim)), value(key.size());
      for (auto* v : {&key, &value})
        for (float& x : *v) {
          const float kinds[] = {normal(), float(below(31)) - 15.0f, 2.5f, 0.0f, normal() * 1e-6f, normal() * 1e5f};
          x = kinds[slot % 6];
        }
      std::vector<float> a = key, b = key;
      if (expected.rotate) expected.rotate(a.data(), dim);
      if (kv.rotate) kv.rotate(b.data(), dim);
      if (!same(a, b)) return false;
      expected.store(key.data(), value.data(), ours.data(), ours.data() + head, slot, dim);
      kv.store(key.data(), value.data(), theirs.data(), theirs.data() + head, slot, dim);
    }
    if (!same_bytes(ours.data(), theirs.data(), 2 * head)) return false;
  }
  return true;
}

std::vector<float> attend(const KernelTable& k, KvType type, int dim, const std::vector<float>& keys,
                          const std::vector<float>& values, const std::vector<float>& q, int n_rows,
                          const std::vector<int>& first, const std::vector<int>& last, float softcap) {
  const size_t head = kv_head_bytes(type, dim);
  std::vector<std::byte> memory(2 * head * (kKvSplit / kKvBlock));
  const std::byte* blocks[kKvSplit / kKvBlock];
  for (int t = 0; t < kKvSplit; ++t) {
    std::byte* block = memory.data() + size_t(t / kKvBlock) * 2 * head;
    blocks[t / kKvBlock] = block;
    k.kv[int(type)].store(keys.data() + size_t(t) * size_t(dim), values.data() + size_t(t) * size_t(dim), block, block + head,
                          t % kKvBlock, dim);
  }
  std::vector<float> scratch(attention_scratch(dim)), out(size_t(n_rows) * size_t(dim + 2));
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
  a.scratch = scratch.data();
  a.max = out.data();
  a.sum = out.data() + n_rows;
  a.values = out.data() + 2 * n_rows;
  k.kv[int(type)].attend(a);
  // Folding the result into itself exercises combine.
  k.combine(a.max, a.sum, a.values, a.max[0] + 1.0f, 2.0f, keys.data(), dim);
  return out;
}

bool check_attention(const KernelTable& reference, const KernelTable& k, KvType type) {
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
    for (float softcap : {0.0f, 3.0f})
      if (!same(attend(reference, type, dim, keys, values, q, n_rows, first, last, softcap),
                attend(k, type, dim, keys, values, q, n_rows, first, last, softcap)))
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
    report((*t)->name, "quantize", check_quantize(reference, **t));
    report((*t)->name, "halves", check_halves(reference, **t));
    report((*t)->name, "elementwise", check_elementwise(reference, **t));
    for (int i = 0; i < kKvTypeCount; ++i)
      report((*t)->name, kKvTypes[i].name, check_store(reference, **t, KvType(i)) && check_attention(reference, **t, KvType(i)));
  }
  return failures ? 1 : 0;
}

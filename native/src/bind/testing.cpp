// Each kernel of each target, for the tests: plain arrays in, plain arrays out.
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>

#include "bind/bind.h"
#include "bind/names.h"
#include "errors.h"
#include "model/activations.h"
#include "model/attention.h"
#include "model/single_product.h"

namespace nb = nanobind;

namespace edgeinfer::bind {
namespace {

using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Matrix2 = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using MutableFloats = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using MutableMatrix = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void dequantize(const std::string& target, const std::string& type, nb::bytes row, MutableFloats out) {
  const TensorTypeInfo& info = kTensorTypes[int(type_of(type))];
  if (out.shape(0) % size_t(info.values) || row.size() != out.shape(0) / size_t(info.values) * size_t(info.bytes))
    throw Error(ErrorCode::kInvalidRequest, "dequantize: sizes do not fit");
  table_of(target).types[int(type_of(type))].dequantize(reinterpret_cast<const std::byte*>(row.c_str()), out.data(),
                                                        int(out.shape(0)));
}

// out (n_tokens, n_rows) = x (n_tokens, n_in) times weights (n_rows, n_in), with the direct or the prefill kernels.
void matmul(const std::string& target, const std::string& type, nb::bytes weights, Matrix2 x, MutableMatrix out, bool prefill) {
  const KernelTable& k = table_of(target);
  const int t = int(type_of(type));
  const TensorTypeInfo& info = kTensorTypes[t];
  const int n_tokens = int(x.shape(0)), n_in = int(x.shape(1)), n_rows = int(out.shape(1));
  const size_t row_bytes = size_t(n_in) / size_t(info.values) * size_t(info.bytes);
  if (n_in % info.values || out.shape(0) != x.shape(0) || weights.size() != row_bytes * size_t(n_rows))
    throw Error(ErrorCode::kInvalidRequest, "matmul: sizes do not fit");
  SingleProduct(k, TensorType(t), reinterpret_cast<const std::byte*>(weights.c_str()), n_rows, x.data(), n_tokens, n_in, prefill)
      .run(out.data());
}

// The int8 values and scales of one row, as floats.
nb::tuple quantize(const std::string& target, Floats x, int group) {
  const KernelTable& k = table_of(target);
  Activations acts;
  acts.shape(1, int(x.shape(0)));
  std::memcpy(acts.row(0), x.data(), x.shape(0) * 4);
  const ActivationForm form = group == 32 ? ActivationForm::Group32 : ActivationForm::Group256;
  Forms forms;
  forms.add(form);
  acts.quantize(k, 0, forms);
  const QuantizedActivations& q = *acts.of(form);
  nb::list values, scales, sums;
  for (int i = 0; i < q.n_in; ++i) values.append(int(q.q[i]));
  for (int i = 0; i < q.n_in / group; ++i) scales.append(q.d[i]);
  for (int i = 0; i < (group == 32 ? q.n_in / 32 : q.n_in / 16); ++i) sums.append(int(q.sums[i]));
  return nb::make_tuple(values, scales, sums);
}

void elementwise(const std::string& target, const std::string& op, MutableFloats x, Floats y, float parameter) {
  const KernelTable& k = table_of(target);
  const int n = int(x.shape(0));
  if (op == "silu_mul")
    k.silu_mul(x.data(), y.data(), n);
  else if (op == "gelu_mul")
    k.gelu_mul(x.data(), y.data(), n);
  else if (op == "softcap")
    k.softcap(x.data(), n, parameter);
  else if (op == "softmax")
    k.softmax(x.data(), n);
  else if (op == "rms_norm")
    k.rms_norm(x.data(), y.data(), x.data(), n, parameter);
  else
    throw Error(ErrorCode::kInvalidRequest, "no such operation: " + op);
}

// Attention of queries (n_rows, head_dim) at positions n_tokens - n_rows .. n_tokens - 1 of one head, over keys and
// values (n_tokens, head_dim) written to a pool in a scattered order.
void attention(const std::string& target, const std::string& kv_type, Matrix2 q, Matrix2 keys, Matrix2 values, MutableMatrix out,
               float scale, float softcap, int window, int n_threads) {
  const KernelTable& k = table_of(target);
  const int n_rows = int(q.shape(0)), n_tokens = int(keys.shape(0)), dim = int(q.shape(1));
  DecoderSpec spec;
  spec.n_heads = spec.n_kv_heads = 1;
  spec.head_dim = dim;
  spec.attention_scale = scale;
  spec.attention_softcap = softcap;
  spec.layer_span = {{window, 0}};
  const int padded = spec.kv_head_dim(), n_blocks = (n_tokens + kKvBlock - 1) / kKvBlock;
  const KvType type = kv_type_of(kv_type);
  const KvKernels& kernels = k.kv[int(type)];
  const auto place = [&](const float* from, float* to) {
    std::memcpy(to, from, size_t(dim) * 4);
    std::fill(to + dim, to + padded, 0.0f);
    if (kernels.rotate) kernels.rotate(to, padded);
  };
  KvCache kv(type, {n_blocks}, {0}, 1, padded);
  std::vector<int32_t> ids(static_cast<size_t>(n_blocks));
  for (int i = 0; i < n_blocks; ++i) ids[size_t(i)] = n_blocks - 1 - i;
  const size_t row = size_t(padded);
  std::vector<float> key(row), value(row), query(size_t(n_rows) * row);
  for (int t = 0; t < n_tokens; ++t) {
    place(keys.data() + size_t(t) * size_t(dim), key.data());
    place(values.data() + size_t(t) * size_t(dim), value.data());
    std::byte* block = kv.block(0, ids[size_t(t / kKvBlock)]);
    kernels.store(key.data(), value.data(), block + kv.k_offset(0, 0), block + kv.v_offset(0, 0), t % kKvBlock, padded);
  }
  for (int r = 0; r < n_rows; ++r) place(q.data() + size_t(r) * size_t(dim), query.data() + size_t(r) * row);
  ThreadPool threads(n_threads);
  Attention attention(spec, kv);
  attention.plan({{0, n_rows, n_tokens - n_rows, ids.data(), 0}}, n_threads);
  std::vector<Buffer<float>> scratch(static_cast<size_t>(n_threads));
  threads.run([&](int i) {
    threads.barrier();
    attention.run(k, threads, 0, {query.data(), nullptr}, out.data(), scratch[size_t(i)]);
  });
}

}  // namespace

void add_testing(nb::module_& m) {
  m.def("tensor_types", [] {
    nb::list types;
    for (const TensorTypeInfo& t : kTensorTypes) types.append(nb::make_tuple(t.name, t.gguf_id, t.values, t.bytes));
    return types;
  });
  m.def("dequantize", &dequantize);
  m.def("matmul", &matmul);
  m.def("quantize", &quantize);
  m.def("elementwise", &elementwise);
  m.def("attention", &attention);
}

}  // namespace edgeinfer::bind

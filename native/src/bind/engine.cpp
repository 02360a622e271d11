// Engine: built once from a file and a DecoderSpec, then one call per step.
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind/bind.h"
#include "bind/names.h"
#include "engine/engine.h"
#include "errors.h"

namespace nb = nanobind;

namespace edgeinfer::bind {
namespace {

using Ints = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Tables = nb::ndarray<const int32_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

template <class T>
T field(nb::handle spec, const char* name) {
  return nb::cast<T>(spec.attr(name));
}

DecoderSpec read_spec(nb::handle s) {
  DecoderSpec d;
  d.architecture = field<std::string>(s, "architecture");
  d.n_layers = field<int>(s, "n_layers");
  d.n_embd = field<int>(s, "n_embd");
  d.n_vocab = field<int>(s, "n_vocab");
  d.n_ctx_train = field<int>(s, "n_ctx_train");
  d.n_heads = field<int>(s, "n_heads");
  d.n_kv_heads = field<int>(s, "n_kv_heads");
  d.head_dim = field<int>(s, "head_dim");
  d.n_ff = field<int>(s, "n_ff");
  d.norm_eps = field<float>(s, "norm_eps");
  d.pre_norm = field<bool>(s, "pre_norm");
  d.post_norm = field<bool>(s, "post_norm");
  const auto qk_norm = field<std::string>(s, "qk_norm");
  d.qk_norm = qk_norm == "head" ? QkNorm::kHead : qk_norm == "row" ? QkNorm::kRow : QkNorm::kNone;
  d.qkv_bias = field<bool>(s, "qkv_bias");
  d.output_bias = field<bool>(s, "output_bias");
  d.fused_qkv = field<bool>(s, "fused_qkv");
  d.fused_gate_up = field<bool>(s, "fused_gate_up");
  d.tied_output = field<bool>(s, "tied_output");
  d.activation = field<std::string>(s, "activation") == "gelu" ? Activation::kGelu : Activation::kSilu;
  d.rope_style = field<std::string>(s, "rope_style") == "halves" ? RopeStyle::kHalves : RopeStyle::kAdjacent;
  for (nb::handle table : s.attr("ropes"))
    d.ropes.push_back({field<std::vector<float>>(table, "frequencies"), field<float>(table, "magnitude")});
  d.layer_rope = field<std::vector<int>>(s, "layer_rope");
  for (nb::handle span : s.attr("layer_span")) d.layer_span.push_back({field<int>(span, "window"), field<int>(span, "n_sinks")});
  d.attention_scale = field<float>(s, "attention_scale");
  d.attention_softcap = field<float>(s, "attention_softcap");
  d.logit_softcap = field<float>(s, "logit_softcap");
  d.embedding_scale = field<float>(s, "embedding_scale");
  d.residual_scale = field<float>(s, "residual_scale");
  d.logit_scale = field<float>(s, "logit_scale");
  d.n_experts = field<int>(s, "n_experts");
  d.n_experts_used = field<int>(s, "n_experts_used");
  d.n_ff_expert = field<int>(s, "n_ff_expert");
  d.expert_weights_norm = field<bool>(s, "expert_weights_norm");
  d.expert_weights_scale = field<float>(s, "expert_weights_scale");
  d.embeds = field<std::string>(s, "pooling") != "none";
  return d;
}

void step(Engine& engine, Ints tokens, Ints starts, Ints lengths, Tables tables, Ints rows, Floats out) {
  const size_t n_sequences = lengths.shape(0);
  if (starts.shape(0) != n_sequences + 1 || tables.shape(0) != size_t(engine.kv().n_pools()) || tables.shape(1) != n_sequences ||
      out.shape(0) != rows.shape(0) || out.shape(1) != size_t(engine.row_width()))
    throw Error(ErrorCode::kInvalidRequest, "step: the shapes of the arrays do not fit together");
  const StepArrays arrays{tokens.data(),    int(tokens.shape(0)), starts.data(), lengths.data(),     tables.data(),
                          int(n_sequences), int(tables.shape(2)), rows.data(),   int(rows.shape(0)), out.data()};
  nb::gil_scoped_release unlocked;
  engine.step(arrays);
}

nb::list take_profile(Engine& engine) {
  nb::list entries;
  for (const Profile::Entry& e : engine.profile().take())
    entries.append(nb::make_tuple(std::string(kOpNames[size_t(e.op)]), e.layer, e.calls, e.seconds));
  return entries;
}

}  // namespace

void add_engine(nb::module_& m) {
  m.attr("KV_BLOCK_TOKENS") = kKvBlock;
  m.attr("KV_TYPES") = [] {
    nb::list names;
    for (const KvTypeInfo& info : kKvTypes) names.append(info.name);
    return names;
  }();
  m.def(
      "targets",
      [] {
        std::vector<std::string> names;
        for (const KernelTable* const* t = available_kernels(); *t; ++t) names.push_back((*t)->name);
        return names;
      },
      "Names of the SIMD targets that this processor can run, best last.");
  m.def("target", [] { return std::string(kernels().name); }, "The SIMD target in use.");
  m.def(
      "kv_token_bytes",
      [](nb::handle spec, const std::string& kv_type) {
        const DecoderSpec d = read_spec(spec);
        return 2 * size_t(d.n_kv_heads) * kv_head_bytes(kv_type_of(kv_type), d.kv_head_dim()) / kKvBlock;
      },
      nb::arg("spec"), nb::arg("kv_type"), "Keys and values of one token in one layer.");

  nb::class_<Engine>(m, "Engine", "One loaded model with its threads and KV memory.")
      .def(
          "__init__",
          [](Engine* self, std::shared_ptr<gguf::File> file, nb::handle spec, int n_threads, const std::vector<int>& n_blocks,
             const std::string& kv_type) {
            const DecoderSpec d = read_spec(spec);
            new (self) Engine(std::move(file), d, n_threads, n_blocks, kv_type_of(kv_type));
          },
          nb::arg("file"), nb::arg("spec"), nb::arg("n_threads"), nb::arg("n_blocks"), nb::arg("kv_type"))
      .def("step", &step, nb::arg("tokens").noconvert(), nb::arg("starts").noconvert(), nb::arg("lengths").noconvert(),
           nb::arg("tables").noconvert(), nb::arg("rows").noconvert(), nb::arg("out").noconvert())
      .def(
          "copy_block", [](Engine& e, int pool, int from, int to) { e.kv().pool(pool).copy_block(from, to); }, nb::arg("pool"),
          nb::arg("src"), nb::arg("dst"))
      .def(
          "block",
          [](nb::handle self, int pool, int id) {
            KvCache& kv = nb::cast<Engine&>(self).kv();
            if (pool < 0 || pool >= kv.n_pools() || id < 0 || id >= kv.pool(pool).n_blocks())
              throw nb::index_error("no such block");
            return nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>>(kv.pool(pool).block(id), {kv.pool(pool).block_bytes()}, self);
          },
          nb::arg("pool"), nb::arg("block"), "The memory of a block, to be read, or written before a sequence uses it.")
      .def("cancel", &Engine::cancel)
      .def(
          "start_profile", [](Engine& e) { e.profile().start(); }, "Measures the steps that follow.")
      .def("take_profile", &take_profile,
           "What was measured since start_profile: (operation, layer or -1, calls, seconds on one thread).")
      .def_prop_ro(
          "block_bytes",
          [](Engine& e) {
            std::vector<size_t> bytes;
            for (int p = 0; p < e.kv().n_pools(); ++p) bytes.push_back(e.kv().pool(p).block_bytes());
            return bytes;
          },
          "Bytes of a block of each pool.")
      .def_prop_ro("copied_weight_bytes", &Engine::copied_weight_bytes);
}

}  // namespace edgeinfer::bind

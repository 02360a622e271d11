#include "model/weights.h"

#include <string>

#include "errors.h"
#include "gguf/tensor_types.h"
#include "kernels/table.h"

namespace edgeinfer {
namespace {

const TensorTypeInfo* find_type(uint32_t gguf_id, TensorType& type) {
  for (int i = 0; i < kTensorTypeCount; ++i)
    if (kTensorTypes[i].gguf_id == gguf_id) {
      type = static_cast<TensorType>(i);
      return &kTensorTypes[i];
    }
  return nullptr;
}

std::string shape_text(const gguf::TensorInfo& t) {
  std::string text = "[" + std::to_string(t.dims[0]);
  for (int i = 1; i < t.n_dims; ++i) text += ", " + std::to_string(t.dims[i]);
  return text + "]";
}

class Loader {
 public:
  Loader(const gguf::File& file, size_t& copied_bytes) : file_(file), copied_bytes_(copied_bytes) {}

  Matrix matrix(const std::string& name, int64_t n_in, int64_t n_rows, int64_t n_slices = 1) {
    const gguf::TensorInfo& t = require(name);
    if (t.dims[0] != n_in || t.dims[1] != n_rows || t.dims[2] != n_slices || t.dims[3] != 1)
      fail(name, "has shape " + shape_text(t) + ", expected [" + std::to_string(n_in) + ", " + std::to_string(n_rows) +
                     (n_slices > 1 ? ", " + std::to_string(n_slices) : "") + "]");
    Matrix m;
    const TensorTypeInfo* info = find_type(t.type, m.type);
    if (!info)
      throw Error(ErrorCode::kUnsupportedModel,
                  file_.path() + ": tensor " + name + " is stored as " + gguf::find_tensor_type(t.type)->name +
                      ", which the native engine does not run",
                  "use a Q4_K_M or Q8_0 file of this model");
    if (n_in % info->values) fail(name, "has rows of " + std::to_string(n_in) + ", not a multiple of its block");
    m.data = t.data;
    m.row_bytes = size_t(n_in) / size_t(info->values) * size_t(info->bytes);
    m.n_in = int(n_in);
    m.n_rows = int(n_rows);
    return m;
  }

  // Rows [first, first + n) of a matrix.
  static Matrix rows_of(const Matrix& whole, int first, int n) {
    Matrix m = whole;
    m.data += size_t(first) * whole.row_bytes;
    m.n_rows = n;
    return m;
  }

  std::vector<float> vector(const std::string& name, int64_t n) {
    const gguf::TensorInfo& t = require(name);
    if (t.dims[0] != n || t.dims[1] != 1 || t.dims[2] != 1 || t.dims[3] != 1)
      fail(name, "has shape " + shape_text(t) + ", expected [" + std::to_string(n) + "]");
    TensorType type;
    const TensorTypeInfo* info = find_type(t.type, type);
    if (!info || info->form != ActivationForm::Float) fail(name, "must be F32, F16 or BF16");
    std::vector<float> values(static_cast<size_t>(n));
    kernels().types[int(type)].dequantize(t.data, values.data(), int(n));
    copied_bytes_ += values.size() * sizeof(float);
    return values;
  }

 private:
  const gguf::TensorInfo& require(const std::string& name) const {
    const gguf::TensorInfo* t = file_.find(name);
    if (!t)
      throw Error(ErrorCode::kBadModelFile, file_.path() + ": tensor " + name + " is missing",
                  "the file is incomplete or not of this architecture: download it again");
    return *t;
  }
  [[noreturn]] void fail(const std::string& name, const std::string& what) const {
    throw Error(ErrorCode::kBadModelFile, file_.path() + ": tensor " + name + " " + what,
                "the file is damaged or was converted wrongly: download it again");
  }

  const gguf::File& file_;
  size_t& copied_bytes_;
};

void load_attention(Loader& load, const DecoderSpec& s, const std::string& p, LayerWeights& w) {
  const int n_q = s.n_heads * s.head_dim, n_kv = s.n_kv_heads * s.head_dim;
  if (s.fused_qkv) {
    const Matrix whole = load.matrix(p + "attn_qkv.weight", s.n_embd, n_q + 2 * n_kv);
    w.q = Loader::rows_of(whole, 0, n_q);
    w.k = Loader::rows_of(whole, n_q, n_kv);
    w.v = Loader::rows_of(whole, n_q + n_kv, n_kv);
  } else {
    w.q = load.matrix(p + "attn_q.weight", s.n_embd, n_q);
    w.k = load.matrix(p + "attn_k.weight", s.n_embd, n_kv);
    w.v = load.matrix(p + "attn_v.weight", s.n_embd, n_kv);
  }
  w.output = load.matrix(p + "attn_output.weight", n_q, s.n_embd);
  if (s.qkv_bias) {
    w.q_bias = load.vector(p + "attn_q.bias", n_q);
    w.k_bias = load.vector(p + "attn_k.bias", n_kv);
    w.v_bias = load.vector(p + "attn_v.bias", n_kv);
  }
  if (s.output_bias) w.output_bias = load.vector(p + "attn_output.bias", s.n_embd);
  if (s.qk_norm != QkNorm::kNone) {
    const bool head = s.qk_norm == QkNorm::kHead;
    w.q_norm = load.vector(p + "attn_q_norm.weight", head ? s.head_dim : n_q);
    w.k_norm = load.vector(p + "attn_k_norm.weight", head ? s.head_dim : n_kv);
  }
}

void load_feed_forward(Loader& load, const DecoderSpec& s, const std::string& p, LayerWeights& w) {
  if (s.n_experts > 0) {
    w.router = load.matrix(p + "ffn_gate_inp.weight", s.n_embd, s.n_experts);
    w.gate_experts = load.matrix(p + "ffn_gate_exps.weight", s.n_embd, s.n_ff_expert, s.n_experts);
    w.up_experts = load.matrix(p + "ffn_up_exps.weight", s.n_embd, s.n_ff_expert, s.n_experts);
    w.down_experts = load.matrix(p + "ffn_down_exps.weight", s.n_ff_expert, s.n_embd, s.n_experts);
    return;
  }
  if (s.fused_gate_up) {
    const Matrix whole = load.matrix(p + "ffn_up.weight", s.n_embd, 2 * int64_t(s.n_ff));
    w.gate = Loader::rows_of(whole, 0, s.n_ff);
    w.up = Loader::rows_of(whole, s.n_ff, s.n_ff);
  } else {
    w.gate = load.matrix(p + "ffn_gate.weight", s.n_embd, s.n_ff);
    w.up = load.matrix(p + "ffn_up.weight", s.n_embd, s.n_ff);
  }
  w.down = load.matrix(p + "ffn_down.weight", s.n_ff, s.n_embd);
}

LayerWeights load_layer(Loader& load, const DecoderSpec& s, int i) {
  const std::string p = "blk." + std::to_string(i) + ".";
  LayerWeights w;
  if (s.pre_norm) {
    w.attention_norm = load.vector(p + "attn_norm.weight", s.n_embd);
    w.ffn_norm = load.vector(p + "ffn_norm.weight", s.n_embd);
  }
  if (s.post_norm) {
    w.post_attention_norm = load.vector(p + "post_attention_norm.weight", s.n_embd);
    w.post_ffn_norm = load.vector(p + "post_ffw_norm.weight", s.n_embd);
  }
  load_attention(load, s, p, w);
  load_feed_forward(load, s, p, w);
  return w;
}

}  // namespace

Weights Weights::load(std::shared_ptr<const gguf::File> file, const DecoderSpec& spec) {
  Weights w;
  Loader load(*file, w.copied_bytes);
  w.embedding = load.matrix("token_embd.weight", spec.n_embd, spec.n_vocab);
  w.head = spec.tied_output ? w.embedding : load.matrix("output.weight", spec.n_embd, spec.n_vocab);
  w.output_norm = load.vector("output_norm.weight", spec.n_embd);
  for (int i = 0; i < spec.n_layers; ++i) w.layers.push_back(load_layer(load, spec, i));
  w.file = std::move(file);
  return w;
}

}  // namespace edgeinfer

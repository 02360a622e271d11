// Runs one matrix kernel of one target, some times over, for whoever counts its instructions (count_instructions.py):
//   run_kernel TARGET TYPE direct|prefill DEPTH ROWS COLUMNS REPEATS
// Prints nothing. What the weights hold does not matter: no kernel branches on them.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/table.h"
#include "model/activations.h"

using namespace edgeinfer;

namespace {

const KernelTable* target_named(const char* name) {
  for (const KernelTable* const* t = available_kernels(); *t; ++t)
    if (!std::strcmp((*t)->name, name)) return *t;
  return nullptr;
}

int type_named(const char* name) {
  for (int i = 0; i < kTensorTypeCount; ++i)
    if (!std::strcmp(kTensorTypes[i].name, name)) return i;
  return -1;
}

}  // namespace

int main(int argc, char** argv) {
  const KernelTable* k = argc == 8 ? target_named(argv[1]) : nullptr;
  const int type = k ? type_named(argv[2]) : -1;
  if (type < 0) {
    std::fprintf(stderr, "usage: run_kernel TARGET TYPE direct|prefill DEPTH ROWS COLUMNS REPEATS\n");
    return 2;
  }
  const TensorTypeInfo& info = kTensorTypes[type];
  const bool prefill = !std::strcmp(argv[3], "prefill");
  const int n_in = std::atoi(argv[4]), n_rows = std::atoi(argv[5]), n_columns = std::atoi(argv[6]);
  Forms forms;
  forms.add(info.form);
  std::vector<std::byte> weights(size_t(n_rows) * size_t(n_in / info.values) * size_t(info.bytes), std::byte(0x11));
  std::vector<float> out(size_t(n_rows) * size_t(n_columns));
  Activations acts;
  acts.shape(std::max(n_columns, prefill ? kMaxDirectTokens + 1 : 0), n_in);
  for (int t = 0; t < acts.n_tokens(); ++t) {
    std::fill_n(acts.row(t), n_in, 1.0f);
    acts.quantize(*k, t, forms);
  }
  if (prefill)
    for (int p = 0; p < acts.n_panels(); ++p) acts.pack(*k, p, forms);
  Buffer<std::byte> scratch;
  MatmulArgs a{};
  a.weights = weights.data();
  a.row_bytes = size_t(n_in / info.values) * size_t(info.bytes);
  a.n_in = n_in;
  a.row1 = n_rows;
  a.x = acts.rows();
  a.panel_x = acts.panels();
  a.acts = acts.of(info.form);
  a.n_columns = n_columns;
  a.out = out.data();
  a.out_stride = size_t(n_rows);
  a.scratch = scratch.get(k->scratch_bytes(n_in));
  for (int i = std::atoi(argv[7]); i > 0; --i) (prefill ? k->types[type].prefill : k->types[type].direct)(a);
  return 0;
}

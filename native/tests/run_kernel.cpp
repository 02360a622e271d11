// Runs one matrix kernel of one target, some times over, for whoever counts its instructions (count_instructions.py):
//   run_kernel TARGET TYPE direct|prefill DEPTH ROWS COLUMNS REPEATS
// Prints nothing. What the weights hold does not matter: no kernel branches on them.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/table.h"
#include "model/single_product.h"

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
  std::vector<std::byte> weights(size_t(n_rows) * size_t(n_in / info.values) * size_t(info.bytes), std::byte(0x11));
  std::vector<float> x(size_t(n_columns) * size_t(n_in), 1.0f), out(size_t(n_columns) * size_t(n_rows));
  SingleProduct product(*k, TensorType(type), weights.data(), n_rows, x.data(), n_columns, n_in, prefill);
  for (int i = std::atoi(argv[7]); i > 0; --i) product.run(out.data());
  return 0;
}

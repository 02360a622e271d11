// The same for one kernel of a ggml built elsewhere, so that both are counted alike:
//   run_ggml_kernel DEPTH ROWS COLUMNS REPEATS
// Compiled by count_instructions.py with GGML_KERNEL (the function) and GGML_REPACKED (0: a dot product of one row with one
// column; 1: rows with columns). ggml's own headers ggml-cpu/quants.h and ggml-cpu/repack.h have the two signatures.
#include <cstddef>
#include <cstdlib>
#include <vector>

extern "C" {
#if GGML_REPACKED
void GGML_KERNEL(int n, float* s, size_t bs, const void* vx, const void* vy, int nr, int nc);
#else
void GGML_KERNEL(int n, float* s, size_t bs, const void* vx, size_t bx, const void* vy, size_t by, int nrc);
#endif
}

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const int n = std::atoi(argv[1]), n_rows = std::atoi(argv[2]), n_columns = std::atoi(argv[3]);
  const size_t row = size_t(n) * 5 / 4;  // no block takes more bytes than that
  std::vector<char> x(row * size_t(n_rows)), y(row * size_t(n_columns));
  std::vector<float> out(size_t(n_rows) * size_t(n_columns));
  for (int i = std::atoi(argv[4]); i > 0; --i) {
#if GGML_REPACKED
    GGML_KERNEL(n, out.data(), size_t(n_rows), x.data(), y.data(), n_columns, n_rows);
#else
    for (int r = 0; r < n_rows; ++r) GGML_KERNEL(n, out.data() + r, 0, x.data() + row * size_t(r), 0, y.data(), 0, 1);
#endif
  }
  return 0;
}

// Chooses the kernel table of this machine: one row per target, worst first.
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "errors.h"
#include "kernels/table.h"

namespace edgeinfer {

#define EI_DECLARE(target)         \
  namespace target {               \
  extern const KernelTable kTable; \
  }
EI_DECLARE(scalar)
EI_DECLARE(avx2)
EI_DECLARE(avxvnni)
EI_DECLARE(avx512bw)
EI_DECLARE(avx512vnni)
EI_DECLARE(neon)
EI_DECLARE(neon_dotprod)
EI_DECLARE(neon_i8mm)
#undef EI_DECLARE

namespace {

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"); }
// AVX-VNNI has no name in older compilers: CPUID leaf 7, sub-leaf 1, EAX bit 4.
bool has_avxvnni() {
  unsigned a = 7, b = 0, c = 1, d = 0;
  if (__builtin_cpu_supports("avx2") == 0) return false;
  asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return has_avx2() && (a >> 4 & 1);
}
bool has_avx512bw() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
bool has_avx512vnni() { return has_avx512bw() && __builtin_cpu_supports("avx512vnni"); }
#elif defined(__aarch64__) && defined(__linux__)
bool has_dotprod() { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP; }
bool has_i8mm() { return has_dotprod() && (getauxval(AT_HWCAP2) & HWCAP2_I8MM); }
#elif defined(__aarch64__) && defined(__APPLE__)
bool has_feature(const char* name) {
  int value = 0;
  size_t size = sizeof(value);
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value;
}
bool has_dotprod() { return has_feature("hw.optional.arm.FEAT_DotProd"); }
bool has_i8mm() { return has_dotprod() && has_feature("hw.optional.arm.FEAT_I8MM"); }
#endif

std::vector<const KernelTable*> find_available() {
  std::vector<const KernelTable*> found{&scalar::kTable};
#if defined(__x86_64__)
  if (has_avx2()) found.push_back(&avx2::kTable);
  if (has_avxvnni()) found.push_back(&avxvnni::kTable);
  if (has_avx512bw()) found.push_back(&avx512bw::kTable);
  if (has_avx512vnni()) found.push_back(&avx512vnni::kTable);
#elif defined(__aarch64__)
  found.push_back(&neon::kTable);
  if (has_dotprod()) found.push_back(&neon_dotprod::kTable);
  if (has_i8mm()) found.push_back(&neon_i8mm::kTable);
#endif
  found.push_back(nullptr);
  return found;
}

const KernelTable* choose() {
  const char* wanted = std::getenv("EDGEINFER_TARGET");
  const KernelTable* best = nullptr;
  std::string names;
  for (const KernelTable* const* t = available_kernels(); *t; ++t) {
    if (wanted && *wanted && !std::strcmp(wanted, (*t)->name)) return *t;
    names += std::string(names.empty() ? "" : ", ") + (*t)->name;
    best = *t;
  }
  if (wanted && *wanted)
    throw Error(ErrorCode::kInvalidRequest,
                std::string("EDGEINFER_TARGET is ") + wanted + ", but this machine runs only: " + names,
                "name one of them, or unset the variable");
  return best;
}

}  // namespace

const KernelTable* const* available_kernels() {
  static const std::vector<const KernelTable*> found = find_available();
  return found.data();
}

const KernelTable& kernels() {
  static const KernelTable* chosen = choose();
  return *chosen;
}

}  // namespace edgeinfer

// The Python module, one file per room: each adds its classes to the module.
#pragma once

#include <nanobind/nanobind.h>

namespace edgeinfer::bind {

void add_gguf(nanobind::module_& m);
void add_vocab(nanobind::module_& m);
void add_engine(nanobind::module_& m);
void add_bench(nanobind::module_& m);
void add_testing(nanobind::module_& m);

}  // namespace edgeinfer::bind

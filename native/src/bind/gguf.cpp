#include "bind/bind.h"

namespace edgeinfer::bind {

void add_gguf(nanobind::module_&) {}

}  // namespace edgeinfer::bind

#include "bind/bind.h"

namespace edgeinfer::bind {

void add_testing(nanobind::module_&) {}

}  // namespace edgeinfer::bind

#include "bind/bind.h"

namespace edgeinfer::bind {

void add_engine(nanobind::module_&) {}

}  // namespace edgeinfer::bind

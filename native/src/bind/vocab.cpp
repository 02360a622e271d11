#include "bind/bind.h"

namespace edgeinfer::bind {

void add_vocab(nanobind::module_&) {}

}  // namespace edgeinfer::bind

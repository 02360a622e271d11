// The module edgeinfer._native and the translation of engine errors into edgeinfer.errors.
#include "bind/bind.h"
#include "errors.h"

namespace nb = nanobind;

namespace {

const char* class_of(edgeinfer::ErrorCode code) {
  using edgeinfer::ErrorCode;
  switch (code) {
    case ErrorCode::kInvalidRequest:
      return "InvalidRequest";
    case ErrorCode::kBadModelFile:
      return "BadModelFile";
    case ErrorCode::kUnsupportedModel:
      return "UnsupportedModel";
    case ErrorCode::kModelFileChanged:
      return "ModelFileChanged";
    case ErrorCode::kNotEnoughMemory:
      return "NotEnoughMemory";
    case ErrorCode::kNoRoom:
      return "NoRoom";
    case ErrorCode::kDisk:
      return "DiskError";
    case ErrorCode::kNotFound:
      return "NotFound";
    case ErrorCode::kCancelled:
      return "Cancelled";
  }
  return "EdgeInferError";
}

// Messages name files, and file names need not be UTF-8.
nb::object as_text(const std::string& s) { return nb::steal(PyUnicode_DecodeFSDefault(s.c_str())); }

void raise_typed(const edgeinfer::Error& error) {
  nb::object cls = nb::module_::import_("edgeinfer.errors").attr(class_of(error.code()));
  nb::object hint = error.hint().empty() ? nb::none() : as_text(error.hint());
  nb::object exception = cls(as_text(error.what()), nb::arg("hint") = hint);
  PyErr_SetObject(cls.ptr(), exception.ptr());
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "The native engine of edgeinfer.";
  nb::set_leak_warnings(false);  // a process that is interrupted may leave objects: no news for its user
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const edgeinfer::Error& error) {
      raise_typed(error);
    }
  });
  edgeinfer::bind::add_gguf(m);
  edgeinfer::bind::add_vocab(m);
  edgeinfer::bind::add_engine(m);
  nb::module_ bench = m.def_submodule("bench", "Measurements of the machine and of single kernels.");
  edgeinfer::bind::add_bench(bench);
  nb::module_ testing = m.def_submodule("testing", "Every kernel of every target, for the tests.");
  edgeinfer::bind::add_testing(testing);
}

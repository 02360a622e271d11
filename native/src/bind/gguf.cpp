// GgufFile: metadata and tensor table. Strings become Python objects only when asked for.
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>

#include "bind/bind.h"
#include "errors.h"
#include "gguf/file.h"
#include "gguf/tensor_types.h"

namespace nb = nanobind;

namespace edgeinfer::bind {
namespace {

using gguf::Entry;
using gguf::File;
using gguf::ValueType;

nb::bytes as_bytes(std::string_view s) { return nb::bytes(s.data(), s.size()); }
nb::object as_text(std::string_view s) { return nb::steal(PyUnicode_DecodeUTF8(s.data(), Py_ssize_t(s.size()), "replace")); }

template <class T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

nb::object scalar(ValueType type, const std::byte* p) {
  switch (type) {
    case ValueType::kU8:
      return nb::int_(load<uint8_t>(p));
    case ValueType::kI8:
      return nb::int_(load<int8_t>(p));
    case ValueType::kU16:
      return nb::int_(load<uint16_t>(p));
    case ValueType::kI16:
      return nb::int_(load<int16_t>(p));
    case ValueType::kU32:
      return nb::int_(load<uint32_t>(p));
    case ValueType::kI32:
      return nb::int_(load<int32_t>(p));
    case ValueType::kU64:
      return nb::int_(load<uint64_t>(p));
    case ValueType::kI64:
      return nb::int_(load<int64_t>(p));
    case ValueType::kF32:
      return nb::float_(load<float>(p));
    case ValueType::kF64:
      return nb::float_(load<double>(p));
    case ValueType::kBool:
      return nb::bool_(load<uint8_t>(p) != 0);
    default:
      return nb::none();
  }
}

constexpr uint64_t kMaxText = 16 << 20;

nb::object value(const File& f, const Entry& e) {
  if (e.type == ValueType::kString && e.length > kMaxText)
    throw Error(ErrorCode::kBadModelFile,
                f.path() + ": key " + gguf::printable(e.key) + " is a text of " + std::to_string(e.length) + " bytes",
                "the file is damaged or was converted wrongly: download it again");
  if (e.type == ValueType::kString) return as_text({reinterpret_cast<const char*>(e.data), size_t(e.length)});
  if (e.type != ValueType::kArray) return scalar(e.type, e.data);
  nb::list list;
  for (size_t i = 0; i < e.count; ++i)
    list.append(e.element == ValueType::kString ? as_text(e.string(i)) : scalar(e.element, e.data + i * scalar_bytes(e.element)));
  return list;
}

// A path as the system has it: file names need not be UTF-8.
std::shared_ptr<File> open(nb::handle path) {
  PyObject* encoded = nullptr;
  if (!PyUnicode_FSConverter(path.ptr(), &encoded)) {
    if (PyErr_ExceptionMatches(PyExc_ValueError) == 0) throw nb::python_error();
    PyErr_Clear();
    throw Error(ErrorCode::kNotFound, "the path of the model is not one that a file can have", "check the path");
  }
  const nb::bytes bytes = nb::steal<nb::bytes>(encoded);
  return File::open(std::string(bytes.c_str(), bytes.size()));
}

nb::object path_of(const File& f) { return nb::steal(PyUnicode_DecodeFSDefault(f.path().c_str())); }

const Entry& require(const File& f, const std::string& key) {
  const Entry* e = f.entry(key);
  if (!e) throw nb::key_error(key.c_str());
  return *e;
}

std::string type_of(const File& f, const std::string& key) {
  const Entry& e = require(f, key);
  if (e.type != ValueType::kArray) return value_type_name(e.type);
  return std::string("array of ") + value_type_name(e.element);
}

nb::list byte_strings(const File& f, const std::string& key) {
  const Entry& e = require(f, key);
  nb::list list;
  if (e.type == ValueType::kString) list.append(as_bytes({reinterpret_cast<const char*>(e.data), size_t(e.length)}));
  for (size_t i = 0; i < e.strings.size(); ++i) list.append(as_bytes(e.string(i)));
  return list;
}

nb::dict tensor(const gguf::TensorInfo& t) {
  nb::dict d;
  d["name"] = as_text(t.name);
  d["type"] = gguf::find_tensor_type(t.type)->name;
  d["shape"] = nb::cast(std::vector<int64_t>(t.dims, t.dims + t.n_dims));
  d["bytes"] = t.n_bytes;
  d["offset"] = t.offset;
  return d;
}

}  // namespace

void add_gguf(nb::module_& m) {
  nb::class_<File>(m, "GgufFile", "A GGUF file, mapped and checked.")
      .def_prop_ro("version", &File::version)
      .def_prop_ro("path", &path_of)
      .def_prop_ro("shards", &File::n_shards)
      .def_prop_ro("size_bytes", &File::size_bytes)
      .def_prop_ro("damaged", &File::damaged)
      .def("__contains__", [](const File& f, const std::string& key) { return f.entry(key) != nullptr; })
      .def("keys",
           [](const File& f) {
             nb::list keys;
             for (const Entry& e : f.entries()) keys.append(as_text(e.key));
             return keys;
           })
      .def(
          "get", [](const File& f, const std::string& key) { return value(f, require(f, key)); },
          "The value of a key; KeyError if absent.")
      .def("get_bytes", &byte_strings, "The strings of a key as a list of bytes.")
      .def("type_of", &type_of)
      .def("array_length", [](const File& f, const std::string& key) { return require(f, key).count; })
      .def("tensors",
           [](const File& f) {
             nb::list list;
             for (const gguf::TensorInfo& t : f.tensors()) list.append(tensor(t));
             return list;
           })
      .def("has_tensor", [](const File& f, const std::string& name) { return f.find(name) != nullptr; })
      .def("tensor",
           [](const File& f, const std::string& name) -> nb::object {
             const gguf::TensorInfo* t = f.find(name);
             return t ? nb::object(tensor(*t)) : nb::none();
           })
      .def(
          "tensor_bytes",
          [](const File& f, const std::string& name) {
            const gguf::TensorInfo* t = f.find(name);
            if (!t) throw nb::key_error(name.c_str());
            return nb::bytes(t->data, t->n_bytes);
          },
          "A copy of a tensor's bytes: for small tensors such as rope factors.")
      .def("require_intact", &File::require_intact);
  m.def("gguf_open", &open, nb::arg("path"), "Maps and parses a GGUF file.");
}

}  // namespace edgeinfer::bind

// File: a GGUF file (version 2 or 3, one file or shards), parsed in one bounded pass over a mapping.
//
// Nothing is allocated from a count before the count was checked against the bytes that are left; strings stay where they
// are. Source: the GGUF specification; RELIABILITY rules: every offset, length, type, alignment and shape is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gguf/mapping.h"

namespace edgeinfer::gguf {

enum class ValueType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

const char* value_type_name(ValueType type);
size_t scalar_bytes(ValueType type);  // 0 for strings and arrays

// One metadata entry. `data` points into the mapping: the scalar, the string's bytes, or the array's first element.
struct Entry {
  std::string_view key;
  ValueType type;
  ValueType element;   // of arrays
  uint64_t count = 1;  // elements of an array
  const std::byte* data;
  uint64_t length = 0;            // bytes of a string or of an array
  std::vector<uint64_t> strings;  // of string arrays: offset of each length word from `data`

  std::string_view string(size_t i) const;  // element i of a string array
};

struct TensorInfo {
  std::string_view name;
  uint32_t type;  // GGUF id
  int n_dims;
  int64_t dims[4];  // dims[0] is the length of a row; the rest padded with 1
  const std::byte* data;
  size_t n_bytes;
  uint64_t offset;  // from the start of its file
};

class File {
 public:
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // Opens a file and, where its name says -00001-of-000NN, all its shards. Throws kNotFound, kDisk, kBadModelFile,
  // kUnsupportedModel; every message names the file and the key or tensor.
  static std::shared_ptr<File> open(const std::string& path);

  const TensorInfo* find(std::string_view name) const;  // null if absent
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const Entry* entry(std::string_view key) const;  // null if absent
  const std::vector<Entry>& entries() const { return entries_; }

  uint32_t version() const { return version_; }
  const std::string& path() const { return mappings_.front()->path(); }
  size_t n_shards() const { return mappings_.size(); }
  size_t size_bytes() const;

  bool damaged() const;         // the file shrank or was rewritten
  void require_intact() const;  // throws kModelFileChanged

 private:
  void parse(const Mapping& mapping, bool first);
  void add_shards(const std::string& path);
  void refuse_lone_shard(const std::string& path) const;

  std::vector<std::unique_ptr<Mapping>> mappings_;
  std::vector<Entry> entries_;  // of the first shard
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string_view, size_t> entry_index_, tensor_index_;
  uint32_t version_ = 0;
};

// Text of a file, made safe to print: control and non-ASCII bytes escaped, at most 80 characters.
std::string printable(std::string_view text);

}  // namespace edgeinfer::gguf

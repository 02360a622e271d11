#include "gguf/file.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "errors.h"
#include "gguf/tensor_types.h"

namespace edgeinfer::gguf {
namespace {

constexpr size_t kMaxKey = 65535, kMaxName = 63, kMaxDims = 4;
// Far above any model; what an entry or a tensor costs in memory is more than the least it takes in the file.
constexpr uint64_t kMaxEntries = 1 << 14, kMaxTensors = 1 << 14;
constexpr uint64_t kMinAlignment = 8, kMaxAlignment = 1 << 20;  // the specification asks for a multiple of 8
// The least an entry or a tensor can take: bounds a count before anything is allocated from it.
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1, kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

[[noreturn]] void bad(const std::string& path, const std::string& what) {
  throw Error(ErrorCode::kBadModelFile, path + ": " + what, "the file is damaged or incomplete: download it again");
}

// Says what a file without the GGUF magic looks like.
std::string looks_like(std::string_view head) {
  const auto starts = [head](std::string_view s) { return head.substr(0, s.size()) == s; };
  if (starts("version https://git-lfs")) return "a git-lfs pointer, not the model itself (run: git lfs pull)";
  if (starts("<!DOCTYPE") || starts("<!doctype") || starts("<html")) return "a web page, probably saved in place of the model";
  if (starts("PK\x03\x04")) return "a zip archive (a PyTorch checkpoint?)";
  if (starts("\x80\x02") || starts("\x80\x03") || starts("\x80\x04")) return "a Python pickle";
  if (starts("\x7f"
             "ELF"))
    return "a program";
  if (starts("ggml") || starts("lmgg") || starts("fmgg") || starts("tjgg") || starts("ggjt") || starts("ggla"))
    return "an old GGML model from before GGUF";
  if (starts("FUGG")) return "a byte-swapped GGUF file";
  if (head.size() > 9 && head[8] == '{') return "a safetensors model";
  return "not a GGUF model";
}

// The only place that does arithmetic on sizes from a file.
class Cursor {
 public:
  Cursor(const std::string& path, const std::byte* data, size_t size) : path_(path), data_(data), size_(size) {}

  size_t left() const { return size_ - at_; }
  size_t at() const { return at_; }
  const std::byte* here() const { return data_ + at_; }

  void skip(uint64_t n, const std::string& what) {
    if (n > left()) bad(path_, what + " needs " + std::to_string(n) + " bytes, the file has " + std::to_string(left()) + " left");
    at_ += size_t(n);
  }
  template <class T>
  T read(const std::string& what) {
    const std::byte* from = here();
    skip(sizeof(T), what);
    T value;
    std::memcpy(&value, from, sizeof(T));
    return value;
  }
  std::string_view text(size_t limit, const std::string& what) {
    const auto n = read<uint64_t>(what);
    if (n > limit)
      bad(path_, what + " is " + std::to_string(n) + " bytes long, at most " + std::to_string(limit) + " are allowed");
    const auto* from = reinterpret_cast<const char*>(here());
    skip(n, what);
    return {from, size_t(n)};
  }
  void require_count(uint64_t n, uint64_t least_bytes, const std::string& what, uint64_t most = UINT64_MAX) const {
    if (n > left() / least_bytes) bad(path_, what + ": the header claims " + std::to_string(n) + ", more than the file can hold");
    if (n > most) bad(path_, what + ": " + std::to_string(n) + ", at most " + std::to_string(most) + " are allowed");
  }

 private:
  const std::string& path_;
  const std::byte* data_;
  size_t size_, at_ = 0;
};

Entry read_entry(Cursor& in, const std::string& path, uint64_t index) {
  Entry e{};
  const std::string place = "metadata entry " + std::to_string(index);
  e.key = in.text(kMaxKey, place + ": key");
  if (e.key.empty()) bad(path, place + " has an empty key");
  const std::string name = "key " + printable(e.key);
  const auto read_type = [&](const std::string& what) {
    const auto t = in.read<uint32_t>(what);
    if (t > uint32_t(ValueType::kF64)) bad(path, what + " is " + std::to_string(t) + ", which does not exist");
    return ValueType(t);
  };
  e.type = read_type(name + ": value type");
  if (e.type == ValueType::kString) {
    const std::string_view s = in.text(SIZE_MAX, name);
    e.data = reinterpret_cast<const std::byte*>(s.data());
    e.length = s.size();
  } else if (e.type == ValueType::kArray) {
    e.element = read_type(name + ": element type");
    e.count = in.read<uint64_t>(name + ": count");
    if (e.element == ValueType::kArray) bad(path, name + " is an array of arrays");
    e.data = in.here();
    if (e.element == ValueType::kString) {
      in.require_count(e.count, 8, name);
      e.strings.reserve(size_t(e.count));
      const size_t begin = in.at();
      for (uint64_t i = 0; i < e.count; ++i) {
        e.strings.push_back(in.at() - begin);
        in.text(SIZE_MAX, name);
      }
      e.length = in.at() - begin;
    } else {
      in.require_count(e.count, scalar_bytes(e.element), name);
      e.length = e.count * scalar_bytes(e.element);
      in.skip(e.length, name);
    }
  } else {
    e.data = in.here();
    in.skip(scalar_bytes(e.type), name);
    if (e.type == ValueType::kBool && uint8_t(*e.data) > 1) bad(path, name + " is neither true nor false");
  }
  return e;
}

const FileTensorType& require_type(const std::string& path, const std::string& name, uint32_t id) {
  if (const FileTensorType* type = find_tensor_type(id)) return *type;
  for (const NamedTensorType& t : kNamedTensorTypes)
    if (t.id == id)
      throw Error(ErrorCode::kUnsupportedModel,
                  path + ": " + name + " is stored as " + t.name + ", which the native engine does not run",
                  "use a Q4_K_M or Q8_0 file of this model");
  throw Error(ErrorCode::kBadModelFile,
              path + ": " + name + " has type " + std::to_string(id) + ", which this version does not know",
              "the file is damaged, or newer than this program");
}

// Everything but the place of its data.
TensorInfo read_tensor(Cursor& in, const std::string& path, uint64_t index) {
  TensorInfo t{};
  const std::string place = "tensor " + std::to_string(index);
  t.name = in.text(kMaxName, place + ": name");
  if (t.name.empty()) bad(path, place + " has an empty name");
  const std::string name = "tensor " + printable(t.name);
  const auto n_dims = in.read<uint32_t>(name + ": dimensions");
  if (n_dims < 1 || n_dims > kMaxDims) bad(path, name + " has " + std::to_string(n_dims) + " dimensions");
  t.n_dims = int(n_dims);
  std::fill(t.dims, t.dims + kMaxDims, 1);
  int64_t n_values = 1;
  for (int i = 0; i < t.n_dims; ++i) {
    const auto dim = in.read<uint64_t>(name + ": shape");
    if (dim == 0 || dim > uint64_t(INT64_MAX)) bad(path, name + " has a dimension of " + std::to_string(dim));
    t.dims[i] = int64_t(dim);
    if (__builtin_mul_overflow(n_values, t.dims[i], &n_values)) bad(path, name + " has an impossible shape");
  }
  t.type = in.read<uint32_t>(name + ": type");
  t.offset = in.read<uint64_t>(name + ": offset");
  const FileTensorType& type = require_type(path, name, t.type);
  if (t.dims[0] % type.values)
    bad(path, name + " has rows of " + std::to_string(t.dims[0]) + ", not a multiple of " + type.name + "'s block");
  uint64_t n_bytes;
  if (__builtin_mul_overflow(uint64_t(n_values) / type.values, uint64_t(type.bytes), &n_bytes))
    bad(path, name + " has an impossible size");
  t.n_bytes = size_t(n_bytes);
  return t;
}

std::string megabytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", double(bytes) / 1e6);
  return text;
}

// "name-00001-of-00003.gguf": returns N and cuts the path before the numbers; 0 if the name is another one.
int shard_count(std::string& stem) {
  constexpr size_t kTail = sizeof("-00001-of-00003.gguf") - 1;
  if (stem.size() <= kTail) return 0;
  int number = 0, count = 0;
  char end = 0;
  if (std::sscanf(stem.c_str() + stem.size() - kTail, "-%5d-of-%5d.ggu%c", &number, &count, &end) != 3 || end != 'f') return 0;
  if (number < 1 || count < 1 || number > count) return 0;
  stem.resize(stem.size() - kTail);
  return count;
}

}  // namespace

const char* value_type_name(ValueType type) {
  static constexpr const char* kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                           "bool", "string", "array", "u64", "i64", "f64"};
  return kNames[uint32_t(type)];
}

size_t scalar_bytes(ValueType type) {
  static constexpr size_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kBytes[uint32_t(type)];
}

std::string printable(std::string_view text) {
  std::string out;
  for (unsigned char c : text.substr(0, 80)) {
    if (c >= 32 && c < 127) {
      out += char(c);
    } else {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", c);
      out += escaped;
    }
  }
  return text.size() > 80 ? out + "..." : out;
}

std::string_view Entry::string(size_t i) const {
  // Not by its length word, which may have changed on disk since it was checked.
  const uint64_t begin = strings[i] + sizeof(uint64_t), end = i + 1 < strings.size() ? strings[i + 1] : length;
  return {reinterpret_cast<const char*>(data + begin), size_t(end - begin)};
}

std::shared_ptr<File> File::open(const std::string& path) {
  auto file = std::make_shared<File>();
  std::string stem = path;
  const int n_shards = shard_count(stem);
  file->mappings_.push_back(std::make_unique<Mapping>(path));
  file->parse(*file->mappings_.front(), true);
  for (size_t i = 0; i < file->entries_.size(); ++i)
    if (!file->entry_index_.emplace(file->entries_[i].key, i).second)
      bad(path, "key " + printable(file->entries_[i].key) + " appears twice");
  if (n_shards > 1)
    file->add_shards(path);
  else
    file->refuse_lone_shard(path);
  for (size_t i = 0; i < file->tensors_.size(); ++i)
    if (!file->tensor_index_.emplace(file->tensors_[i].name, i).second)
      bad(path, "tensor " + printable(file->tensors_[i].name) + " appears twice");
  return file;
}

void File::add_shards(const std::string& path) {
  std::string stem = path;
  const int count = shard_count(stem);
  const auto name_of = [&](int i) {
    char tail[32];
    std::snprintf(tail, sizeof tail, "-%05d-of-%05d.gguf", i, count);
    return stem + tail;
  };
  if (path != name_of(1))
    throw Error(ErrorCode::kBadModelFile, path + ": is one shard of several", "open the first one: " + name_of(1));
  for (int i = 2; i <= count; ++i) {
    const std::string shard = name_of(i);
    try {
      mappings_.push_back(std::make_unique<Mapping>(shard));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound) throw;
      throw Error(ErrorCode::kBadModelFile, path + ": shard " + shard + " is missing",
                  "download all " + std::to_string(count) + " shards");
    }
    parse(*mappings_.back(), false);
  }
}

// A shard under another name would only miss tensors.
void File::refuse_lone_shard(const std::string& path) const {
  const Entry* e = entry("split.count");
  if (!e || e->type != ValueType::kU16) return;
  uint16_t count;
  std::memcpy(&count, e->data, sizeof count);
  if (count > 1)
    throw Error(ErrorCode::kBadModelFile, path + ": is one shard of " + std::to_string(count) + ", but its name does not say so",
                "give the shards their own names back: they end in -00001-of-0000N.gguf");
}

void File::parse(const Mapping& m, bool first) {
  const std::string& path = m.path();
  Cursor in(path, m.data(), m.size());
  const std::string_view head(reinterpret_cast<const char*>(m.data()), std::min<size_t>(m.size(), 64));
  if (head.substr(0, 4) != "GGUF")
    throw Error(ErrorCode::kBadModelFile, path + ": is " + looks_like(head), "edgeinfer runs models in GGUF files");
  in.skip(4, "magic");
  const auto version = in.read<uint32_t>("version");
  if (version == 0x02000000 || version == 0x03000000) bad(path, "is a big-endian GGUF file, which is not supported");
  if (version != 2 && version != 3) bad(path, "has GGUF version " + std::to_string(version) + ", supported are 2 and 3");
  const auto n_tensors = in.read<uint64_t>("tensor count"), n_entries = in.read<uint64_t>("metadata count");
  in.require_count(n_entries, kMinEntryBytes, "metadata entries", kMaxEntries);
  in.require_count(n_tensors, kMinTensorBytes, "tensors", kMaxTensors);

  std::vector<Entry> entries;
  for (uint64_t i = 0; i < n_entries; ++i) entries.push_back(read_entry(in, path, i));
  uint64_t alignment = 32;
  for (const Entry& e : entries) {
    if (e.key != "general.alignment") continue;
    if (e.type != ValueType::kU32)
      bad(path, std::string("key general.alignment has type ") + value_type_name(e.type) + ", expected u32");
    uint32_t value;
    std::memcpy(&value, e.data, 4);
    if (value < kMinAlignment || (value & (value - 1)) || value > kMaxAlignment)
      bad(path, "key general.alignment is " + std::to_string(value) + ", not a power of two from 8 to 1048576");
    alignment = value;
  }

  std::vector<TensorInfo> tensors;
  for (uint64_t i = 0; i < n_tensors; ++i) tensors.push_back(read_tensor(in, path, i));
  const uint64_t data_start = (uint64_t(in.at()) + alignment - 1) / alignment * alignment;
  if (n_tensors > 0 && data_start > m.size()) bad(path, "ends before the tensor data begins");
  const uint64_t available = data_start > m.size() ? 0 : m.size() - data_start;
  for (TensorInfo& t : tensors) {
    const std::string name = "tensor " + printable(t.name);
    if (t.offset % alignment)
      bad(path, name + " has offset " + std::to_string(t.offset) + ", not aligned to " + std::to_string(alignment));
    if (t.offset > available || t.n_bytes > available - t.offset)
      bad(path, name + " needs " + megabytes(t.n_bytes) + " at offset " + std::to_string(t.offset) + ", the file has " +
                    megabytes(available) + " of tensor data");
    t.data = m.data() + data_start + t.offset;
    t.offset += data_start;
  }
  std::vector<const TensorInfo*> by_offset;
  for (const TensorInfo& t : tensors) by_offset.push_back(&t);
  std::sort(by_offset.begin(), by_offset.end(), [](auto* a, auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i)
    if (by_offset[i]->offset < by_offset[i - 1]->offset + by_offset[i - 1]->n_bytes)
      bad(path, "tensor " + printable(by_offset[i]->name) + " overlaps tensor " + printable(by_offset[i - 1]->name));

  if (first) {
    version_ = version;
    entries_ = std::move(entries);
  }
  tensors_.insert(tensors_.end(), tensors.begin(), tensors.end());
}

const TensorInfo* File::find(std::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

const Entry* File::entry(std::string_view key) const {
  const auto it = entry_index_.find(key);
  return it == entry_index_.end() ? nullptr : &entries_[it->second];
}

size_t File::size_bytes() const {
  size_t total = 0;
  for (const auto& m : mappings_) total += m->size();
  return total;
}

bool File::damaged() const {
  return std::any_of(mappings_.begin(), mappings_.end(), [](const auto& m) { return m->changed(); });
}

void File::require_intact() const {
  if (damaged())
    throw Error(ErrorCode::kModelFileChanged, path() + ": the model file changed on disk while it was in use",
                "load the model again; replace model files by renaming, not by writing over them");
}

}  // namespace edgeinfer::gguf

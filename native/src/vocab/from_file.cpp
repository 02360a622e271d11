#include "vocab/from_file.h"

namespace edgeinfer::vocab {

namespace {

using gguf::Entry;
using gguf::ValueType;

constexpr uint64_t kMostValues = 1 << 21;  // several times the largest vocabularies and merge lists in use

// The array `key`, or null if it is absent and may be.
const Entry* array(const gguf::File& file, const char* key, ValueType element, bool needed) {
  const Entry* entry = file.entry(key);
  if (entry == nullptr) {
    if (needed) throw Error(ErrorCode::kBadModelFile, std::string(key) + " is missing");
    return nullptr;
  }
  if (entry->type != ValueType::kArray || entry->element != element) {
    throw Error(ErrorCode::kBadModelFile, std::string(key) + " is not an array of " + gguf::value_type_name(element));
  }
  if (entry->count > kMostValues)
    throw Error(ErrorCode::kBadModelFile, std::string(key) + " has " + std::to_string(entry->count) + " values, at most " +
                                              std::to_string(kMostValues) + " are allowed");
  if (entry->count == 0) throw Error(ErrorCode::kBadModelFile, std::string(key) + " is empty");
  return entry;
}

PackedStrings packed(const Entry* entry) {
  if (entry == nullptr || entry->count == 0) return {};
  return {reinterpret_cast<const char*>(entry->data), static_cast<size_t>(entry->length), entry->count};
}

// Copied, as the array need not be aligned in the file.
template <class T>
std::vector<T> numbers(const Entry* entry) {
  if (entry == nullptr) return {};
  std::vector<T> values(entry->count);
  if (!values.empty()) std::memcpy(values.data(), entry->data, values.size() * sizeof(T));
  return values;
}

}  // namespace

Vocabulary read_vocabulary(const gguf::File& file, Algorithm algorithm) try {
  const bool has_merges = algorithm == Algorithm::kBytePairs;
  const Entry* tokens = array(file, "tokenizer.ggml.tokens", ValueType::kString, true);
  const Entry* merges = has_merges ? array(file, "tokenizer.ggml.merges", ValueType::kString, true) : nullptr;
  const bool by_score = algorithm == Algorithm::kScores;
  const Entry* scores = array(file, "tokenizer.ggml.scores", ValueType::kF32, by_score);
  const Entry* types = array(file, "tokenizer.ggml.token_type", ValueType::kI32, false);
  return Vocabulary(algorithm, packed(tokens), packed(merges), numbers<float>(scores), numbers<int32_t>(types));
} catch (const Error& error) {
  throw Error(error.code(), file.path() + ": " + error.what(),
              "the vocabulary is damaged or was converted wrongly: download it again");
}

}  // namespace edgeinfer::vocab

// The tokens of a model and the three ways to make them from text: byte pairs, scores, word pieces.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vocab/packed_strings.h"
#include "vocab/string_table.h"

namespace edgeinfer::vocab {

// Numbers of tokenizer.ggml.token_type (GGUF specification).
enum class TokenType : int32_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

enum class Algorithm {
  kBytePairs,   // tokenizer.ggml.model "gpt2": ranked merges over the byte alphabet of GPT-2
  kScores,      // "llama": the adjacent pair with the best score is merged first (SentencePiece)
  kWordPieces,  // "bert": longest token first, from the left
};

// Adjacent pairs of symbols that may be merged; the rank is the line in the file, the lowest goes first.
class MergeTable {
 public:
  static constexpr uint32_t kAbsent = UINT32_MAX;

  MergeTable();

  void reserve(size_t n_merges);
  void add(uint32_t left, uint32_t right, uint32_t merged);  // a pair that is there already is ignored
  uint32_t rank(uint32_t left, uint32_t right) const;        // kAbsent if there is none
  uint32_t merged(uint32_t rank) const { return merges_[rank].merged; }

 private:
  struct Merge {
    uint32_t left, right, merged;
  };
  size_t probe(uint32_t left, uint32_t right) const;

  uint64_t seed_;
  std::vector<Merge> merges_;
  std::vector<uint32_t> slots_;  // index into merges_ plus one; a power of two, at most two thirds full
};

// Immutable after construction but for set_type(); all const members may run on many threads.
class Vocabulary {
 public:
  static constexpr int32_t kNoToken = -1;
  static constexpr size_t kLongestToken = 64 * 1024;  // bytes; longer is refused

  // `scores` and `types` are empty or have one entry per token. Throws kBadModelFile.
  Vocabulary(Algorithm algorithm, const PackedStrings& tokens, const PackedStrings& merges, std::span<const float> scores,
             std::span<const int32_t> types);

  size_t n_tokens() const { return types_.size(); }
  TokenType type(int32_t id) const { return types_[checked(id)]; }
  void set_type(int32_t id, TokenType type) { types_[checked(id)] = type; }
  std::string_view text(int32_t id) const { return strings_[checked(id)]; }  // as in the file
  int32_t find(std::string_view text) const;                                 // first token of this text, or kNoToken
  std::vector<int32_t> ids_of_type(TokenType type) const;

  // The bytes that a token stands for. Unused and undefined tokens stand for none.
  std::string piece(int32_t id) const;
  // The bytes of all tokens; control and unknown tokens are left out if `skip_special`.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  // Byte pairs. `words` is the text cut into pieces (n_words + 1 ends in `bounds`, the first is 0).
  // With `whole_words` a word that is a token is never cut. Time O(n log n) of the longest word.
  std::vector<int32_t> encode_byte_pairs(std::string_view words, std::span<const size_t> bounds, bool whole_words) const;
  // Scores. Characters that are no token become byte tokens, or `unknown` where there are none.
  std::vector<int32_t> encode_scores(std::string_view text, int32_t unknown) const;
  // Word pieces. A word that cannot be covered becomes `unknown` as a whole.
  std::vector<int32_t> encode_word_pieces(std::string_view words, std::span<const size_t> bounds, int32_t unknown) const;

 private:
  size_t checked(int32_t id) const;
  void read_tokens(const PackedStrings& tokens);
  void read_merges(const PackedStrings& merges);
  void find_byte_tokens();
  friend class BytePairEncoder;
  std::string decode_byte_alphabet(std::string_view text) const;

  Algorithm algorithm_;
  StringTable strings_;  // tokens first; then strings that only the merges name
  std::vector<TokenType> types_;
  std::vector<float> scores_;
  std::vector<bool> token_lengths_;  // [n] whether some token has n bytes
  MergeTable merges_;
  std::array<uint32_t, 256> byte_symbols_{};  // byte pairs: symbol of each byte
  std::array<int32_t, 256> byte_tokens_{};    // scores: token of each byte, or kNoToken
};

}  // namespace edgeinfer::vocab

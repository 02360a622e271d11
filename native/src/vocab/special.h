// Finds special tokens in text before it is tokenized.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace edgeinfer::vocab {

struct SpecialToken {
  std::string text;
  int32_t id;
  bool always;       // also where special tokens are not parsed (user-defined tokens)
  bool strip_left;   // swallows the white space before it
  bool strip_right;  // swallows the white space after it
};

// A stretch of text, or a special token that stands for it.
struct Fragment {
  static constexpr int32_t kText = -1;
  size_t begin, end;  // bytes
  int32_t id;         // kText: this stretch is still to be tokenized
};

class SpecialTokens {
 public:
  // Tokens are looked for in the order given.
  explicit SpecialTokens(std::vector<SpecialToken> tokens);
  ~SpecialTokens();

  // The text in order: each token takes what the tokens before it in the list have left, from the left.
  std::vector<Fragment> split(std::string_view text, bool parse_special) const;

 private:
  struct Trie;
  std::vector<size_t> present_in(std::string_view text, bool parse_special) const;

  std::vector<SpecialToken> tokens_;
  std::unique_ptr<const Trie> trie_;  // of their texts: tells which occur at all in one pass
};

}  // namespace edgeinfer::vocab

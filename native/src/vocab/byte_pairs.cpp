// Byte-pair encoding (Sennrich et al. 2016) over GPT-2's byte alphabet, merges by rank, then from the left.
#include <queue>
#include <string>
#include <unordered_map>

#include "vocab/byte_alphabet.h"
#include "vocab/vocabulary.h"

namespace edgeinfer::vocab {

// Encodes the words of one text; keeps its buffers from word to word.
class BytePairEncoder {
 public:
  BytePairEncoder(const Vocabulary& vocabulary, bool whole_words) : v_(vocabulary), whole_words_(whole_words) {}

  void encode(std::string_view word, std::vector<int32_t>& out) {
    if (whole_words_) {
      const int32_t id = whole_token(word);
      if (id != Vocabulary::kNoToken) return out.push_back(id);
    }
    start(word);
    while (!queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      if (is_current(best)) merge(best);
    }
    for (int32_t i = 0; i >= 0 && !word.empty(); i = nodes_[i].next) emit(nodes_[i].symbol, out);
  }

 private:
  struct Node {
    uint32_t symbol;
    int32_t previous, next;  // -1 at the ends
    bool alive;
  };
  struct Candidate {
    uint32_t rank;
    int32_t left;  // node
    uint32_t left_symbol, right_symbol;
    bool operator<(const Candidate& other) const {  // the queue gives the largest: lowest rank, then leftmost
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };

  int32_t whole_token(std::string_view word) {
    text_.clear();
    if (word.size() >= v_.token_lengths_.size()) return Vocabulary::kNoToken;
    for (const char c : word) kByteAlphabet.append(static_cast<uint8_t>(c), text_);
    return v_.find(text_);
  }

  void start(std::string_view word) {
    nodes_.clear();
    const int32_t n = static_cast<int32_t>(word.size());
    for (int32_t i = 0; i < n; ++i) {
      const uint32_t symbol = v_.byte_symbols_[static_cast<uint8_t>(word[i])];
      nodes_.push_back({symbol, i - 1, i + 1 < n ? i + 1 : -1, true});
    }
    for (int32_t i = 0; i + 1 < n; ++i) propose(i);
  }

  void propose(int32_t left) {
    if (left < 0 || nodes_[left].next < 0) return;
    const uint32_t left_symbol = nodes_[left].symbol;
    const uint32_t right_symbol = nodes_[nodes_[left].next].symbol;
    const uint32_t rank = v_.merges_.rank(left_symbol, right_symbol);
    if (rank != MergeTable::kAbsent) queue_.push({rank, left, left_symbol, right_symbol});
  }

  bool is_current(const Candidate& c) const {
    const Node& left = nodes_[c.left];
    return left.alive && left.symbol == c.left_symbol && left.next >= 0 && nodes_[left.next].symbol == c.right_symbol;
  }

  void merge(const Candidate& c) {
    Node& left = nodes_[c.left];
    Node& right = nodes_[left.next];
    left.symbol = v_.merges_.merged(c.rank);
    left.next = right.next;
    right.alive = false;
    if (left.next >= 0) nodes_[left.next].previous = c.left;
    propose(left.previous);
    propose(c.left);
  }

  // A symbol that is no token falls apart into those of its bytes that are tokens.
  void emit(uint32_t symbol, std::vector<int32_t>& out) const {
    if (symbol < v_.n_tokens()) return out.push_back(static_cast<int32_t>(symbol));
    for (const char c : v_.strings_[symbol]) {
      const int32_t id = v_.find(std::string_view(&c, 1));
      if (id != Vocabulary::kNoToken) out.push_back(id);
    }
  }

  const Vocabulary& v_;
  const bool whole_words_;
  std::vector<Node> nodes_;
  std::priority_queue<Candidate> queue_;
  std::string text_;
};

std::vector<int32_t> Vocabulary::encode_byte_pairs(std::string_view words, std::span<const size_t> bounds,
                                                   bool whole_words) const {
  BytePairEncoder encoder(*this, whole_words);
  std::unordered_map<std::string_view, std::pair<size_t, size_t>> seen;  // word -> its ids' place in out
  std::vector<int32_t> out;
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    const std::string_view word = words.substr(bounds[i], bounds[i + 1] - bounds[i]);
    const size_t begin = out.size();
    const auto [entry, is_new] = seen.try_emplace(word, begin, begin);
    if (is_new) {
      encoder.encode(word, out);
      entry->second.second = out.size();
    } else {
      const auto [from, to] = entry->second;
      for (size_t k = from; k < to; ++k) out.push_back(out[k]);
    }
  }
  return out;
}

}  // namespace edgeinfer::vocab

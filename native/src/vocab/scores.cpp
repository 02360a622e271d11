// SentencePiece's greedy merging: the adjacent pair whose union is the token of the best score goes first.
#include <queue>

#include "vocab/byte_alphabet.h"
#include "vocab/vocabulary.h"

namespace edgeinfer::vocab {

namespace {

struct Node {
  size_t begin, length;    // bytes of the text; length 0: merged into its left neighbour
  int32_t previous, next;  // -1 at the ends
};

struct Candidate {
  float score;
  int32_t left;   // node
  size_t length;  // of both nodes when it was proposed; a node that has changed has another one
  bool operator<(const Candidate& other) const { return score != other.score ? score < other.score : left > other.left; }
};

std::vector<Node> characters_of(std::string_view text) {
  std::vector<Node> nodes;
  for (size_t at = 0; at < text.size();) {
    const size_t length = std::min(utf8_length(text[at]), text.size() - at);
    const int32_t index = static_cast<int32_t>(nodes.size());
    nodes.push_back({at, length, index - 1, at + length < text.size() ? index + 1 : -1});
    at += length;
  }
  return nodes;
}

}  // namespace

std::vector<int32_t> Vocabulary::encode_scores(std::string_view text, int32_t unknown) const {
  std::vector<Node> nodes = characters_of(text);
  std::priority_queue<Candidate> queue;
  const auto propose = [&](int32_t left) {
    if (left < 0 || nodes[left].next < 0) return;
    const size_t length = nodes[left].length + nodes[nodes[left].next].length;
    const int32_t id = find(text.substr(nodes[left].begin, length));
    if (id != kNoToken) queue.push({scores_[id], left, length});
  };
  for (int32_t i = 0; i < static_cast<int32_t>(nodes.size()); ++i) propose(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Node& left = nodes[best.left];
    if (left.length == 0 || left.next < 0 || left.length + nodes[left.next].length != best.length) continue;
    Node& right = nodes[left.next];
    left.length = best.length;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0) nodes[left.next].previous = best.left;
    propose(left.previous);
    propose(best.left);
  }
  std::vector<int32_t> out;
  for (int32_t i = 0; i >= 0 && !nodes.empty(); i = nodes[i].next) {
    const std::string_view piece = text.substr(nodes[i].begin, nodes[i].length);
    const int32_t id = find(piece);
    if (id != kNoToken) {
      out.push_back(id);
      continue;
    }
    for (const char c : piece) {
      const int32_t byte = byte_tokens_[static_cast<uint8_t>(c)];
      if (byte != kNoToken || unknown != kNoToken) out.push_back(byte != kNoToken ? byte : unknown);
    }
  }
  return out;
}

}  // namespace edgeinfer::vocab

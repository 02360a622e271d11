#include "vocab/special.h"

#include <array>
#include <map>

namespace edgeinfer::vocab {

// Node 0 is the root. Only the root is a table, as nearly every position of a text ends there.
struct SpecialTokens::Trie {
  struct Node {
    std::map<char, uint32_t> children;
    std::vector<size_t> tokens;  // that end here
  };
  std::vector<Node> nodes{1};
  std::array<uint32_t, 256> root{};

  void add(std::string_view text, size_t token) {
    uint32_t node = 0;
    for (const char c : text) {
      const auto [entry, is_new] = nodes[node].children.try_emplace(c, static_cast<uint32_t>(nodes.size()));
      const uint32_t child = entry->second;
      if (node == 0) root[static_cast<uint8_t>(c)] = child;
      if (is_new) nodes.emplace_back();
      node = child;
    }
    nodes[node].tokens.push_back(token);
  }

  uint32_t child(uint32_t node, char c) const {
    const auto found = nodes[node].children.find(c);
    return found == nodes[node].children.end() ? 0 : found->second;
  }
};

namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Cuts every occurrence of `token` out of the text fragments.
std::vector<Fragment> cut(std::string_view text, const std::vector<Fragment>& fragments, const SpecialToken& token) {
  std::vector<Fragment> out;
  for (Fragment rest : fragments) {
    while (rest.id == Fragment::kText) {
      const size_t match = text.substr(0, rest.end).find(token.text, rest.begin);
      if (match == std::string_view::npos) break;
      size_t left_end = match;
      while (token.strip_left && left_end > rest.begin && is_space(text[left_end - 1])) --left_end;
      if (left_end > rest.begin) out.push_back({rest.begin, left_end, Fragment::kText});
      rest.begin = match + token.text.size();
      out.push_back({match, rest.begin, token.id});
      while (token.strip_right && rest.begin < rest.end && is_space(text[rest.begin])) ++rest.begin;
    }
    if (rest.begin < rest.end) out.push_back(rest);
  }
  return out;
}

}  // namespace

SpecialTokens::SpecialTokens(std::vector<SpecialToken> tokens) : tokens_(std::move(tokens)) {
  auto trie = std::make_unique<Trie>();
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (!tokens_[i].text.empty()) trie->add(tokens_[i].text, i);
  }
  trie_ = std::move(trie);
}

SpecialTokens::~SpecialTokens() = default;

std::vector<size_t> SpecialTokens::present_in(std::string_view text, bool parse_special) const {
  std::vector<bool> found(tokens_.size());
  for (size_t at = 0; at < text.size(); ++at) {
    uint32_t node = trie_->root[static_cast<uint8_t>(text[at])];
    for (size_t next = at + 1; node != 0; ++next) {
      for (const size_t token : trie_->nodes[node].tokens) found[token] = true;
      node = next < text.size() ? trie_->child(node, text[next]) : 0;
    }
  }
  std::vector<size_t> present;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (found[i] && (parse_special || tokens_[i].always)) present.push_back(i);
  }
  return present;
}

std::vector<Fragment> SpecialTokens::split(std::string_view text, bool parse_special) const {
  std::vector<Fragment> fragments;
  if (!text.empty()) fragments.push_back({0, text.size(), Fragment::kText});
  for (const size_t token : present_in(text, parse_special)) fragments = cut(text, fragments, tokens_[token]);
  return fragments;
}

}  // namespace edgeinfer::vocab

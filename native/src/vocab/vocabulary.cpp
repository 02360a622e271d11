#include "vocab/vocabulary.h"

#include <algorithm>
#include <cmath>

#include "vocab/byte_alphabet.h"

namespace edgeinfer::vocab {

namespace {

constexpr char kHex[] = "0123456789ABCDEF";
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581 stands for a space in SentencePiece

std::string byte_token_text(uint8_t byte) { return {'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'}; }

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// The byte of "<0x41>", or -1 if the text is not exactly of that form.
int byte_of(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
  const int high = hex_digit(text[3]);
  const int low = hex_digit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string marks_to_spaces(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    if (text.substr(at, kSpaceMark.size()) == kSpaceMark) {
      out.push_back(' ');
      at += kSpaceMark.size();
    } else {
      out.push_back(text[at++]);
    }
  }
  return out;
}

[[noreturn]] void bad_file(const std::string& message) { throw Error(ErrorCode::kBadModelFile, message); }

}  // namespace

MergeTable::MergeTable() : seed_(process_seed()), slots_(64) {}

void MergeTable::reserve(size_t n_merges) {
  merges_.reserve(n_merges);
  size_t n_slots = 64;
  while (n_slots * 2 < n_merges * 3) n_slots *= 2;
  slots_.assign(n_slots, 0);
}

size_t MergeTable::probe(uint32_t left, uint32_t right) const {
  const size_t mask = slots_.size() - 1;
  size_t at = mix((uint64_t{left} << 32 | right) ^ seed_, 0x9E3779B97F4A7C15u ^ (seed_ << 1)) & mask;
  while (slots_[at] != 0) {
    const Merge& merge = merges_[slots_[at] - 1];
    if (merge.left == left && merge.right == right) return at;
    at = (at + 1) & mask;
  }
  return at;
}

void MergeTable::add(uint32_t left, uint32_t right, uint32_t merged) {
  const size_t at = probe(left, right);
  if (slots_[at] != 0) return;
  merges_.push_back({left, right, merged});
  slots_[at] = static_cast<uint32_t>(merges_.size());
}

uint32_t MergeTable::rank(uint32_t left, uint32_t right) const { return slots_[probe(left, right)] - 1; }

Vocabulary::Vocabulary(Algorithm algorithm, const PackedStrings& tokens, const PackedStrings& merges,
                       std::span<const float> scores, std::span<const int32_t> types)
    : algorithm_(algorithm) {
  if (tokens.count > INT32_MAX || merges.count > INT32_MAX) bad_file("the vocabulary has over 2^31 entries");
  if (!scores.empty() && scores.size() != tokens.count) bad_file("tokenizer.ggml.scores: one per token is needed");
  if (!types.empty() && types.size() != tokens.count) bad_file("tokenizer.ggml.token_type: one per token is needed");
  if (std::any_of(scores.begin(), scores.end(), [](float s) { return std::isnan(s); })) {
    bad_file("tokenizer.ggml.scores has a score that is not a number");
  }
  read_tokens(tokens);
  types_.assign(tokens.count, TokenType::kNormal);
  for (size_t i = 0; i < types.size(); ++i) {
    types_[i] = types[i] >= 0 && types[i] <= 6 ? TokenType{types[i]} : TokenType::kUndefined;
  }
  if (algorithm == Algorithm::kScores) {
    scores_.assign(tokens.count, 0.0f);
    std::copy(scores.begin(), scores.end(), scores_.begin());
    find_byte_tokens();
  }
  if (algorithm == Algorithm::kBytePairs) read_merges(merges);
}

void Vocabulary::read_tokens(const PackedStrings& tokens) {
  strings_.reserve(tokens.count, tokens.n_bytes - std::min(tokens.n_bytes, 8 * tokens.count));
  tokens.each("tokenizer.ggml.tokens", [&](size_t i, std::string_view text) {
    if (text.size() > kLongestToken) bad_file("token " + std::to_string(i) + " is longer than 64 KiB");
    const std::string placeholder = text.empty() ? "[EMPTY_" + std::to_string(i) + "]" : std::string();
    if (text.empty()) text = placeholder;
    if (text.size() >= token_lengths_.size()) token_lengths_.resize(text.size() + 1);
    token_lengths_[text.size()] = true;
    strings_.append(text);
  });
}

void Vocabulary::read_merges(const PackedStrings& merges) {
  const bool unique = strings_.n_distinct() == strings_.size();
  std::string scratch;
  for (int b = 0; b < 256; ++b) {
    scratch.clear();
    kByteAlphabet.append(static_cast<uint8_t>(b), scratch);
    byte_symbols_[b] = strings_.intern(scratch);
  }
  merges_.reserve(merges.count);
  uint32_t expected = 0;  // most files list tokens in the order of their merges: saves a search
  merges.each("tokenizer.ggml.merges", [&](size_t i, std::string_view line) {
    if (line.size() > 2 * kLongestToken + 1) bad_file("merge " + std::to_string(i) + " is too long");
    const size_t space = line.find(' ', 1);
    if (space == std::string_view::npos) bad_file("merge " + std::to_string(i) + " names no pair");
    const std::string_view left = line.substr(0, space);
    const std::string_view right = line.substr(space + 1);
    const uint32_t left_symbol = strings_.intern(left);
    const uint32_t right_symbol = strings_.intern(right);
    scratch.assign(left).append(right);
    const bool guessed = unique && expected < n_tokens() && strings_[expected] == scratch;
    const uint32_t merged = guessed ? expected : strings_.intern(scratch);
    merges_.add(left_symbol, right_symbol, merged);
    expected = merged + 1;
  });
}

void Vocabulary::find_byte_tokens() {
  for (int b = 0; b < 256; ++b) {
    byte_tokens_[b] = find(byte_token_text(static_cast<uint8_t>(b)));
    if (byte_tokens_[b] == kNoToken) byte_tokens_[b] = find(std::string(1, static_cast<char>(b)));
  }
}

size_t Vocabulary::checked(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= n_tokens()) {
    throw Error(ErrorCode::kInvalidRequest, "token id " + std::to_string(id) + " is not in the vocabulary",
                "ids run from 0 to " + std::to_string(n_tokens() - 1));
  }
  return static_cast<size_t>(id);
}

int32_t Vocabulary::find(std::string_view text) const {
  if (text.size() >= token_lengths_.size() || !token_lengths_[text.size()]) return kNoToken;
  const uint32_t index = strings_.find(text);
  return index < n_tokens() ? static_cast<int32_t>(index) : kNoToken;
}

std::vector<int32_t> Vocabulary::ids_of_type(TokenType type) const {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < types_.size(); ++i) {
    if (types_[i] == type) ids.push_back(static_cast<int32_t>(i));
  }
  return ids;
}

std::string Vocabulary::decode_byte_alphabet(std::string_view text) const {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const uint8_t first = static_cast<uint8_t>(text[at]);
    const bool two = first >= 0xC2 && first <= 0xC5 && at + 1 < text.size();
    const unsigned code = two ? (first & 0x1Fu) << 6 | (static_cast<uint8_t>(text[at + 1]) & 0x3Fu) : first;
    const bool known = (two || first < 0x80) && code < kByteAlphabet.byte.size() && kByteAlphabet.byte[code] >= 0;
    if (known) out.push_back(static_cast<char>(kByteAlphabet.byte[code]));
    if (!known) out.push_back(text[at]);  // not of the alphabet: a token in plain text
    at += known && two ? 2 : 1;
  }
  return out;
}

std::string Vocabulary::piece(int32_t id) const {
  const std::string_view text = this->text(id);
  switch (types_[id]) {
    case TokenType::kControl:
    case TokenType::kUnknown:
    case TokenType::kUserDefined:
      return std::string(text);
    case TokenType::kNormal:
      return algorithm_ == Algorithm::kBytePairs ? decode_byte_alphabet(text) : marks_to_spaces(text);
    case TokenType::kByte: {
      const int byte = byte_of(text);
      return byte < 0 ? std::string(text) : std::string(1, static_cast<char>(byte));
    }
    case TokenType::kUndefined:
    case TokenType::kUnused:
      break;
  }
  return {};
}

std::string Vocabulary::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string out;
  for (const int32_t id : ids) {
    const TokenType type = this->type(id);
    if (skip_special && (type == TokenType::kControl || type == TokenType::kUnknown)) continue;
    out += piece(id);
  }
  return out;
}

}  // namespace edgeinfer::vocab

// Byte strings numbered in the order of their first appearance, found again by a hash table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace edgeinfer::vocab {

// Folded 64x64 -> 128 bit product; the seed makes collisions unpredictable to whoever made the file.
inline uint64_t mix(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// One number per process, different in each, for all hash tables of this room.
uint64_t process_seed();

// Owns copies of the strings, so nothing points into a mapped file.
class StringTable {
 public:
  static constexpr uint32_t kAbsent = UINT32_MAX;

  StringTable();

  void reserve(size_t n_strings, size_t n_bytes);
  uint32_t size() const { return static_cast<uint32_t>(spans_.size()); }
  uint32_t n_distinct() const { return n_distinct_; }  // less than size() where append() met a known string
  std::string_view operator[](uint32_t index) const {
    const Span& span = spans_[index];
    return {arena_.data() + span.offset, span.length};
  }

  // The index of `text`, or kAbsent.
  uint32_t find(std::string_view text) const;
  // The index of `text`, which is added if it is absent.
  uint32_t intern(std::string_view text);
  // Adds `text` under the next index even if it is there already; then find() keeps the first index.
  uint32_t append(std::string_view text);

 private:
  struct Span {
    uint32_t offset;
    uint32_t length;
  };
  struct Slot {
    uint32_t index_plus_one;  // 0: free
    uint32_t tag;             // high half of the hash, to skip most comparisons
  };

  uint64_t hash(std::string_view text) const;
  size_t probe(std::string_view text, uint64_t hash) const;  // slot of `text`, or the free slot for it
  uint32_t add(std::string_view text);
  void grow(size_t n_slots);

  uint64_t seed_;
  uint32_t n_distinct_ = 0;
  std::string arena_;
  std::vector<Span> spans_;
  std::vector<Slot> slots_;  // a power of two, at most two thirds full
};

}  // namespace edgeinfer::vocab

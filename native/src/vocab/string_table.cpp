#include "vocab/string_table.h"

#include <chrono>
#include <cstring>

#include "errors.h"

namespace edgeinfer::vocab {

namespace {

constexpr uint64_t kFirst = 0x9E3779B97F4A7C15u;   // golden ratio
constexpr uint64_t kSecond = 0xD6E8FEB86659FD93u;  // any odd number with mixed bits
constexpr size_t kFewestSlots = 64;

uint64_t load_tail(const char* bytes, size_t n) {
  uint64_t word = 0;
  std::memcpy(&word, bytes, n);
  return word;
}

size_t slots_for(size_t n_strings) {
  size_t n_slots = kFewestSlots;
  while (n_slots * 2 < n_strings * 3) n_slots *= 2;
  return n_slots;
}

}  // namespace

uint64_t process_seed() {
  static const int anchor = 0;  // its address is random where the system randomises addresses
  static const uint64_t seed = mix(static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()) ^ kFirst,
                                   reinterpret_cast<uintptr_t>(&anchor) ^ kSecond);
  return seed;
}

StringTable::StringTable() : seed_(process_seed()), slots_(kFewestSlots) {}

void StringTable::reserve(size_t n_strings, size_t n_bytes) {
  arena_.reserve(n_bytes);
  spans_.reserve(n_strings);
  if (slots_for(n_strings) > slots_.size()) grow(slots_for(n_strings));
}

uint64_t StringTable::hash(std::string_view text) const {
  uint64_t state = seed_ ^ (text.size() * kFirst);
  const char* bytes = text.data();
  size_t left = text.size();
  for (; left > 8; left -= 8, bytes += 8) state = mix(state ^ load_tail(bytes, 8), kFirst) + seed_;
  return mix(state ^ load_tail(bytes, left), kSecond ^ seed_);
}

size_t StringTable::probe(std::string_view text, uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  const uint32_t tag = static_cast<uint32_t>(hash >> 32);
  size_t at = hash & mask;
  while (slots_[at].index_plus_one != 0) {
    if (slots_[at].tag == tag && (*this)[slots_[at].index_plus_one - 1] == text) return at;
    at = (at + 1) & mask;
  }
  return at;
}

uint32_t StringTable::find(std::string_view text) const {
  const Slot& slot = slots_[probe(text, hash(text))];
  return slot.index_plus_one == 0 ? kAbsent : slot.index_plus_one - 1;
}

uint32_t StringTable::add(std::string_view text) {
  if (arena_.size() + text.size() > UINT32_MAX) {
    throw Error(ErrorCode::kBadModelFile, "the vocabulary has more than 4 GiB of text");
  }
  const uint32_t index = size();
  spans_.push_back({static_cast<uint32_t>(arena_.size()), static_cast<uint32_t>(text.size())});
  arena_.append(text);
  return index;
}

uint32_t StringTable::intern(std::string_view text) {
  const uint64_t code = hash(text);
  const size_t at = probe(text, code);
  if (slots_[at].index_plus_one != 0) return slots_[at].index_plus_one - 1;
  const uint32_t index = add(text);
  slots_[at] = {index + 1, static_cast<uint32_t>(code >> 32)};
  ++n_distinct_;
  if (size_t{n_distinct_} * 3 > slots_.size() * 2) grow(slots_.size() * 2);
  return index;
}

uint32_t StringTable::append(std::string_view text) {
  const uint32_t next = size();
  const uint32_t index = intern(text);
  return index == next ? index : add(text);
}

void StringTable::grow(size_t n_slots) {
  std::vector<Slot> old(n_slots);
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.index_plus_one == 0) continue;
    size_t at = hash((*this)[slot.index_plus_one - 1]) & mask;
    while (slots_[at].index_plus_one != 0) at = (at + 1) & mask;
    slots_[at] = slot;
  }
}

}  // namespace edgeinfer::vocab

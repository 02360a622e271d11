// GPT-2's alphabet: each byte is written as one printable character of Unicode's first 324.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace edgeinfer::vocab {

struct ByteAlphabet {
  std::array<uint16_t, 256> character;  // byte -> code point
  std::array<int16_t, 324> byte;        // code point -> byte, or -1

  constexpr ByteAlphabet() : character{}, byte{} {
    byte.fill(-1);
    uint16_t next = 256;  // bytes that do not print take the code points from 256 on, in order
    for (int b = 0; b < 256; ++b) {
      const bool prints = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      character[b] = prints ? static_cast<uint16_t>(b) : next++;
      byte[character[b]] = static_cast<int16_t>(b);
    }
  }

  // Appends the character of byte `b` in UTF-8.
  void append(uint8_t b, std::string& out) const {
    const uint16_t code = character[b];
    if (code < 0x80) {
      out.push_back(static_cast<char>(code));
    } else {
      out.push_back(static_cast<char>(0xC0 | (code >> 6)));
      out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
    }
  }
};

inline constexpr ByteAlphabet kByteAlphabet;

// Bytes of the UTF-8 character that begins with `first`; 1 for bytes that begin none.
inline size_t utf8_length(char first) {
  const uint8_t b = static_cast<uint8_t>(first);
  return b < 0xC0 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

}  // namespace edgeinfer::vocab

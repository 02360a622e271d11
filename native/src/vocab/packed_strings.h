// A string array as GGUF stores it: for each string its length (8 bytes, little endian), then its bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "errors.h"

namespace edgeinfer::vocab {

// Borrowed bytes; reading past them is an Error, never undefined.
struct PackedStrings {
  const char* bytes = nullptr;
  size_t n_bytes = 0;
  size_t count = 0;

  // Calls use(index, text) for each string in order. `name` says in errors which array it is.
  template <class Use>
  void each(const char* name, Use use) const {
    size_t at = 0;
    for (size_t i = 0; i < count; ++i) {
      uint64_t length = 0;
      if (n_bytes - at < sizeof length) ends_early(name, i);
      std::memcpy(&length, bytes + at, sizeof length);
      at += sizeof length;
      if (length > n_bytes - at) ends_early(name, i);
      use(i, std::string_view(bytes + at, length));
      at += length;
    }
  }

 private:
  [[noreturn]] static void ends_early(const char* name, size_t index) {
    throw Error(ErrorCode::kBadModelFile, std::string(name) + " ends inside string " + std::to_string(index));
  }
};

}  // namespace edgeinfer::vocab

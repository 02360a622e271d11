// WordPiece as BERT has it (Devlin et al. 2019): from the left, always the longest token that fits.
#include <algorithm>

#include "vocab/vocabulary.h"

namespace edgeinfer::vocab {

std::vector<int32_t> Vocabulary::encode_word_pieces(std::string_view words, std::span<const size_t> bounds,
                                                    int32_t unknown) const {
  std::vector<int32_t> out;
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    const std::string_view word = words.substr(bounds[i], bounds[i + 1] - bounds[i]);
    const size_t begin = out.size();
    for (size_t at = 0; at < word.size();) {
      size_t length = std::min(word.size() - at, token_lengths_.size());
      int32_t id = kNoToken;
      for (; length > 0 && id == kNoToken; --length) id = find(word.substr(at, length));
      if (id == kNoToken) {
        out.resize(begin);
        break;
      }
      out.push_back(id);
      at += length + 1;
    }
    if (out.size() == begin && unknown != kNoToken) out.push_back(unknown);
  }
  return out;
}

}  // namespace edgeinfer::vocab

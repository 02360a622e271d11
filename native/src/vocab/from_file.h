// Builds a Vocabulary from the tokenizer.ggml.* arrays of an open file.
#pragma once

#include "gguf/file.h"
#include "vocab/vocabulary.h"

namespace edgeinfer::vocab {

// Copies what it needs. Throws kBadModelFile where an array is missing, of the wrong type or the wrong length.
Vocabulary read_vocabulary(const gguf::File& file, Algorithm algorithm);

}  // namespace edgeinfer::vocab

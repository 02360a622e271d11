// Opens every GGUF file named on standard input as the engine would, and reads all that its header promises. Built with
// sanitizers it is the proof that no file can hurt: exit code 1 if one takes over two seconds or more memory than its size
// and 64 MB.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <new>
#include <string>

#include "errors.h"
#include "gguf/file.h"
#include "vocab/from_file.h"

namespace {
size_t allocated = 0, most_allocated = 0;
}  // namespace

// Every allocation carries its size in front, so that the peak of each file is known.
void* operator new(size_t n) {
  auto* block = static_cast<size_t*>(std::malloc(n + 16));
  if (!block) throw std::bad_alloc();
  *block = n;
  allocated += n;
  most_allocated = std::max(most_allocated, allocated);
  return block + 2;
}
void operator delete(void* p) noexcept {
  if (!p) return;
  auto* block = static_cast<size_t*>(p) - 2;
  allocated -= *block;
  std::free(block);
}
void operator delete(void* p, size_t) noexcept { operator delete(p); }

namespace {

using namespace edgeinfer;

// A sum of everything, so that no read is optimized away.
unsigned read_all(const gguf::File& file) {
  unsigned sum = 0;
  for (const gguf::Entry& e : file.entries()) {
    for (char c : e.key) sum += unsigned(c);
    if (e.type == gguf::ValueType::kString) for (size_t i = 0; i < e.length; ++i) sum += unsigned(e.data[i]);
    else if (e.type == gguf::ValueType::kArray && e.element == gguf::ValueType::kString)
      for (size_t i = 0; i < e.count; ++i) for (char c : e.string(i)) sum += unsigned(c);
    else for (size_t i = 0; i < e.count * gguf::scalar_bytes(e.type == gguf::ValueType::kArray ? e.element : e.type); ++i) sum += unsigned(e.data[i]);
  }
  for (const gguf::TensorInfo& t : file.tensors()) sum += unsigned(t.data[0]) + unsigned(t.data[t.n_bytes - 1]);
  return sum;
}

// 0 where the vocabulary is refused.
unsigned vocabulary_size(const gguf::File& file, vocab::Algorithm algorithm) {
  try {
    return unsigned(vocab::read_vocabulary(file, algorithm).n_tokens());
  } catch (const Error&) {
    return 0;
  }
}

}  // namespace

int main() {
  std::string path;
  size_t n_files = 0, n_opened = 0, n_slow = 0, n_large = 0;
  unsigned sum = 0;
  double slowest = 0;
  while (std::getline(std::cin, path)) {
    const size_t before = allocated;
    most_allocated = allocated;
    const auto begin = std::chrono::steady_clock::now();
    ++n_files;
    try {
      const auto file = gguf::File::open(path);
      sum += read_all(*file);
      ++n_opened;
      for (const auto algorithm : {vocab::Algorithm::kBytePairs, vocab::Algorithm::kScores}) sum += vocabulary_size(*file, algorithm);
    } catch (const Error& error) {
      sum += unsigned(error.what()[0]);
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    slowest = std::max(slowest, seconds);
    n_slow += seconds > 2.0;
    if (most_allocated - before > std::filesystem::file_size(path) + (64u << 20)) {
      std::printf("%s: %zu bytes allocated\n", path.c_str(), most_allocated - before);
      ++n_large;
    }
  }
  std::printf("%zu files, %zu opened, slowest %.3f s, %zu over two seconds, %zu over their size + 64 MB (%u)\n", n_files, n_opened,
              slowest, n_slow, n_large, sum % 10);
  return n_slow || n_large ? 1 : 0;
}

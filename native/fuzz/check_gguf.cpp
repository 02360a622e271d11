// check_gguf: reads model files as the engine does before it computes anything, and says what became of each.
//
// Built with EDGEINFER_FUZZ (and EDGEINFER_SANITIZE) and run over damaged files: `check_gguf LIST`, where LIST
// names one file a line ("-": standard input). For each it prints "accept" or "reject", milliseconds, the most
// bytes that were allocated at once, the name and the message. A crash or a sanitizer's report is a bug of ours.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <new>
#include <string>

#include "errors.h"
#include "gguf/file.h"
#include "vocab/from_file.h"

namespace {

size_t bytes_now = 0, bytes_peak = 0;

// The size stands before each block, at the distance that malloc aligns to.
constexpr size_t kHeader = alignof(std::max_align_t);

void* counted(size_t n) {
  auto* block = static_cast<char*>(std::malloc(n + kHeader));
  if (!block) throw std::bad_alloc();
  *reinterpret_cast<size_t*>(block) = n;
  bytes_now += n;
  if (bytes_now > bytes_peak) bytes_peak = bytes_now;
  return block + kHeader;
}

void forget(void* p) noexcept {
  if (!p) return;
  char* block = static_cast<char*>(p) - kHeader;
  bytes_now -= *reinterpret_cast<size_t*>(block);
  std::free(block);
}

// Every tensor's first and last byte: they must be inside the mapping.
unsigned touch(const edgeinfer::gguf::File& file) {
  unsigned sum = 0;
  for (const auto& t : file.tensors()) sum += unsigned(t.data[0]) + unsigned(t.data[t.n_bytes - 1]);
  return sum;
}

// Every metadata value, as the Python door would read it.
unsigned read_values(const edgeinfer::gguf::File& file) {
  unsigned sum = 0;
  for (const auto& e : file.entries()) {
    for (size_t i = 0; i < e.strings.size(); ++i)
      for (char c : e.string(i)) sum += unsigned(c);
    if (e.length > 0) sum += unsigned(e.data[0]) + unsigned(e.data[e.length - 1]);
  }
  return sum;
}

void read_vocabularies(const edgeinfer::gguf::File& file) {
  using edgeinfer::vocab::Algorithm;
  for (Algorithm a : {Algorithm::kBytePairs, Algorithm::kScores, Algorithm::kWordPieces}) {
    try {
      edgeinfer::vocab::read_vocabulary(file, a).encode_scores("Hello, w\xC3\xB6rld", 0);
    } catch (const edgeinfer::Error&) {
      continue;  // each file has one kind; the others must be refused as cleanly
    }
  }
}

std::string verdict(const std::string& path, unsigned& sum) {
  try {
    const auto file = edgeinfer::gguf::File::open(path);
    sum += touch(*file) + read_values(*file);
    read_vocabularies(*file);
    return "accept";
  } catch (const edgeinfer::Error& error) {
    return std::string("reject\t") + error.what();
  }
}

}  // namespace

void* operator new(size_t n) { return counted(n); }
void* operator new[](size_t n) { return counted(n); }
void operator delete(void* p) noexcept { forget(p); }
void operator delete[](void* p) noexcept { forget(p); }
void operator delete(void* p, size_t) noexcept { forget(p); }
void operator delete[](void* p, size_t) noexcept { forget(p); }

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: check_gguf LIST\n");
    return 2;
  }
  std::ifstream list;
  const bool from_stdin = std::string(argv[1]) == "-";
  if (!from_stdin) list.open(argv[1]);
  std::string path;
  unsigned sum = 0;  // printed, so that the reads stay
  while (std::getline(from_stdin ? std::cin : list, path)) {
    bytes_peak = bytes_now;
    const size_t before = bytes_now;
    const auto start = std::chrono::steady_clock::now();
    const std::string said = verdict(path, sum);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    std::printf("%s\t%.2f\t%zu\t%s\n", path.c_str(), took.count(), bytes_peak - before, said.c_str());
  }
  std::fprintf(stderr, "checksum %u\n", sum);
}

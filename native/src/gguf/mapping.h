// Mapping: a file mapped read-only, which survives that the file shrinks under it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace edgeinfer::gguf {

// A page that vanished raises SIGBUS; our handler puts a page of zeros in its place and marks the mapping damaged, so
// that the step in flight ends with an error instead of the process. SIGBUS elsewhere goes to the previous handler.
class Mapping {
 public:
  // Throws kNotFound, kDisk, or kBadModelFile for an empty file or something that is no file.
  explicit Mapping(const std::string& path);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

  // True once a page was lost, or when the file on disk is no longer the one that was mapped.
  bool changed() const;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  int fd_ = -1;
  int64_t modified_ns_ = 0;
  int slot_ = -1;  // in the handler's table
};

}  // namespace edgeinfer::gguf

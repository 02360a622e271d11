#include "gguf/mapping.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>

#include "errors.h"

namespace edgeinfer::gguf {
namespace {

// What the signal handler may read: plain atomics in a fixed table.
struct Region {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<bool> damaged{false};
};
constexpr int kMaxRegions = 1024;  // beyond, only the look at size and time after each step protects
Region regions[kMaxRegions];
struct sigaction previous_action;
long page_size = 4096;

void on_sigbus(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Region& r : regions) {
    const uintptr_t begin = r.begin.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address >= r.end.load(std::memory_order_acquire)) continue;
    void* page = reinterpret_cast<void*>(address / uintptr_t(page_size) * uintptr_t(page_size));
    if (mmap(page, size_t(page_size), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
    r.damaged.store(true, std::memory_order_release);
    return;
  }
  if (previous_action.sa_flags & SA_SIGINFO) {
    previous_action.sa_sigaction(signal, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
  } else {
    // Back to the default: the faulting instruction runs again and ends the process as it would have.
    sigaction(SIGBUS, &previous_action, nullptr);
  }
}

void install_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    page_size = sysconf(_SC_PAGESIZE);
    struct sigaction action{};
    action.sa_sigaction = on_sigbus;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous_action);
  });
}

int64_t modified_ns(const struct stat& s) {
#ifdef __APPLE__
  return int64_t(s.st_mtimespec.tv_sec) * 1000000000 + s.st_mtimespec.tv_nsec;
#else
  return int64_t(s.st_mtim.tv_sec) * 1000000000 + s.st_mtim.tv_nsec;
#endif
}

// Closes the descriptor unless the constructor ran to its end.
struct OpenFile {
  int fd;
  ~OpenFile() {
    if (fd >= 0) close(fd);
  }
};

}  // namespace

Mapping::Mapping(const std::string& path) : path_(path) {
  OpenFile file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};  // a pipe must not make us wait
  if (file.fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) throw Error(ErrorCode::kNotFound, path + ": no such file", "check the path");
    throw Error(ErrorCode::kDisk, path + ": cannot be opened: " + std::strerror(errno), "check its permissions");
  }
  struct stat info{};
  if (fstat(file.fd, &info) != 0) throw Error(ErrorCode::kDisk, path + ": " + std::strerror(errno));
  if (!S_ISREG(info.st_mode)) throw Error(ErrorCode::kBadModelFile, path + ": is not a file", "give the path of a .gguf file");
  if (info.st_size == 0) throw Error(ErrorCode::kBadModelFile, path + ": the file is empty", "download it again");
  void* data = mmap(nullptr, size_t(info.st_size), PROT_READ, MAP_SHARED, file.fd, 0);
  if (data == MAP_FAILED)
    throw Error(ErrorCode::kNotEnoughMemory, path + ": cannot be mapped: " + std::strerror(errno), "use a smaller model");
  data_ = static_cast<const std::byte*>(data);
  size_ = size_t(info.st_size);
  modified_ns_ = modified_ns(info);
  fd_ = file.fd;
  file.fd = -1;
  install_handler();
  for (int i = 0; i < kMaxRegions; ++i) {
    uintptr_t empty = 0;
    if (!regions[i].begin.compare_exchange_strong(empty, reinterpret_cast<uintptr_t>(data_))) continue;
    regions[i].damaged.store(false);
    regions[i].end.store(reinterpret_cast<uintptr_t>(data_) + size_, std::memory_order_release);
    slot_ = i;
    break;
  }
}

Mapping::~Mapping() {
  if (slot_ >= 0) {
    regions[slot_].end.store(0);
    regions[slot_].begin.store(0);
  }
  munmap(const_cast<std::byte*>(data_), size_);
  close(fd_);
}

bool Mapping::changed() const {
  if (slot_ >= 0 && regions[slot_].damaged.load(std::memory_order_acquire)) return true;
  struct stat info{};
  return fstat(fd_, &info) != 0 || size_t(info.st_size) != size_ || modified_ns(info) != modified_ns_;
}

}  // namespace edgeinfer::gguf

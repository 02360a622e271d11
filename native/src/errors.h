// Typed errors of the native engine. bind/module.cpp turns each code into the class of
// edgeinfer.errors with the same code; nothing below prints or exits.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace edgeinfer {

enum class ErrorCode {
  kInvalidRequest,
  kBadModelFile,
  kUnsupportedModel,
  kModelFileChanged,
  kNotEnoughMemory,
  kNoRoom,
  kDisk,
  kNotFound,
  kCancelled,
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, std::string hint = {})
      : std::runtime_error(message), code_(code), hint_(std::move(hint)) {}

  ErrorCode code() const { return code_; }
  const std::string& hint() const { return hint_; }  // empty: no hint

 private:
  ErrorCode code_;
  std::string hint_;
};

}  // namespace edgeinfer

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bind/bind.h"
#include "vocab/from_file.h"
#include "vocab/special.h"
#include "vocab/vocabulary.h"

namespace nb = nanobind;

namespace edgeinfer::bind {

namespace {

using vocab::Algorithm;
using vocab::SpecialTokens;
using vocab::Vocabulary;

nb::bytes bytes_of(std::string_view text) { return nb::bytes(text.data(), text.size()); }
std::string_view view_of(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

// The engine counts bytes of a text in 32 bits.
void require_indexable(std::string_view text) {
  if (text.size() >= INT32_MAX) throw Error(ErrorCode::kInvalidRequest, "the text is longer than 2 GiB");
}

// The words of a list of str without lone surrogates, one after another, and where each ends.
struct Words {
  std::string text;
  std::vector<size_t> bounds{0};

  explicit Words(const nb::list& words) {
    bounds.reserve(words.size() + 1);
    for (const nb::handle word : words) {
      Py_ssize_t size = 0;
      const char* utf8 = PyUnicode_AsUTF8AndSize(word.ptr(), &size);
      if (utf8 == nullptr) throw nb::python_error();
      text.append(utf8, static_cast<size_t>(size));
      require_indexable(text);
      bounds.push_back(text.size());
    }
  }
};

Algorithm algorithm_of(const std::string& name) {
  if (name == "byte_pairs") return Algorithm::kBytePairs;
  if (name == "scores") return Algorithm::kScores;
  if (name == "word_pieces") return Algorithm::kWordPieces;
  throw Error(ErrorCode::kInvalidRequest, "unknown tokenizer algorithm " + name);
}

void construct(Vocabulary* self, const gguf::File& file, const std::string& algorithm) {
  const Algorithm chosen = algorithm_of(algorithm);
  nb::gil_scoped_release release;
  new (self) Vocabulary(vocab::read_vocabulary(file, chosen));
}

std::vector<int32_t> encode_byte_pairs(const Vocabulary& self, const nb::list& list, bool whole_words) {
  const Words words(list);
  nb::gil_scoped_release release;
  return self.encode_byte_pairs(words.text, words.bounds, whole_words);
}

std::vector<int32_t> encode_word_pieces(const Vocabulary& self, const nb::list& list, int32_t unknown) {
  const Words words(list);
  nb::gil_scoped_release release;
  return self.encode_word_pieces(words.text, words.bounds, unknown);
}

std::vector<int32_t> encode_scores(const Vocabulary& self, const nb::bytes& text, int32_t unknown) {
  const std::string_view view = view_of(text);
  require_indexable(view);
  nb::gil_scoped_release release;
  return self.encode_scores(view, unknown);
}

using SpecialTuple = std::tuple<nb::bytes, int32_t, bool, bool, bool>;

void construct_specials(SpecialTokens* self, const std::vector<SpecialTuple>& tuples) {
  std::vector<vocab::SpecialToken> tokens;
  for (const auto& [text, id, always, strip_left, strip_right] : tuples) {
    tokens.push_back({std::string(view_of(text)), id, always, strip_left, strip_right});
  }
  new (self) SpecialTokens(std::move(tokens));
}

std::vector<std::tuple<size_t, size_t, int32_t>> split(const SpecialTokens& self, const nb::bytes& text, bool parse_special) {
  const std::string_view view = view_of(text);
  std::vector<std::tuple<size_t, size_t, int32_t>> out;
  nb::gil_scoped_release release;
  for (const vocab::Fragment& f : self.split(view, parse_special)) out.emplace_back(f.begin, f.end, f.id);
  return out;
}

}  // namespace

void add_vocab(nb::module_& m) {
  using namespace nb::literals;
  nb::class_<Vocabulary>(m, "Vocabulary", "The tokens of a model and how text is merged into them.")
      .def("__init__", &construct, "file"_a, "algorithm"_a)
      .def_prop_ro("n_tokens", &Vocabulary::n_tokens)
      .def(
          "find", [](const Vocabulary& self, const nb::bytes& text) { return self.find(view_of(text)); }, "text"_a)
      .def(
          "text", [](const Vocabulary& self, int32_t id) { return bytes_of(self.text(id)); }, "id"_a)
      .def(
          "piece", [](const Vocabulary& self, int32_t id) { return bytes_of(self.piece(id)); }, "id"_a)
      .def(
          "type", [](const Vocabulary& self, int32_t id) { return static_cast<int32_t>(self.type(id)); }, "id"_a)
      .def(
          "set_type", [](Vocabulary& self, int32_t id, int32_t type) { self.set_type(id, vocab::TokenType{type}); }, "id"_a,
          "type"_a)
      .def(
          "ids_of_type", [](const Vocabulary& self, int32_t type) { return self.ids_of_type(vocab::TokenType{type}); }, "type"_a)
      .def(
          "decode",
          [](const Vocabulary& self, const std::vector<int32_t>& ids, bool skip_special) {
            return bytes_of(self.decode(ids, skip_special));
          },
          "ids"_a, "skip_special"_a)
      .def("encode_byte_pairs", &encode_byte_pairs, "words"_a, "whole_words"_a)
      .def("encode_scores", &encode_scores, "text"_a, "unknown"_a)
      .def("encode_word_pieces", &encode_word_pieces, "words"_a, "unknown"_a);
  nb::class_<SpecialTokens>(m, "SpecialTokens", "Finds special tokens in text before it is tokenized.")
      .def("__init__", &construct_specials, "tokens"_a)
      .def("split", &split, "text"_a, "parse_special"_a);
}

}  // namespace edgeinfer::bind

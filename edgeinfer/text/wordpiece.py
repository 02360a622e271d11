"""Cuts text into BERT's words: cleaned, lower-cased, without accents, signs and ideographs alone.

Follows llama.cpp, which keeps only the first character of a canonical decomposition.
"""

from __future__ import annotations

import unicodedata

SPACE_MARK = "\u2581"  # begins each word in the vocabulary

_WHITE_SPACE = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {
    chr(code) for code in range(0x2000, 0x200B)
}
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def bert_words(text: str, *, lowercase: bool, strip_accents: bool) -> list[str]:
    """The words of `text`, each with the mark that begins a word in the vocabulary."""
    words: list[str] = []
    current = ""
    for original in text:
        character = unicodedata.normalize("NFD", original)[0] if strip_accents else original
        kind = unicodedata.category(character)
        if character in _WHITE_SPACE:
            words.append(current)
            current = ""
        elif not _is_dropped(character, kind, strip_accents):
            character = character.lower()[0] if lowercase else character
            if _stands_alone(character, kind):
                words += [current, character]
                current = ""
            else:
                current += character
    words.append(current)
    return [SPACE_MARK + word for word in words if word]


def _is_dropped(character: str, kind: str, strip_accents: bool) -> bool:
    control = kind in ("Cc", "Cf", "Co", "Cs")
    return control or character in "\0\ufffd" or (strip_accents and kind[0] == "M")


def _stands_alone(character: str, kind: str) -> bool:
    code = ord(character)
    sign = kind[0] == "P" or (kind[0] == "S" and code < 0x7F)
    return sign or any(first <= code <= last for first, last in _IDEOGRAPHS)

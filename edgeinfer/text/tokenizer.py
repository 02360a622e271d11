"""Text to token ids and back, by the vocabulary that a GGUF file carries.

The merging runs in C++ (native/src/vocab), the cutting into words here (pretokenize.py). The rules, and the
defaults where a file is silent, are those of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Literal

from edgeinfer import _native
from edgeinfer.errors import BadModelFile, UnsupportedModel
from edgeinfer.text.pretokenize import Pretokenizer, pretokenizer

_PREFIX = "tokenizer.ggml."
_SPACE_MARK = "\u2581"
_DAMAGED = "the file is damaged or was converted wrongly: download it again"


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type` of the GGUF specification."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class FimIds:
    """Tokens that frame fill-in-the-middle prompts; None where the vocabulary has none."""

    prefix: int | None
    suffix: int | None
    middle: int | None
    pad: int | None
    repository: int | None
    file_separator: int | None


@dataclass(frozen=True)
class SpecialIds:
    """Tokens with a part to play; None where the vocabulary has none."""

    bos: int | None
    eos: int | None
    eot: int | None
    eom: int | None
    unknown: int | None
    separator: int | None
    pad: int | None
    mask: int | None
    fim: FimIds


@dataclass(frozen=True)
class _Model:
    """What `tokenizer.ggml.model` stands for, and its defaults."""

    algorithm: Literal["byte_pairs", "scores", "word_pieces"]
    defaults: dict[str, int]
    add_bos: bool
    add_space_prefix: bool


_MODELS = {
    "gpt2": _Model("byte_pairs", {}, add_bos=False, add_space_prefix=False),
    "llama": _Model("scores", {"bos": 1, "eos": 2, "unknown": 0}, add_bos=True, add_space_prefix=True),
    "bert": _Model(
        "word_pieces",
        {"bos": 101, "unknown": 100, "seperator": 102, "padding": 0, "mask": 103},
        add_bos=True,
        add_space_prefix=False,
    ),
}

# Files often leave these ids out; the tokens are known by their text.
_EOT_TEXTS = (
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
)
_KNOWN_TEXTS: dict[str, tuple[str, ...]] = {
    "eot": _EOT_TEXTS,
    "eom": ("<|eom_id|>",),
    "fim_pre": (
        "<|fim_prefix|>",
        "<fim-prefix>",
        "<fim_prefix>",
        "<｜fim▁begin｜>",
        "<PRE>",
        "▁<PRE>",
        "<|code_prefix|>",
        "<|prefix|>",
    ),
    "fim_suf": (
        "<|fim_suffix|>",
        "<fim-suffix>",
        "<fim_suffix>",
        "<｜fim▁hole｜>",
        "<SUF>",
        "▁<SUF>",
        "<|code_suffix|>",
        "<|suffix|>",
    ),
    "fim_mid": (
        "<|fim_middle|>",
        "<fim-middle>",
        "<fim_middle>",
        "<｜fim▁end｜>",
        "<MID>",
        "▁<MID>",
        "<|code_middle|>",
        "<|middle|>",
    ),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
_END_TEXTS = (
    *_EOT_TEXTS,
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "</s>",
    "<|eom_id|>",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
)
_SHOWN_TEXTS = (
    "<|channel|>",
    "<|message|>",
    "<|start|>",
    "<|constrain|>",
)  # gpt-oss: part of its answers
_KINDS = {str: "a string", bool: "a boolean", int: "an integer"}
_OLD_KEYS = {"fim_pre": "prefix", "fim_suf": "suffix", "fim_mid": "middle"}


class Tokenizer:
    """The tokenizer of one model. Immutable; may be used from many threads.

    Attributes:
        n_vocab: number of tokens.
        special: ids of the tokens with a part to play.
        eog_ids: tokens that end a generation.
        add_bos, add_eos: whether `encode(add_special=True)` puts them around the text.
        pre: `tokenizer.ggml.pre` of the file ("" if it has none).
    """

    def __init__(self, vocabulary: _native.Vocabulary, file: _native.GgufFile, model: _Model) -> None:
        """Use `from_gguf`."""
        self._vocabulary = vocabulary
        self._algorithm = model.algorithm
        self.n_vocab: int = vocabulary.n_tokens
        self.pre = _text(file, _PREFIX + "pre")
        self._words: Pretokenizer | None = None
        add_bos = model.add_bos
        if model.algorithm == "byte_pairs":
            self._words = _pretokenizer(file, self.pre)
            add_bos = self._words.add_bos
        self.special = _special_ids(vocabulary, file, model)
        self.add_bos = _flag(file, "add_bos_token", add_bos) and self.special.bos is not None
        self.add_eos = _flag(file, "add_eos_token", False) and self.special.eos is not None
        self._space_prefix = _flag(file, "add_space_prefix", model.add_space_prefix)
        self._lowercase = _flag(file, "normalizer.lowercase", True)
        self._strip_accents = _flag(file, "normalizer.strip_accents", self._lowercase)
        self.eog_ids: frozenset[int] = _end_ids(vocabulary, self.special)
        self.special_ids: frozenset[int] = _special_set(vocabulary)
        model_name = _text(file, "general.name").lower()
        self._swallows_space = any(name in model_name for name in ("phi-3", "phi3"))
        self._matcher = _special_matcher(vocabulary, self.special_ids, swallow_space=self._swallows_space)

    @classmethod
    def from_gguf(cls, file: _native.GgufFile) -> Tokenizer:
        """The tokenizer described by the `tokenizer.ggml.*` keys of an open file.

        Raises:
            BadModelFile: a key is missing or inconsistent.
            UnsupportedModel: a kind of tokenizer that this engine does not have.
        """
        name = _text(file, _PREFIX + "model")
        if not name:
            raise BadModelFile(
                f"{file.path}: tokenizer.ggml.model is missing",
                hint="the file has no tokenizer; convert it again",
            )
        model = _MODELS.get(name)
        if model is None:
            raise UnsupportedModel(
                f"{file.path}: tokenizer.ggml.model {name[:40]!r} is not supported by the native engine",
                hint="supported are " + ", ".join(_MODELS) + "; try --backend llamacpp",
            )
        return cls(_native.Vocabulary(file, model.algorithm), file, model)

    @property
    def bos_id(self) -> int | None:
        """The token that begins a text."""
        return self.special.bos

    @property
    def eos_id(self) -> int | None:
        """The token that ends a text."""
        return self.special.eos

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The ids of `text`.

        Args:
            text: any str; lone surrogates count as U+FFFD.
            add_special: put BOS before and EOS behind, if the model wants them.
            parse_special: let the texts of control tokens ("<|im_start|>") stand for those tokens. Never
                for text of strangers. User-defined tokens are always recognised.
        """
        data = _utf8(text)
        ids: list[int] = []
        if add_special and self.add_bos and self.special.bos is not None:
            ids.append(self.special.bos)
        after_special = True
        for begin, end, token in self._matcher.split(data, parse_special):
            if token >= 0:
                ids.append(token)
            else:
                ids += self._encode_plain(data[begin:end].decode("utf-8", "replace"), after_special)
            after_special = token >= 0
        if add_special:
            closing = self.special.separator if self._algorithm == "word_pieces" else self.special.eos
            if (self.add_eos or self._algorithm == "word_pieces") and closing is not None:
                ids.append(closing)
        return ids

    def least_tokens(self, texts: Iterable[str]) -> int:
        """A lower bound, at once, of the tokens that these texts have: none stands for more than the longest.

        0 for word pieces, where one may be of any length.
        """
        if self._algorithm == "word_pieces":
            return 0
        if self._swallows_space:
            texts = ("".join(text.split()) for text in texts)
        n_bytes = sum(len(_utf8(text)) for text in texts)
        return -(-n_bytes // self._longest_token)

    @cached_property
    def _longest_token(self) -> int:
        """Bytes; at least those of one character, which may be unknown."""
        special = max((len(self._vocabulary.text(token)) for token in self.special_ids), default=0)
        return max(4, special, *(len(self._vocabulary.piece(token)) for token in range(self.n_vocab)))

    def decode(self, ids: Iterable[int], *, skip_special: bool = True, continuation: bool = False) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD.

        Args:
            ids: token ids.
            skip_special: leave out control and unknown tokens.
            continuation: the text goes on after other text, so a space at its beginning stays. Otherwise
                the space that `encode` put before the text is taken off again.

        Raises:
            InvalidRequest: an id outside the vocabulary.
        """
        data = self._vocabulary.decode(list(ids), skip_special)
        if self._space_prefix and not continuation and data.startswith(b" "):
            data = data[1:]
        return data.decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; not always whole characters."""
        return self._vocabulary.piece(token)

    def token_text(self, token: int) -> str:
        """The token as it is written in the file, for people."""
        return self._vocabulary.text(token).decode("utf-8", "replace")

    def find(self, text: str) -> int | None:
        """The id of the token written `text` in the file, if there is one."""
        return _found(self._vocabulary, text)

    def is_special(self, token: int) -> bool:
        """Whether `decode(skip_special=True)` leaves this token out."""
        return self._vocabulary.type(token) in (TokenType.CONTROL, TokenType.UNKNOWN)

    @property
    def strips_leading_space(self) -> bool:
        """Whether `decode` takes one space off the beginning of a text."""
        return self._space_prefix

    def _encode_plain(self, text: str, after_special: bool) -> list[int]:
        unknown = -1 if self.special.unknown is None else self.special.unknown
        if self._words is not None:
            return self._vocabulary.encode_byte_pairs(self._words.words(text), self._words.whole_words)
        if self._algorithm == "scores":
            prefix = " " if self._space_prefix and after_special else ""
            return self._vocabulary.encode_scores((prefix + text).replace(" ", _SPACE_MARK).encode(), unknown)
        from edgeinfer.text.wordpiece import bert_words

        words = bert_words(text, lowercase=self._lowercase, strip_accents=self._strip_accents)
        return self._vocabulary.encode_word_pieces(words, unknown)


def _pretokenizer(file: _native.GgufFile, name: str) -> Pretokenizer:
    try:
        return pretokenizer(name)
    except UnsupportedModel as error:
        raise UnsupportedModel(f"{file.path}: {error.message}", hint=error.hint) from None


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # lone surrogates; pairs become their character
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _value(file: _native.GgufFile, key: str, kind: type, default: Any) -> Any:
    """The value of `key`, or the default where the file has none; never a value of another kind."""
    if key not in file:
        return default
    value = None if file.type_of(key).startswith("array") else file.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadModelFile(
            f"{file.path}: {key} is {file.type_of(key)} where {_KINDS[kind]} is needed", hint=_DAMAGED
        )
    return value


def _text(file: _native.GgufFile, key: str) -> str:
    return str(_value(file, key, str, ""))


def _flag(file: _native.GgufFile, name: str, default: bool) -> bool:
    return bool(_value(file, _PREFIX + name, bool, default))


def _found(vocabulary: _native.Vocabulary, text: str) -> int | None:
    token = vocabulary.find(_utf8(text))
    return None if token < 0 else token


def _special_ids(vocabulary: _native.Vocabulary, file: _native.GgufFile, model: _Model) -> SpecialIds:
    def known(name: str, *, needed: bool = False) -> int | None:
        return _known_id(vocabulary, file, name, model.defaults.get(name), needed)

    fim = FimIds(
        *(known(name) for name in ("fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep"))
    )
    return SpecialIds(
        bos=known("bos", needed=True),
        eos=known("eos", needed=True),
        eot=known("eot", needed=True),
        eom=known("eom", needed=True),
        unknown=known("unknown"),
        separator=known("seperator"),  # spelled so in the GGUF specification
        pad=known("padding"),
        mask=known("mask"),
        fim=fim,
    )


def _known_id(
    vocabulary: _native.Vocabulary, file: _native.GgufFile, name: str, default: int | None, needed: bool
) -> int | None:
    """The id that the file names, else the one known by its text (made a control token), else the default."""
    for key in (name, _OLD_KEYS.get(name)):
        value = None if key is None else _value(file, f"{_PREFIX}{key}_token_id", int, None)
        if value is None:
            continue
        if 0 <= value < vocabulary.n_tokens:
            return int(value)
        if needed:
            raise BadModelFile(
                f"{file.path}: {_PREFIX}{key}_token_id {value} is outside the vocabulary of "
                f"{vocabulary.n_tokens} tokens",
                hint=_DAMAGED,
            )
    for text in _KNOWN_TEXTS.get(name, ()):
        token = _found(vocabulary, text)
        if token is not None:
            vocabulary.set_type(token, TokenType.CONTROL)
            return token
    return default if default is not None and default < vocabulary.n_tokens else None


def _end_ids(vocabulary: _native.Vocabulary, special: SpecialIds) -> frozenset[int]:
    """Tokens that end a generation: those the file names, and those known by their text."""
    named = (special.eos, special.eot, special.eom, special.fim.pad, special.fim.repository)
    ends = {token for token in (*named, special.fim.file_separator) if token is not None}
    by_text = {text: token for text in _END_TEXTS if (token := _found(vocabulary, text)) is not None}
    for token in by_text.values():
        vocabulary.set_type(token, TokenType.CONTROL)
        ends.add(token)
    for text in _SHOWN_TEXTS:
        if (token := _found(vocabulary, text)) is not None:
            vocabulary.set_type(token, TokenType.USER_DEFINED)
    texts = by_text.keys()
    # In gpt-oss and Solar <|end|> ends a message of several, in Gemma 4 </s> is an ordinary word.
    if "<|end|>" in texts and ({"<|return|>", "<|call|>"} <= texts or {"<|calls|>", "<|flush|>"} <= texts):
        ends.discard(by_text["<|end|>"])
        vocabulary.set_type(by_text["<|end|>"], TokenType.USER_DEFINED)
    if "</s>" in texts and "<|tool_response>" in texts:
        ends.discard(by_text["</s>"])
        vocabulary.set_type(by_text["</s>"], TokenType.NORMAL)
    return frozenset(ends)


def _special_set(vocabulary: _native.Vocabulary) -> frozenset[int]:
    kinds = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
    return frozenset(token for kind in kinds for token in vocabulary.ids_of_type(kind))


def _special_matcher(
    vocabulary: _native.Vocabulary, special: frozenset[int], *, swallow_space: bool
) -> _native.SpecialTokens:
    """Longer tokens are looked for first. Phi-3's swallow the white space behind them."""
    keeps_space = {b"<unk>", b"<s>", b"<|endoftext|>"}
    tokens = []
    for token in special:
        text = vocabulary.text(token)
        always = vocabulary.type(token) == TokenType.USER_DEFINED
        tokens.append((text, token, always, False, swallow_space and text not in keeps_space))
    tokens.sort(key=lambda entry: (-len(entry[0]), entry[1]))
    return _native.SpecialTokens(tokens)

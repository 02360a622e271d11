"""Cuts text into the words that byte-pair merges may not cross: one table, `tokenizer.ggml.pre` to patterns.

The patterns are those of llama.cpp (src/llama-vocab.cpp), which is what GGUF files are made for; where its
matching is narrower than the tokenizer it imitates (letter case beyond ASCII in tekken and gpt-4o), ours is
as narrow. `\\p{..}` follows the Unicode of the `regex` package, which is newer than llama.cpp's: characters
that came after Unicode 15.1 are letters or digits here and signs there. That shows in ids only where a
merge reaches across such a character, which no vocabulary compared so far has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import regex

from edgeinfer.errors import UnsupportedModel

_CONTRACTION = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_SPACE_TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
_LLAMA3 = _CONTRACTION + _WORDS + r"|\p{N}{1,3}" + _SIGNS + _SPACE_TAIL
_QWEN2 = _CONTRACTION + _WORDS + r"|\p{N}" + _SIGNS + _SPACE_TAIL
_QWEN35 = (
    _CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + _SPACE_TAIL
)
# CamelCase is Camel + Case: capitals, then at least one other letter; or only capitals.
_UPPER, _LOWER = r"[\p{L}--[a-z]]", r"[\p{L}--[A-Z]]"
_CASED = (rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*")
_SIGNS_SLASH = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*"
_TEKKEN = "|".join(_CASED) + r"|\p{N}" + _SIGNS_SLASH + _SPACE_TAIL
_GPT4O = "|".join(part + _CONTRACTION + "?" for part in _CASED) + r"|\p{N}{1,3}" + _SIGNS_SLASH + _SPACE_TAIL
_DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*" + _SPACE_TAIL
)
_DEEPSEEK_LETTERS = (
    r"A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    r"\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
    r"\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba"
    r"\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45"
    r"\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe"
    r"\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc"
    r"\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
    r"\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3"
    r"\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06"
    r"\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    r"\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    r"\U0001e900-\U0001e943"
)
# White space within these ranges (U+3000, U+2000 ...) is not meant: llama.cpp sees it as a vertical tab.
_DEEPSEEK_SIGNS = r"\s?[[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]--\s]+"
_DEEPSEEK_CJK = r"[[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]--\s]+"
_TRAILING_SPACE = r"(?<!\s)\s++\Z"  # \s+$ without trying again at each space of a run
_BAILING = (
    r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])" + _WORDS + r"|\p{N}" + _SIGNS + r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
_SEED_CODER = _CONTRACTION + _WORDS + r"|\p{N}| ?[^\s\p{L}\p{N}\r\n]+" + _SPACE_TAIL


@dataclass(frozen=True)
class Pretokenizer:
    """How text is cut before byte pairs are merged, and the defaults that llama.cpp ties to the name."""

    patterns: tuple[str, ...]  # applied in turn, each to the pieces that the one before has made
    whole_words: bool = False  # a word that is a token is never merged from parts (HF: ignore_merges)
    add_bos: bool = False  # unless the file says otherwise

    def words(self, text: str) -> list[str]:
        """The words of `text`, none empty; joined they are `text` again."""
        pieces = [text]
        for pattern in self.patterns:
            parts = {
                piece: list(filter(None, _compiled(pattern).split(piece))) for piece in dict.fromkeys(pieces)
            }
            pieces = [part for piece in pieces for part in parts[piece]]
        return pieces


@cache
def _compiled(pattern: str) -> regex.Pattern[str]:
    """One group around everything, so that split() gives matches and what is between them."""
    return regex.compile(f"({pattern})", flags=regex.VERSION1)


_GPT2_WORDS = Pretokenizer((_GPT2,))
_DIGITS_GPT2 = Pretokenizer((r"\p{N}", _GPT2))
_LLAMA3_WORDS = Pretokenizer((_LLAMA3,), whole_words=True, add_bos=True)
_LLAMA3_MERGED = Pretokenizer((_LLAMA3,))
_QWEN2_WORDS = Pretokenizer((_QWEN2,))
_DEEPSEEK3_WORDS = Pretokenizer((r"\p{N}{1,3}", r"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", _DEEPSEEK3))
_GPT4O_WORDS = Pretokenizer((_GPT4O,))
_BAILING_WORDS = Pretokenizer((_BAILING,))

_TABLE: dict[str, Pretokenizer] = {
    "default": Pretokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
        _LLAMA3_WORDS,
    ),
    **dict.fromkeys(("dbrx", "smaug-bpe", "glm4", "chatglm-bpe"), _LLAMA3_MERGED),
    **dict.fromkeys(
        ("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan", "grok-2", "solar-open", "kormo"),
        _QWEN2_WORDS,
    ),
    "qwen35": Pretokenizer((_QWEN35,)),
    **dict.fromkeys(
        (
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "exaone4",
            "gigachat",
            "mellum",
            "trillion",
            "granite-docling",
        ),
        _GPT2_WORDS,
    ),
    **dict.fromkeys(
        ("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"),
        _DIGITS_GPT2,
    ),
    "deepseek-llm": Pretokenizer(
        (r"[\r\n]", rf"\s?[{_DEEPSEEK_LETTERS}]+", _DEEPSEEK_SIGNS, _TRAILING_SPACE, _DEEPSEEK_CJK, r"\p{N}+")
    ),
    "deepseek-coder": Pretokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _DEEPSEEK_CJK, r"\p{N}")),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm"), _DEEPSEEK3_WORDS),
    "falcon": Pretokenizer((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
    "tekken": Pretokenizer((_TEKKEN,), whole_words=True, add_bos=True),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), _GPT4O_WORDS),
    **dict.fromkeys(("bailingmoe", "bailingmoe2", "llada-moe"), _BAILING_WORDS),
    "seed-coder": Pretokenizer((_SEED_CODER,)),
}


def pretokenizer_names() -> tuple[str, ...]:
    """Every `tokenizer.ggml.pre` that is supported."""
    return tuple(_TABLE)


def pretokenizer(name: str) -> Pretokenizer:
    """The pre-tokenizer of that `tokenizer.ggml.pre`; an empty name is "default", as in llama.cpp.

    Raises:
        UnsupportedModel: no such name.
    """
    found = _TABLE.get(name or "default")
    if found is None:
        raise UnsupportedModel(
            f"tokenizer.ggml.pre {name[:40]!r} is not supported by the native engine",
            hint="use --backend llamacpp, which knows more pre-tokenizers",
        )
    return found

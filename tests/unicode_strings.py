"""Random strings that are hard to tokenize: scripts, marks, emoji, white space, controls, digits."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache

CHARACTERS = [chr(code) for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
SPACES = [
    *" \t\n\r\v\f\x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000",
    *"\x1c\x1f\u200b\ufeff",  # no white space, though some think so
]
CONTROLS = [chr(code) for code in (*range(1, 32), *range(0x7F, 0xA0))]
EMOJI = [chr(code) for code in (*range(0x1F300, 0x1F650), *range(0x1F900, 0x1FA00))] + list(
    "\u200d\ufe0f\u20e3"
)
CJK = [chr(code) for code in (*range(0x4E00, 0x9FA6), *range(0x3040, 0x3100), *range(0xAC00, 0xD7A4))]
BLOCKS = (
    *((0x370, 0x400), (0x400, 0x530), (0x530, 0x590), (0x590, 0x600), (0x600, 0x700), (0x900, 0x980)),
    *((0x980, 0xA00), (0xB80, 0xC00), (0xE00, 0xE80), (0x1000, 0x10A0), (0x10A0, 0x1100), (0x1200, 0x1380)),
    *((0x13A0, 0x1400), (0x1780, 0x1800), (0x1E00, 0x1F00), (0x1F00, 0x2000), (0x2C00, 0x2D00)),
)
APOSTROPHES = [
    *("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'LL", "'D", "’s"),
    *("'", "''", "'x", "'l", "'r", "ſ", "'ſ", "K"),
]
SPECIALS = [
    *("<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<|endoftext|>", "<|eot_id|>", "<|end|>"),
    *("<|user|>", "<|begin_of_text|>", "[MASK]", "[CLS]", "[SEP]", "[UNK]", "<｜begin▁of▁sentence｜>"),
    *("<|assistant|>", "<0x41>", "▁", "▁▁", "<|im_", "<|fim_prefix|>"),
]
WORDS = (
    *("the", "Hello", "camelCase", "HTTPServer", "straße", "don", "naïve", "ÉTÉ", "été", "ΑΒγ", "ПРИвет"),
    *("123", "4567", "1,000.50", "http://x.y/z?q=1", "def f(x):", "    return x", "\n\n", "\r\n", "   "),
)


@cache
def assigned() -> list[str]:
    """Characters that this Python's Unicode knows, without private use."""
    return [c for c in CHARACTERS if unicodedata.category(c) not in ("Cn", "Co")]


@cache
def of_kind(first_letters: str) -> list[str]:
    """Assigned characters whose category begins with one of these letters."""
    return [c for c in assigned() if unicodedata.category(c)[0] in first_letters]


@cache
def latin() -> list[str]:
    """Latin letters, plain and accented."""
    return [c for c in of_kind("L") if ord(c) < 0x250]


def strings(seed: int, n: int) -> Iterator[str]:
    """`n` strings; the same for the same seed and Unicode version of Python."""
    generator = random.Random(seed)
    for _ in range(n):
        yield "".join(_piece(generator) for _ in range(generator.randint(1, 14)))


def _piece(generator: random.Random) -> str:
    def some(pool: list[str], most: int) -> str:
        return "".join(generator.choice(pool) for _ in range(generator.randint(1, most)))

    makers: list[Callable[[], str]] = [
        lambda: some(assigned(), 4),
        lambda: some(CJK, 6),
        lambda: generator.choice(latin()) + some(of_kind("M"), 3),
        lambda: some(EMOJI, 4),
        lambda: some(SPACES, 6),
        lambda: some(CONTROLS, 3),
        lambda: some(of_kind("N"), 6),
        lambda: some(list("0123456789"), 12),
        lambda: some(of_kind("PS"), 5),
        lambda: some(list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"), 5),
        lambda: some(latin(), 4) + generator.choice(APOSTROPHES) + some(latin(), 2),
        lambda: some(latin(), 8),
        lambda: some([chr(code) for code in range(*generator.choice(BLOCKS))], 8),
        lambda: generator.choice(SPECIALS),
        lambda: generator.choice(WORDS),
        lambda: " " * generator.randint(1, 9),
    ]
    return generator.choice(makers)() + (" " if generator.random() < 0.3 else "")

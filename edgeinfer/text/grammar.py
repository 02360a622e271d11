"""What an answer has to be: grammars of strangers, checked, and run as masks of allowed tokens by llguidance.

An answer is constrained to the bytes that its reader sees. Only control tokens, which readers do not see,
stand for themselves; a grammar names them `<|im_end|>`, any other token by its id, `<[151657]>`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeinfer.errors import EdgeInferError, InvalidRequest
from edgeinfer.text.lexemes import lark_of_gbnf, with_numbers

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

    from edgeinfer.text.tokenizer import Tokenizer

Kind = Literal["JSON schema", "regex", "GBNF grammar", "Lark grammar"]

_MOST_BYTES = 256 << 10  # of a grammar; real schemas of many tools together have some 100 KiB
_MOST_PARTS = 10_000  # keys of a schema, alternatives: each may nest in the one before
_MOST_RULES = 500  # of a grammar; those of programming languages have 200
_STACK_BYTES = 512 << 20  # of the thread that compiles, which recurses that deep; mapped, hardly ever touched
# One space where people and models put one, and no other: endless white space is no answer.
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}
# Text without alternatives would be looked for to its end, and `root ::= as "a"`, `as ::= [a]*` has none: an
# endless loop in llguidance 1.9. Masks show just as well that there is one way only.
_NO_FORCING = '%llguidance {"no_forcing": true}'
# (256, 8): eight bits, the lowest first, as what is added to the logits of their tokens
_MASKS_OF_BYTES = np.where(np.arange(256)[:, None] >> np.arange(8) & 1, 0, -np.inf).astype(np.float32)


@dataclass(frozen=True)
class Grammar:
    """All answers that are allowed, as a Lark grammar of llguidance; make one with the methods below.

    Whether it makes sense turns out when it is compiled for a model, see `GrammarCompiler`.

    Raises:
        InvalidRequest: it is larger than any that is meant seriously.
    """

    kind: Kind
    lark_text: str

    def __post_init__(self) -> None:
        """Bound what compiling may cost."""
        _check_size(self.kind, self.lark_text)
        if max(self.lark_text.count(mark) for mark in (":", "{", "|")) > _MOST_PARTS:
            raise InvalidRequest(f"the {self.kind} is too large: more than {_MOST_PARTS} parts")
        if len(re.findall(r"^\s*[\w-]+.*?:", self.lark_text, re.MULTILINE)) > _MOST_RULES:
            raise InvalidRequest(f"the {self.kind} is too large: more than {_MOST_RULES} rules")

    @classmethod
    def json_object(cls) -> Grammar:
        """Any JSON object, on one line."""
        return cls.json_schema({"type": "object"})

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | bool, *, lenient: bool = False) -> Grammar:
        """JSON on one line that is valid under a schema (draft 2020-12); properties come in its order.

        Args:
            schema: references into itself are followed, none to anywhere else.
            lenient: ignore keywords and formats that cannot be enforced, instead of refusing them.
        """
        return cls("JSON schema", f"start: {json_rule(schema, lenient=lenient)}")

    @classmethod
    def regex(cls, pattern: str) -> Grammar:
        """Text that a regular expression (in Rust's syntax: no look-around) matches as a whole."""
        from llguidance import LLMatcher

        _check_size("regex", pattern)
        return cls("regex", json.loads(LLMatcher.grammar_from_regex(pattern))["grammars"][0]["lark_grammar"])

    @classmethod
    def gbnf(cls, text: str) -> Grammar:
        """What `root` of a grammar in llama.cpp's format stands for."""
        _check_size("GBNF grammar", text)
        return cls("GBNF grammar", lark_of_gbnf(text))

    @classmethod
    def lark(cls, text: str) -> Grammar:
        """What `start` of a grammar in llguidance's variant of Lark stands for; see `json_rule`."""
        return cls("Lark grammar", text)


def json_rule(schema: Mapping[str, Any] | bool, *, lenient: bool = False) -> str:
    """A schema as an expression of a Lark grammar; see `Grammar.json_schema`.

    Raises:
        InvalidRequest: it is nested too deeply, is no JSON, or allows nothing.
    """
    if schema is False:
        raise InvalidRequest("the JSON schema allows nothing")
    asked = {} if schema is True else schema
    options = {**_COMPACT, "lenient": lenient}
    try:
        return "%json " + json.dumps({**asked, "x-guidance": options}, ensure_ascii=False)
    except RecursionError:
        raise InvalidRequest("the JSON schema is nested too deeply") from None
    except (TypeError, ValueError) as wrong:
        raise InvalidRequest(f"the JSON schema is no JSON: {wrong}") from None


class GrammarCompiler:
    """Makes constraints of grammars for one model. May be used from many threads."""

    def __init__(self, tokenizer: Tokenizer, n_vocab: int) -> None:
        """`n_vocab` is that of the logits; tokens that the tokenizer does not know are never allowed."""
        self._tokenizer = tokenizer
        self._n_vocab = n_vocab
        self._lock = threading.Lock()

    def compile(self, grammar: Grammar) -> CompiledGrammar:
        """Raises InvalidRequest: it is wrong, too complex, or no answer of this model can satisfy it."""
        with self._lock:  # built once
            tokens = self._tokens
        unknown = range(self._tokenizer.n_vocab, self._n_vocab)
        lark = with_numbers(grammar.lark_text, self._tokenizer.find, {*self._tokenizer.eog_ids, *unknown})
        return _in_deep_thread(
            lambda: CompiledGrammar(replace(grammar, lark_text=lark), tokens, self._n_vocab)
        )

    @cached_property
    def _tokens(self) -> LLTokenizer:
        """Half a second for 128k tokens."""
        from llguidance import LLTokenizer

        table = _TokenTable(self._tokenizer, self._n_vocab)
        ends = sorted(token for token in self._tokenizer.eog_ids if token < self._n_vocab)
        return LLTokenizer(table, n_vocab=self._n_vocab, eos_token=ends)  # type: ignore[arg-type]


class CompiledGrammar:
    """A grammar that is ready for a model."""

    def __init__(self, grammar: Grammar, tokens: LLTokenizer, n_vocab: int) -> None:
        """Use `GrammarCompiler`."""
        from llguidance import LLMatcher

        self._kind, self._n_vocab = grammar.kind, n_vocab
        text = LLMatcher.grammar_from_lark(f"{_NO_FORCING}\n{grammar.lark_text}")
        self._matcher = LLMatcher(tokens, text, log_level=0, limits=_limits())
        try:
            self.constraint().mask()  # what is wrong with the first token is known now
        except EdgeInferError as error:
            raise InvalidRequest(error.message, hint=error.hint) from None

    def constraint(self) -> TokenConstraint:
        """For one answer."""
        return TokenConstraint(self._kind, self._matcher.deep_copy(), self._n_vocab)


class TokenConstraint:
    """What may come next in one answer: an `edgeinfer.engine.constraint.Constraint`."""

    def __init__(self, kind: Kind, matcher: LLMatcher, n_vocab: int) -> None:
        """Use `CompiledGrammar`."""
        self._kind, self._matcher, self._n_vocab = kind, matcher, n_vocab
        self._check()
        self._bits = np.zeros(-(-n_vocab // 32), np.uint32)

    def mask(self) -> NDArray[np.float32]:
        """0 for tokens that may come next, -inf for others, (n_vocab). Releases the GIL.

        Raises:
            InvalidRequest: finding out is too much work.
        """
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        self._check()
        return np.take(_MASKS_OF_BYTES, self._bits.view(np.uint8), axis=0).reshape(-1)[: self._n_vocab]

    def advance(self, token: int) -> bool:
        """Take an allowed token, none that ends the answer. True: it is complete, nothing else may follow."""
        self._matcher.consume_token(token)
        self._check()
        return self._matcher.is_stopped()

    def _check(self) -> None:
        if self._matcher.is_error():
            problem = _reason(self._matcher.get_error())
            raise InvalidRequest(
                f"the {self._kind} cannot be followed: {problem}", hint="correct or simplify it"
            )


class _TokenTable:
    """Our vocabulary in the shape that llguidance reads."""

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: Tokenizer, n_vocab: int) -> None:
        known = range(min(n_vocab, tokenizer.n_vocab))
        self.eos_token_id = min(tokenizer.eog_ids, default=0)
        self.bos_token_id = tokenizer.bos_id
        self.special_token_ids = [i for i in known if tokenizer.is_special(i)]
        self.tokens = [
            tokenizer.token_text(i).encode() if tokenizer.is_special(i) else tokenizer.token_bytes(i)
            for i in known
        ] + [b""] * (n_vocab - len(known))

    def __call__(self, text: str) -> list[int]:
        """Text as tokens: asked for only where text is forced, which it never is."""
        raise NotImplementedError


def _limits() -> LLParserLimits:
    from llguidance import LLParserLimits

    return LLParserLimits(
        initial_lexer_fuel=200_000,  # 0.15 s and 40 MiB at most
        step_max_items=20_000,  # 20 ms at most, for which all other answers wait
        max_lexer_states=50_000,  # 100 MiB at most
        verbose_errors=False,
    )


def _check_size(kind: Kind, text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"the {kind} is no Unicode text: it has half a surrogate pair") from None
    if size > _MOST_BYTES:
        raise InvalidRequest(f"the {kind} is too large: more than {_MOST_BYTES} bytes")


def _reason(problem: str) -> str:
    """Why, in one line without places in a text that its writer never saw."""
    lines = problem.split("\n")
    found = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])
    return re.sub(r"^(at )?\d+\(\d+\): |failed to compile JSON schema: ", "", found)[:200]


def _in_deep_thread(work: Callable[[], CompiledGrammar]) -> CompiledGrammar:
    """Run in a thread with a large stack: rules nest in rules, and an overflow would end the process."""
    from concurrent.futures import Future

    done: Future[CompiledGrammar] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    before = threading.stack_size(_STACK_BYTES)
    try:
        threading.Thread(target=run, name="compile-grammar").start()
    finally:
        threading.stack_size(before)
    return done.result()

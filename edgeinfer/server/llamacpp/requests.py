"""Bodies of llama.cpp's requests: checked, and started on a model.

What steers llama.cpp's memory (`cache_prompt`, `id_slot`, `n_keep`, ...) is ignored as other unknown fields
are: what was computed is always found again, and nothing is ever dropped. So is `t_max_prompt_ms`, as in
llama.cpp itself: a prompt that takes too long is found again by the next request.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, Field, Strict

from edgeinfer.engine.sampling import Sampling
from edgeinfer.options import NO_LIMIT, any_seed
from edgeinfer.server.bodies import (
    MOST_TOKENS,
    AnswerBody,
    InvalidParameter,
    Many,
    NamedBody,
    NotSupported,
    Pairs,
    Stops,
    check_number_of_answers,
    parameters_of,
)
from edgeinfer.server.llamacpp.lines import Lines
from edgeinfer.server.structure import ConstrainedBody
from edgeinfer.text.infill import File, Infill

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.streaming import Stream
    from edgeinfer.text.tokenizer import Tokenizer

Mixed = Many[int | str]  # tokens and texts, one after another
_Bias = float | Literal[False]  # false: never
_Pair = Annotated[tuple[int | str, _Bias], Strict(False)]  # JSON has lists only
_ANY_SEED = 2**32 - 1  # what llama.cpp makes of -1

# sampler -> parameters with which it does nothing
_NEUTRAL: dict[tuple[str, ...], dict[str, float]] = {
    ("penalties",): {"repeat_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0},
    ("dry",): {"dry_multiplier": 0.0},
    ("top_k",): {"top_k": 0},
    ("typ_p", "typical_p"): {"typical_p": 1.0},
    ("top_p",): {"top_p": 1.0},
    ("min_p",): {"min_p": 0.0},
    ("xtc",): {"xtc_probability": 0.0},
    ("temperature",): {"temperature": 1.0},
}
_MOST_BREAKERS = 64  # each is looked for in all tokens
_LONGEST_BIASED = 1000  # characters
_INFILL_MIN_P = 0.2  # the sampler "infill" leaves out tokens that are less likely than this


def _off(value: float) -> float:
    """For a sampler that we do not have; llama.cpp's clients send its defaults."""
    if value > 0:
        raise ValueError("is not supported")
    return value


@dataclass(frozen=True)
class Started:
    """A request that is being computed.

    Attributes:
        prompts: tokens of each stream's prompt.
        lines: where each stream ends for an editor.
        truncated: something that was offered had no room.
    """

    streams: list[Stream]
    prompts: list[list[int]]
    lines: list[Lines]
    sampling: Sampling
    truncated: bool


class Body(AnswerBody, ConstrainedBody, ABC):
    """What /completion and /infill share. `Sampling` checks the ranges of its own."""

    n_predict: int | None = Field(default=None, ge=-1, validation_alias=MOST_TOKENS)  # -1: no limit
    n_cmpl: int = Field(default=1, ge=1, le=128, validation_alias=AliasChoices("n_cmpl", "n"))
    stop: Stops | None = None
    seed: int | None = None  # -1: any
    n_probs: int = Field(default=0, ge=0, validation_alias=AliasChoices("n_probs", "logprobs"))
    return_tokens: bool = False
    return_progress: bool = False
    response_fields: Many[str] = Field(default_factory=list)  # only these of the answer; "a/b" is b of a
    t_max_predict_ms: int | None = None  # from the first token; then the answer ends with the next line
    n_indent: int = Field(default=0, ge=0)  # white space that each line but the first has at least
    temperature: float | None = None
    top_k: int | None = None  # 0 and less: all
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_last_n: int | None = Field(default=None, validation_alias="dry_penalty_last_n")
    dry_sequence_breakers: Annotated[Many[str], Field(max_length=_MOST_BREAKERS)] | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    samplers: Many[str] | None = None  # the others do nothing; their order is ours
    logit_bias: Pairs[_Pair] | None = None
    ignore_eos: bool = False
    top_n_sigma: Annotated[float, AfterValidator(_off)] = -1.0
    mirostat: NotSupported = None
    dynatemp_range: NotSupported = None
    post_sampling_probs: NotSupported = None
    lora: NotSupported = None

    @abstractmethod
    def prompts(self, model: Model) -> tuple[list[list[int]], bool]:
        """The tokens to go on from, and whether something had no room."""

    def start(self, model: Model) -> Started:
        """The answers: `n_cmpl` to each prompt, in order.

        Raises:
            InvalidRequest: a parameter is out of range, a prompt is empty, or there is no room.
        """
        prompts, truncated = self.prompts(model)
        sampling = self.sampling(model)
        streams = [stream for ids in prompts for stream in self._answers(model, ids, sampling)]
        lines = [Lines(self._most_s, self.n_indent) for _ in streams]
        for stream, followed in zip(streams, lines, strict=True):
            stream.end_when(followed.enough)
        asked = [ids for ids in prompts for _ in range(self.n_cmpl)]
        return Started(streams, asked, lines, sampling, truncated)

    @property
    def _most_s(self) -> float | None:
        return self.t_max_predict_ms / 1e3 if self.t_max_predict_ms and self.t_max_predict_ms > 0 else None

    @property
    def _most_tokens(self) -> int | None:
        if self.n_predict is None:
            return None
        return NO_LIMIT if self.n_predict < 0 else max(1, self.n_predict)

    def _answers(self, model: Model, ids: list[int], sampling: Sampling) -> list[Stream]:
        return model.alternatives(
            ids,
            self.n_cmpl,
            max_tokens=self._most_tokens,
            stop=self.stop,
            top_logprobs=self.n_probs,
            grammar=self.answer_grammar(),
            sampling=sampling,
        )

    def sampling(self, model: Model) -> Sampling:
        """Raises InvalidRequest: a value is out of range."""
        spelled: dict[str, Any] = {"logit_bias": dict(self._biases(model.tokenizer))}
        if self.top_k is not None:
            spelled["top_k"] = max(0, self.top_k)
        if self.seed == _ANY_SEED:
            spelled["seed"] = -1
        if self.dry_sequence_breakers:
            spelled["dry_breakers"] = model.tokens_with(self.dry_sequence_breakers)
        sampling = model.sampling(**parameters_of(self, **spelled))
        if sampling.seed is None:
            sampling = replace(sampling, seed=any_seed())  # the answer tells which it was
        return sampling if self.samplers is None else _only(self.samplers, sampling)

    def _biases(self, tokenizer: Tokenizer) -> Iterator[tuple[int, float]]:
        for token, bias in self.logit_bias or ():
            of = -math.inf if bias is False else bias
            for id in _tokens(token, tokenizer):
                yield id, of
        if self.ignore_eos:
            yield from ((id, -math.inf) for id in tokenizer.eog_ids)


class CompletionBody(Body):
    """POST /completion."""

    prompt: str | Mixed | Many[str | Mixed]

    def prompts(self, model: Model) -> tuple[list[list[int]], bool]:
        """One or several; special tokens are read in texts."""
        given: Any = self.prompt
        if not given:
            raise InvalidParameter("prompt", "is empty")
        one = isinstance(given, str) or any(isinstance(part, int) for part in given)
        prompts = [given] if one else given
        check_number_of_answers(len(prompts) * self.n_cmpl)
        for prompt in prompts:
            parts = [prompt] if isinstance(prompt, str) else prompt
            texts = [part for part in parts if isinstance(part, str)]
            model.prompts.refuse_endless(texts, model.context_length)
        return [mixed_ids(model.tokenizer, prompt, add_special=True) for prompt in prompts], False


class Extra(BaseModel):
    """Another piece of text that the model shall know."""

    text: str
    filename: str = "file"


class InfillBody(Body):
    """POST /infill."""

    input_prefix: str
    input_suffix: str
    input_extra: Many[Extra] = Field(default_factory=list)
    prompt: str = ""  # the beginning of what is wanted

    def prompts(self, model: Model) -> tuple[list[list[int]], bool]:
        """The one; extras that have no room are left out."""
        files = [File(extra.filename, extra.text) for extra in self.input_extra]
        room = {"n_answer": self.n_predict} if self.n_predict and self.n_predict > 0 else {}
        infill = Infill(self.input_prefix, self.input_suffix, files, self.prompt, **room)
        framed = model.prompts.infill(infill, model.context_length)
        return [framed.ids], framed.n_files < len(files)


class TokenizeBody(NamedBody):
    """POST /tokenize."""

    content: str | Mixed = ""
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class DetokenizeBody(NamedBody):
    """POST /detokenize."""

    tokens: Many[Annotated[int, Field(ge=0, lt=2**31)]] = Field(default_factory=list)


def mixed_ids(
    tokenizer: Tokenizer, content: str | Sequence[int | str], *, add_special: bool, parse_special: bool = True
) -> list[int]:
    """Tokens, and the tokens of texts; `add_special` is for a text at the beginning."""
    ids: list[int] = []
    for i, part in enumerate([content] if isinstance(content, str) else content):
        if isinstance(part, str):
            ids += tokenizer.encode(part, add_special=add_special and i == 0, parse_special=parse_special)
        else:
            ids.append(part)
    return ids


def _only(samplers: Sequence[str], sampling: Sampling) -> Sampling:
    """The same without the samplers that are not named."""
    off = [neutral for names, neutral in _NEUTRAL.items() if not set(names) & set(samplers)]
    changed = {name: value for neutral in off for name, value in neutral.items()}
    if "infill" in samplers:
        changed["min_p"] = _INFILL_MIN_P
    return replace(sampling, **changed)  # type: ignore[arg-type]


def _tokens(token: int | str, tokenizer: Tokenizer) -> list[int]:
    if isinstance(token, int):
        return [token]
    if token.isdecimal() and len(token) < 10:
        return [int(token)]
    if not token:
        raise InvalidParameter("logit_bias", "a text is empty")
    if len(token) > _LONGEST_BIASED:
        raise InvalidParameter("logit_bias", f"a text has more than {_LONGEST_BIASED} characters")
    return tokenizer.encode(token, add_special=False)

"""A loaded model, for programs: text or messages in, a stream of tokens out.

`Model` joins tokenizer, template and engine in this process. Every request gives a `Stream`, which is a
plain iterator; `aiter(stream)` reads the same stream in asyncio, without a thread of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import replace
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Self, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from edgeinfer import machine
from edgeinfer.chat_model import Report
from edgeinfer.defaults import Defaults
from edgeinfer.engine.embedding import Embedding, start_embeddings
from edgeinfer.engine.engine import Engine
from edgeinfer.engine.events import ScoredToken
from edgeinfer.engine.reading import Result, read_through
from edgeinfer.engine.request import Priority, Request, Scorer
from edgeinfer.engine.sampling import Sampling
from edgeinfer.engine.scoring import PromptScorer
from edgeinfer.engine.stats import Stats
from edgeinfer.errors import InvalidRequest, NotEnoughMemory, WrongModelKind
from edgeinfer.options import NO_LIMIT, Options, Parameters, any_seed, completed, sampling_of
from edgeinfer.prompts import AnyPrompt, FindTemplate, Prompt, Prompts
from edgeinfer.streaming import Answer, Mailbox, Stream
from edgeinfer.text.conversation import Conversation, conversation_of
from edgeinfer.text.infill import Infill
from edgeinfer.text.messages import Message

if TYPE_CHECKING:
    from concurrent.futures import Future

    from edgeinfer.facts import Facts
    from edgeinfer.text.grammar import CompiledGrammar, Grammar, GrammarCompiler
    from edgeinfer.text.template import ChatTemplate
    from edgeinfer.text.tokenizer import Tokenizer

_TEXTS_AT_ONCE = 1024  # to embed; of millions each would take its kilobytes while it waits
NO_DEFAULTS = Defaults()
DRY_BREAKERS = ("\n", ":", '"', "*")  # a repetition does not reach across tokens that contain these


class Model:
    """A model that is ready to answer. Close it, or use it in a `with` statement.

    Any number of streams may run at once, from any threads; they share the processor and do not change
    each other's results.

    Attributes:
        tokenizer: text to ids and back.
        name: what to call it.
        facts: what its file says.
        defaults: what holds where a caller leaves something open.
        prompts: what is asked of it, as tokens.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        find_template: FindTemplate,
        *,
        name: str,
        facts: Facts,
        defaults: Defaults = NO_DEFAULTS,
        keep_headers: bool = False,
    ) -> None:
        """Use `load`. The model owns the engine."""
        self.tokenizer = tokenizer
        self.name = name
        self.facts = facts
        self.defaults = defaults
        self.prompts = Prompts(tokenizer, find_template, defaults, keep_headers=keep_headers)
        self._engine = engine
        self._users = {id(self)}  # models that compute with this engine, and are open
        self._namespace = ""
        self._owner: Model | None = None  # None: it closes its engine
        self._apart: dict[str, Model] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End all streams and give memory and threads back; of models `beside` each other the last does."""
        if self._owner is None:
            self._users.discard(id(self))
            if not self._users:
                self._engine.close()

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self.close()

    def apart(self, namespace: str) -> Model:
        """This model for those who share nothing that was computed with others, who could tell from how soon
        an answer begins what was said (CVE-2025-46570). It is open as long as this one is.
        """
        if namespace == self._namespace:
            return self
        if namespace not in self._apart:
            view = copy(self)
            view._namespace, view._owner = namespace, self
            self._apart[namespace] = view
        return self._apart[namespace]

    def beside(self, name: str, defaults: Defaults) -> Model:
        """The same weights, told something else: what one of the two has computed the other finds.

        Args:
            defaults: of `loading` what this one was opened with.
        """
        other = copy(self)
        other.name, other.defaults, other._apart = name, defaults, {}
        other.prompts = self.prompts.told(defaults)
        other.facts = self.facts.with_template(defaults.template)
        self._users.add(id(other))
        return other

    @property
    def engine_id(self) -> int:
        """Equal for models that are `beside` each other: they have one engine."""
        return id(self._engine)

    def cancel(self, request: Request) -> None:
        """Stop a request; `Stream.cancel` is the door to it."""
        self._engine.cancel(request)

    def wake(self) -> None:
        """Go on with streams whose readers read again; they call it themselves."""
        self._engine.wake()

    @property
    def n_vocab(self) -> int:
        """Tokens in the vocabulary."""
        return self._engine.traits.n_vocab

    def stats(self) -> Stats:
        """What runs and waits, what was computed and what was found already computed, room that is left.

        Waits for the step that is being computed. Raises EdgeInferError when the model is closed.
        """
        return self._engine.stats()

    async def report(self) -> Report:
        """The same with what the process takes of the machine. Raises what `stats` raises."""
        import asyncio

        stats = await asyncio.to_thread(self.stats)
        return Report(self.description, stats, machine.resident_bytes(), machine.memory())

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together."""
        return self._engine.limit

    @property
    def max_sequences(self) -> int:
        """Most requests that are computed at once; others wait."""
        return self._engine.traits.max_sequences

    @property
    def description(self) -> str:
        """How it is run, for people."""
        return self._engine.traits.description

    @property
    def template(self) -> ChatTemplate:
        """The chat template of the file. Raises TemplateError if it has none: text it can still continue."""
        return self.prompts.template

    def generate(self, prompt: str | Sequence[int] | Infill, **options: Unpack[Options]) -> Stream:
        """Continue a text, or token ids, or fill in the middle of a text.

        Args:
            prompt: text is tokenised with the model's BOS, special tokens in it are plain text; ids are
                taken as they are; of an `Infill` what stands between its prefix and its suffix is written.
            max_tokens: None: until the model or the context ends.
            stop: strings that end the answer; they are not part of it.
            timeout: seconds after which it ends, with finish_reason "deadline", finished or not.
            context_shift: when the context is full go on without the older half of it, but for what the
                model was told first (`chat`: its system message). The stream tells what was dropped.
            most_context: tokens of prompt and answer together, if that is less than the model's
                `context_length`.
            priority: "batch" lets everybody else, who is "interactive", go first, and nothing of it is saved
                for later runs.
            top_logprobs: how many of the likeliest tokens to name with each one, `Token.top`; at most 20.
            score_prompt: also tell how likely each prompt token is, `Stream.scored`; max_tokens may be 0.
            grammar: what the answer has to be. It then ends with "stop" where the grammar says so; one that
                ends otherwise is only the beginning of such an answer.
            sampling: all parameters at once; those that are given one by one, as temperature=0.8, go before.

        Raises:
            InvalidRequest: a parameter is unknown or out of range, the prompt is empty, or the grammar is
                wrong or too complex. Errors met later are raised from the stream, as that the prompt does
                not fit the context.
            ContextLengthExceeded: it is so long that this is known without reading it.
        """
        [stream] = self.alternatives(prompt, 1, **options)
        return stream

    def chat(self, messages: Sequence[Message] | Conversation, **options: Unpack[Options]) -> Stream:
        """Answer the last of these messages, or this conversation; like `generate` otherwise.

        Raises:
            TemplateError: the model has no chat template, or it refuses these messages.
        """
        [stream] = self.alternatives(conversation_of(messages), 1, **options)
        return stream

    def alternatives(self, prompt: AnyPrompt, n: int, **options: Unpack[Options]) -> list[Stream]:
        """n answers to one prompt, computed together; the prompt is computed once and its blocks are shared.

        Args:
            prompt: as for `generate`, or messages or a conversation as for `chat`.
            n: how many; answer i is the one that seed + i gives.
            options: of `generate`.
        """
        if n < 1:
            raise InvalidRequest(f"ask for at least one answer, not {n}")
        options = completed(options, self.defaults)
        read = self.prompts.read(prompt, self.limit(options.get("most_context")))
        sampling = sampling_of(options)
        grammar = self._compiled(read, options.get("grammar"))
        first = any_seed() if sampling.seed is None else sampling.seed
        return [self._start(read, sampling, (first + i) % 2**64, grammar, options) for i in range(n)]

    def best_of(self, prompt: AnyPrompt, n: int, **options: Unpack[Options]) -> Answer:
        """The one of n answers whose tokens the model finds likeliest on average; like `alternatives`."""
        with ExitStack() as stack:
            streams = [stack.enter_context(s) for s in self.alternatives(prompt, n, **options)]
            answers = [Answer([], stream) for stream in streams]
            for row in zip_longest(*streams):  # in turns, so that none waits for its reader
                for answer, token in zip(answers, row, strict=True):
                    if token is not None:
                        answer.tokens.append(token)
        return max(answers, key=lambda answer: answer.mean_logprob)

    def sampling(self, **parameters: Unpack[Parameters]) -> Sampling:
        """How tokens are chosen for who asks for these. Raises InvalidRequest."""
        return sampling_of(completed(cast("Options", parameters), self.defaults))

    def encode_chat(self, messages: Sequence[Message] | Conversation) -> list[int]:
        """The prompt that `chat` computes for these messages, or this conversation."""
        return self.prompts.chat(conversation_of(messages)).ids

    def limit(self, most_context: int | None) -> int:
        """Most tokens of prompt and answer of a request that wants no more than these."""
        if most_context is None:
            return self.context_length
        if most_context < 1:
            raise InvalidRequest(f"most_context must be at least 1, not {most_context}")
        return min(self.context_length, most_context)

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits after each of these tokens, (n_tokens, n_vocab) float32.

        Raises:
            NotEnoughMemory: the result would not fit; `generate` and `perplexity` need no such array.
        """
        rows = _empty_rows(len(ids), self.n_vocab)

        def keep(first: int, some: NDArray[np.float32]) -> None:
            rows[first : first + len(some)] = some

        self._score(ids, keep)
        return rows

    def logprobs(self, ids: Sequence[int]) -> NDArray[np.float64]:
        """Log-probability of each token but the first, given those before it, (n_tokens - 1)."""
        scored: list[ScoredToken] = []
        self._score(ids, PromptScorer(ids, 0, scored.extend))
        return np.array([token.logprob for token in scored[1:]], dtype=np.float64)

    def embed(
        self,
        texts: str | Sequence[str | Sequence[int]],
        *,
        dimensions: int | None = None,
        truncate_to: int | None = None,
        priority: Priority = "interactive",
        timeout: float | None = None,
    ) -> NDArray[np.float32]:
        """The vectors of texts, each of length 1, (n_texts, n_embd) or (n_texts, dimensions) float32.

        Args:
            texts: one or several; text is tokenised with the model's BOS and EOS, token ids are taken as they
                are.
            dimensions: keep so many numbers of each, for models that were trained for it.
            truncate_to: of a longer text read only so many tokens. None: it is refused.
            priority: as for `generate`.
            timeout: seconds after which TimedOut is raised.

        Raises:
            WrongModelKind: the model is not an embedding model.
            ContextLengthExceeded: a text is longer than the context.
            InvalidRequest: a text has no tokens, or there are not so many dimensions.
        """
        asked = [texts] if isinstance(texts, str) else texts
        deadline = _deadline(timeout)
        width = self._engine.traits.n_embd if dimensions is None else dimensions
        groups = [np.empty((0, width), np.float32)]
        for first in range(0, max(1, len(asked)), _TEXTS_AT_ONCE):
            some = asked[first : first + _TEXTS_AT_ONCE]
            found = _wait_for(*self._embed(some, dimensions, truncate_to, priority, deadline))
            groups += [embedding.vector[np.newaxis] for embedding in found]
        return np.concatenate(groups)

    def embeddings(
        self,
        texts: Sequence[str | Sequence[int]],
        *,
        dimensions: int | None = None,
        truncate_to: int | None = None,
        priority: Priority = "interactive",
        timeout: float | None = None,
    ) -> list[Future[Embedding]]:
        """Like `embed`, without waiting: `asyncio.wrap_future` makes one awaitable, `cancel` stops it."""
        return self._embed(texts, dimensions, truncate_to, priority, _deadline(timeout))

    def _embed(
        self,
        texts: Sequence[str | Sequence[int]],
        dimensions: int | None,
        truncate_to: int | None,
        priority: Priority,
        deadline: float | None,
    ) -> list[Future[Embedding]]:
        self._require(embeds=True)
        read = [self.prompts.to_embed(text, truncate_to, self.context_length) for text in texts]
        return start_embeddings(
            self._engine, read, dimensions=dimensions, priority=priority, deadline=deadline
        )

    def perplexity(self, text: str) -> float:
        """exp of the mean surprise per token; lower is better.

        Texts longer than the context are read in windows that do not overlap, each from an empty context.

        Raises:
            InvalidRequest: the text has less than two tokens.
        """
        ids = self.tokenizer.encode(text)
        if len(ids) < 2:
            raise InvalidRequest("perplexity needs a text of at least two tokens")
        return math.exp(-float(np.concatenate(list(self._windows(ids))).mean()))

    def _windows(self, ids: list[int]) -> Iterator[NDArray[np.float64]]:
        """Log-probabilities window by window; each begins with BOS if the model wants one."""
        bos = [ids[0]] if self.tokenizer.add_bos else []
        text = ids[len(bos) :]
        size = self.context_length - len(bos)
        for first in range(0, len(text), size):
            window = bos + text[first : first + size]
            if len(window) > 1:
                yield self.logprobs(window)

    def _start(
        self,
        prompt: Prompt,
        sampling: Sampling,
        seed: int,
        grammar: CompiledGrammar | None,
        options: Options,
    ) -> Stream:
        self._require(embeds=False)
        stop, max_tokens = options.get("stop"), options.get("max_tokens")
        stops = [stop] if isinstance(stop, str) else list(stop or ())
        if not all(isinstance(text, str) for text in stops):
            raise InvalidRequest(f"stop must be a string or several, not {stop!r}")
        if sampling.dry_multiplier > 0 and not sampling.dry_breakers:
            sampling = replace(sampling, dry_breakers=self._dry_breakers)
        n_top = options.get("top_logprobs", 0)
        score_prompt = options.get("score_prompt", False)
        mailbox = Mailbox(self._engine.doorbell)
        request = Request(
            tokens=list(prompt.ids),
            sampling=sampling,
            seed=seed,
            max_tokens=NO_LIMIT if max_tokens is None else max_tokens,
            sink=mailbox.put,
            namespace=self._namespace,
            stop_ids=self.tokenizer.eog_ids,
            constraint=None if grammar is None else grammar.constraint(),
            priority=options.get("priority", "interactive"),
            deadline=_deadline(options.get("timeout")),
            shift_after=self.prompts.n_told_first(prompt) if options.get("context_shift") else None,
            most_context=options.get("most_context"),
            n_unread=mailbox.events.qsize,
            score=PromptScorer(prompt.ids, n_top, mailbox.put_scored) if score_prompt else None,
            n_top=n_top,
        )
        reader = self.prompts.reader(prompt, stops, seed)
        self._engine.submit(request)
        return Stream(self, request, mailbox, reader)

    def _score(self, ids: Sequence[int], score: Scorer) -> None:
        """Run the ids through the model and hand every row of logits to `score`."""
        self._require(embeds=False)
        _wait_for(read_through(self._engine, [int(i) for i in ids], score, lambda usage: None))

    def _require(self, *, embeds: bool) -> None:
        """Raises WrongModelKind."""
        is_embedder = self._engine.traits.pooling != "none"
        if embeds and not is_embedder:
            raise WrongModelKind(
                f"{self.name} is not an embedding model",
                hint="use one whose file names a pooling type, as those of Qwen3-Embedding do",
            )
        if is_embedder and not embeds:
            raise WrongModelKind(
                f"{self.name} is an embedding model: it answers nothing",
                hint="`embed` gives the vector of a text",
            )

    def tokens_with(self, marks: Sequence[str]) -> frozenset[int]:
        """All tokens whose text contains one of these, as for `Sampling.dry_breakers`."""
        wanted = [mark.encode() for mark in marks]
        pieces = ((i, self.tokenizer.token_bytes(i)) for i in range(self.tokenizer.n_vocab))
        return frozenset(i for i, piece in pieces if any(mark in piece for mark in wanted))

    def _compiled(self, prompt: Prompt, content: Grammar | None) -> CompiledGrammar | None:
        grammar = self.prompts.grammar(prompt, content)
        return None if grammar is None else self._grammars.compile(grammar)

    @cached_property
    def _grammars(self) -> GrammarCompiler:
        from edgeinfer.text.grammar import GrammarCompiler

        return GrammarCompiler(self.tokenizer, self.n_vocab)

    @cached_property
    def _dry_breakers(self) -> frozenset[int]:
        return self.tokens_with(DRY_BREAKERS)


def _deadline(timeout: float | None) -> float | None:
    """On the clock of `Request.deadline`."""
    if timeout is not None and not timeout > 0:
        raise InvalidRequest(f"timeout must be more than 0 seconds, not {timeout}")
    return None if timeout is None else time.perf_counter() + timeout


def _wait_for(*futures: Future[Result]) -> list[Result]:
    """Their results; when one fails, or with Ctrl-C, none goes on."""
    try:
        return [future.result() for future in futures]
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _empty_rows(n: int, n_vocab: int) -> NDArray[np.float32]:
    needed, free = 4 * n * n_vocab, machine.memory().available
    if needed > free:
        raise NotEnoughMemory(
            f"logits of {n} tokens need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are available",
            hint="ask for fewer tokens at a time",
        )
    return np.empty((n, n_vocab), dtype=np.float32)

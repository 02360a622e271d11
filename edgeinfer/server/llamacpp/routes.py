"""llama.cpp's dialect: /completion and /infill, tokens, and what a server is like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeinfer.server.answering import Opening, answer
from edgeinfer.server.bodies import NamedBody
from edgeinfer.server.exchange import read_body
from edgeinfer.server.llamacpp.answers import LlamaCppReply
from edgeinfer.server.llamacpp.properties import properties, slots
from edgeinfer.server.llamacpp.requests import (
    Body,
    CompletionBody,
    DetokenizeBody,
    InfillBody,
    TokenizeBody,
    mixed_ids,
)
from edgeinfer.server.models import Models
from edgeinfer.server.openai.requests import ChatBody
from edgeinfer.text.tokenizer import Tokenizer

_AT_ONCE = 5000


class LlamaCppRoutes:
    """The routes, over some models."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def routes(self) -> list[Route]:
        """For the application."""
        return [
            Route("/props", self._props, methods=["GET"]),
            Route("/slots", self._slots, methods=["GET"]),
            Route("/completion", self._complete, methods=["POST"]),
            Route("/completions", self._complete, methods=["POST"]),
            Route("/infill", self._infill, methods=["POST"]),
            Route("/tokenize", self._tokenize, methods=["POST"]),
            Route("/detokenize", self._detokenize, methods=["POST"]),
            Route("/apply-template", self._apply_template, methods=["POST"]),
        ]

    async def _props(self, request: Request) -> Response:
        model = await self._models.use(request, _named(request))
        return JSONResponse(await asyncio.to_thread(properties, model))

    async def _slots(self, request: Request) -> Response:
        model = await self._models.use(request, _named(request))
        return JSONResponse(await asyncio.to_thread(slots, model))

    async def _complete(self, request: Request) -> Response:
        return await self._answer(request, CompletionBody)

    async def _infill(self, request: Request) -> Response:
        return await self._answer(request, InfillBody)

    async def _answer(self, request: Request, kind: type[Body]) -> Response:
        body = await read_body(kind, request)
        return await answer(request, body, self._models, LlamaCppReply.begin, Opening(LlamaCppReply.failed))

    async def _tokenize(self, request: Request) -> Response:
        body = await read_body(TokenizeBody, request)
        model = await self._models.use(request, body)
        text = await asyncio.to_thread(_tokens, model.tokenizer, body)
        return Response(text, media_type="application/json")

    async def _detokenize(self, request: Request) -> Response:
        body = await read_body(DetokenizeBody, request)
        model = await self._models.use(request, body)
        text = await asyncio.to_thread(
            model.tokenizer.decode, body.tokens, skip_special=False, continuation=True
        )
        return JSONResponse({"content": text})

    async def _apply_template(self, request: Request) -> Response:
        body = await read_body(ChatBody, request)
        model = await self._models.use(request, body)
        return JSONResponse({"prompt": await asyncio.to_thread(model.prompts.chat_text, body.prompts()[0])})


def _named(request: Request) -> NamedBody:
    return NamedBody(model=request.query_params.get("model"))


def _tokens(tokenizer: Tokenizer, body: TokenizeBody) -> str:
    """The answer, written a few tokens at a time: in one go millions would hold up all other threads."""
    ids = mixed_ids(tokenizer, body.content, add_special=body.add_special, parse_special=body.parse_special)
    said: Iterator[Any] = _with_pieces(tokenizer, ids) if body.with_pieces else iter(ids)
    some = iter(lambda: json.dumps(list(islice(said, _AT_ONCE)), separators=(",", ":"))[1:-1], "")
    return f'{{"tokens":[{",".join(line for line in some)}]}}'


def _with_pieces(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[dict[str, Any]]:
    for id in ids:
        yield {"id": id, "piece": _piece(tokenizer, id)}


def _piece(tokenizer: Tokenizer, token: int) -> str | list[int]:
    """Its text, or its bytes if they are no whole characters."""
    piece = tokenizer.token_bytes(token)
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)

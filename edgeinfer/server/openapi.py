"""The OpenAPI document of the port, made of the bodies that its routes read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import Route

import edgeinfer
from edgeinfer.server.anthropic import requests as anthropic
from edgeinfer.server.bodies import NamedBody
from edgeinfer.server.llamacpp import requests as llamacpp
from edgeinfer.server.ollama import embeddings as ollama_embeddings
from edgeinfer.server.ollama import requests as ollama
from edgeinfer.server.openai import embeddings as openai_embeddings
from edgeinfer.server.openai import requests as openai
from edgeinfer.server.responses import requests as responses

_BODIES: dict[str, type[BaseModel]] = {
    "/v1/chat/completions": openai.ChatBody,
    "/v1/completions": openai.CompletionBody,
    "/v1/embeddings": openai_embeddings.EmbeddingsBody,
    "/v1/fim/completions": openai.FimBody,
    "/v1/responses": responses.ResponseBody,
    "/v1/responses/input_tokens": responses.ResponseBody,
    "/v1/messages": anthropic.MessagesBody,
    "/v1/messages/count_tokens": anthropic.PromptBody,
    "/api/chat": ollama.ChatBody,
    "/api/generate": ollama.GenerateBody,
    "/api/show": ollama.ShowBody,
    "/api/pull": NamedBody,
    "/api/embed": ollama_embeddings.EmbedBody,
    "/api/embeddings": ollama_embeddings.EmbeddingsBody,
    "/completion": llamacpp.CompletionBody,
    "/completions": llamacpp.CompletionBody,
    "/infill": llamacpp.InfillBody,
    "/tokenize": llamacpp.TokenizeBody,
    "/detokenize": llamacpp.DetokenizeBody,
    "/apply-template": openai.ChatBody,
}
_OF_A_MODEL = {"/props", "/slots", "/stats"}  # without a name of the first one
_REFERENCE = "#/components/schemas/{model}"


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """What can be asked, in OpenAPI 3.1."""
    bodies = [(body, "validation") for body in dict.fromkeys(_BODIES.values())]
    names, schemas = models_json_schema(bodies, ref_template=_REFERENCE)  # type: ignore[arg-type]
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path.replace(":path}", "}")
        for method in sorted((route.methods or set()) - {"HEAD"}):
            operation: dict[str, Any] = {"responses": {"200": {"description": "The answer."}}}
            if "{" in path:
                name = path.partition("{")[2].partition("}")[0]
                where = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                operation["parameters"] = [where]
            if path in _OF_A_MODEL:
                operation["parameters"] = [{"name": "model", "in": "query", "schema": {"type": "string"}}]
            if method == "POST" and path in _BODIES:
                content = {"application/json": {"schema": names[_BODIES[path], "validation"]}}
                operation["requestBody"] = {"required": True, "content": content}
            paths.setdefault(path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "edgeinfer", "version": edgeinfer.__version__},
        "paths": paths,
        "components": {"schemas": schemas.get("$defs", {})},
    }

"""A model of a server, with the face that a chat needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, Unpack
from urllib.parse import urlencode

from pydantic import TypeAdapter, ValidationError

from edgeinfer.chat_model import Report
from edgeinfer.defaults import Defaults
from edgeinfer.engine.sampling import Sampling
from edgeinfer.errors import InvalidRequest, NetworkError
from edgeinfer.options import Options
from edgeinfer.remote.server import Server
from edgeinfer.remote.stream import RemoteStream
from edgeinfer.text.conversation import Conversation, conversation_of
from edgeinfer.text.messages import Message

_FORBIDS = -1e4  # the least bias that there is beside -inf, which JSON has not
_OPENED_S = 600.0  # for the server to open a model
# Options that go over the port by their names. The others nobody gives in a chat.
_SENT = {*Sampling.names(), "max_tokens", "stop", "timeout", "context_shift"} - {"dry_breakers"}


class RemoteModel:
    """A model that a server has open, and opens again if it has closed it meanwhile.

    Attributes:
        name: as the server calls it.
        defaults: what holds where a caller leaves something open, as far as people set it.
        context_length: most tokens of prompt and answer together.
        description: how it is run, for people.
    """

    def __init__(
        self, server: Server, name: str, context_length: int, description: str, defaults: Defaults
    ) -> None:
        """Use `opened`."""
        self._server = server
        self.name, self.context_length = name, context_length
        self.description, self.defaults = description, defaults

    @classmethod
    async def opened(cls, server: Server, name: str | None) -> Self:
        """Have a server open a model; None: its first one. Raises EdgeInferError."""
        query = "" if name is None else f"?{urlencode({'model': name})}"
        told = await server.get(f"/props{query}", within_s=_OPENED_S)
        try:
            if not told["build_info"].startswith("edgeinfer-"):
                raise ValueError("it is another program")
            found, n_context = str(told["model_alias"]), int(told["default_generation_settings"]["n_ctx"])
            options = tuple(told["defaults"]["options"].items())
            defaults = Defaults(system=str(told["defaults"]["system"]), options=options)
        except (TypeError, KeyError, AttributeError, ValueError):
            raise NetworkError(
                f"what answers at {server.address} is not edgeinfer", hint="`edgeinfer serve` starts a server"
            ) from None
        description = (await _report(server, found)).description
        return cls(server, found, n_context, description, defaults)

    def chat(self, messages: Sequence[Message] | Conversation, **options: Unpack[Options]) -> RemoteStream:
        """Answer the last of these messages; what is wrong with that is raised from the stream.

        Raises:
            InvalidRequest: an option is none that goes over the port.
        """
        asked = conversation_of(messages)
        body: dict[str, Any] = {
            "model": self.name,
            "messages": list(asked.messages),
            "chat_template_kwargs": dict(asked.variables),
            "stream": True,
            "logprobs": True,  # each token, also one that shows nothing
            "return_progress": True,
            "timings_per_token": True,
        }
        return RemoteStream(self._server, body | _sent(options))

    async def report(self) -> Report:
        """What the server's process is doing. Raises EdgeInferError."""
        return await _report(self._server, self.name)

    def close(self) -> None:
        """Others may use it: the server closes it when nobody has asked for a while."""


async def _report(server: Server, name: str) -> Report:
    told = await server.get(f"/stats?{urlencode({'model': name})}")
    try:
        return TypeAdapter(Report).validate_python(told)
    except ValidationError:
        hint = "have the same version on both sides"
        raise NetworkError(f"{server.address} tells other things than expected", hint=hint) from None


def _sent(options: Options) -> dict[str, Any]:
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if unknown := given.keys() - _SENT:
        raise InvalidRequest(f"{', '.join(sorted(unknown))} cannot be asked of a server")
    biases = given.pop("logit_bias", {}).items()
    return given | {"logit_bias": {id: max(_FORBIDS, bias) for id, bias in biases}}

"""What Ollama's clients create, copy and delete: what models are told, never weights."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from edgeinfer.errors import InvalidRequest
from edgeinfer.hub.create import alias, create
from edgeinfer.hub.located import Located
from edgeinfer.hub.modelfile import from_json
from edgeinfer.hub.store import own
from edgeinfer.server.bodies import InvalidParameter, Many, NamedBody, NotSupported, RequestBody


class FirstMessage(RequestBody):
    """What conversations begin with."""

    role: str
    content: str
    images: NotSupported = None


class CreateBody(NamedBody):
    """POST /api/create."""

    base: str = Field(validation_alias="from")  # a name: clients name no paths
    parameters: dict[str, Any] = Field(default_factory=dict)
    system: str | None = None
    template: str | None = None
    messages: Many[FirstMessage] = Field(default_factory=list)
    license: str | Many[str] | None = None
    stream: bool = True
    files: NotSupported = None
    adapters: NotSupported = None
    quantize: NotSupported = None

    def create(self, base: Located | None) -> None:
        """Raises InvalidRequest: it makes no sense. DiskError."""
        told = self.model_dump(include={"parameters", "system", "template", "messages", "license"})
        create(_name(self.model), from_json(self.base, told), _kept(base))


class CopyBody(RequestBody):
    """POST /api/copy."""

    source: str
    destination: str

    def copy_of(self, source: Located | None) -> None:
        """Raises InvalidRequest: something is called so. DiskError."""
        alias(_name(self.destination), _kept(source))


class DeleteBody(NamedBody):
    """DELETE /api/delete."""

    def delete(self) -> None:
        """Raises InvalidRequest: it is not one that was created. DiskError."""
        name = _name(self.model)
        if not own.was_created(name):
            raise InvalidRequest(f"{name} is no model that was created", hint="`edgeinfer rm` removes others")
        own.forget(name)


def _name(given: str | None) -> str:
    """Without the tag that clients add."""
    if not given:
        raise InvalidParameter("model", "is missing")
    return given.removesuffix(":latest")


def _kept(model: Located | None) -> Located:
    if model is None:
        raise InvalidRequest("this model has no file that another one could be created from")
    return model

"""The models that a server has open, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from starlette.requests import Request

from edgeinfer.errors import NotFound

if TYPE_CHECKING:
    from edgeinfer.client import Model


class UnknownModel(NotFound):
    """No model of that name is served."""

    code = "model_not_found"


class Models:
    """One or several open models; the first answers who names none."""

    def __init__(self, models: Sequence[Model]) -> None:
        assert models, "a server without models"
        self._models = {model.name: model for model in models}

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    async def use(self, request: Request, name: str | None) -> Model:
        """The model of that name, open as long as the request is answered. Raises UnknownModel."""
        return self.named(name)

    def named(self, name: str | None) -> Model:
        """Raises UnknownModel."""
        if name is None:
            return next(iter(self))
        try:
            return self._models[name]
        except KeyError:
            served = ", ".join(self._models)
            raise UnknownModel(f"no model is called {name!r} here", hint=f"there is {served}") from None

"""What a name has led to."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeinfer.config.sources import read_settings
from edgeinfer.config.table import PARAMETERS
from edgeinfer.defaults import Defaults
from edgeinfer.errors import InvalidRequest

if TYPE_CHECKING:
    from edgeinfer._native import GgufFile
    from edgeinfer.hub.modelfile import Modelfile


@dataclass(frozen=True)
class Located:
    """A model on this machine."""

    path: Path  # its GGUF file, or its first shard
    name: str  # how it is called: by its name, or its file's without the ending
    modelfile: Modelfile | None = None  # what it was created with

    @property
    def identity(self) -> object:
        """Equal for what gives the same answers, whatever it is called."""
        return self.path.resolve(), self.modelfile

    def weights(self) -> object:
        """Equal for models that one engine can compute. Raises what `defaults` raises."""
        return self.path.resolve(), self.defaults().loading

    @property
    def template(self) -> str | None:
        """The chat template that it has instead of its file's; None: it has the file's."""
        return None if self.modelfile is None else self.modelfile.template

    def defaults(self) -> Defaults:
        """What holds for it where a caller leaves something open, by `config.sources.layers`.

        Of a context that is too long for it as much as it has.

        Raises:
            InvalidRequest: something of that we do not have.
            BadModelFile, DiskError.
        """
        from edgeinfer import _native

        told = self._told()
        parameters = {PARAMETERS[name].name: value for name, value in told.options if name in PARAMETERS}
        settings = read_settings(of_model={**dict(told.loading), **parameters})
        context = settings.context_length
        if context is not None:
            context = min(context, longest_context(_native.gguf_open(os.fspath(self.path))))
        loading = {"context_length": context, "threads": settings.threads}
        return replace(
            told,
            options=tuple({**dict(told.options), **settings.sampling}.items()),
            loading=tuple((name, value) for name, value in loading.items() if value is not None),
        )

    def _told(self) -> Defaults:
        try:
            return Defaults() if self.modelfile is None else self.modelfile.defaults()
        except InvalidRequest as wrong:
            hint = f"its file runs without what it was told: {self.path}"
            raise InvalidRequest(f"{self.name}: {wrong.message}", hint=hint) from None


def longest_context(file: GgufFile) -> int:
    """What the model of a file was trained for, tokens."""
    key = f"{file.get('general.architecture')}.context_length"
    found = file.get(key) if key in file else None
    return found if isinstance(found, int) else sys.maxsize

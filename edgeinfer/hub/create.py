"""A model with a name of its own: the weights of another one, and what it is told once and for all."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from edgeinfer.errors import InvalidRequest
from edgeinfer.hub.located import Located
from edgeinfer.hub.modelfile import Modelfile
from edgeinfer.hub.names import BUNDLED, locate
from edgeinfer.hub.store import own


def create(name: str, modelfile: Modelfile, folder: Path) -> Modelfile:
    """Create it, in the place of a created one that is called so. Weights are linked.

    Args:
        folder: that a path behind FROM is relative to.

    Returns:
        What it was created with: with the path of its file, and what it has from a created one it builds on.

    Raises:
        InvalidRequest: it is no name, or something else is called so; what it is told makes no sense.
        NotFound: there is no such model to build on; the hint says how to get it.
        BadModelFile: what it builds on is no model.
        DiskError.
    """
    from edgeinfer import _native

    own.require_name(name)
    if name in BUNDLED:
        raise InvalidRequest(f"{name} is a bundled model", hint="give another name")
    built_on = _built_on(modelfile.base, folder)
    path = built_on.path.absolute()
    _native.gguf_open(os.fspath(path))
    told = modelfile if built_on.modelfile is None else modelfile.over(built_on.modelfile)
    told = replace(told, base=str(path))
    told.defaults()
    own.create(name, told)
    return told


def _built_on(base: str, folder: Path) -> Located:
    """The file at this path, or the model of this name."""
    path = folder / os.path.expanduser(base)
    return locate(path if os.path.exists(path) else base)

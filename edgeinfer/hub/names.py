"""What people call a model, turned into its file."""

from __future__ import annotations

import os
from pathlib import Path

from edgeinfer.errors import NotFound

BUNDLED = ("edgeinfer-tiny", "edgeinfer-nano")  # ship inside the package


def find_model(name: str | os.PathLike[str] | None = None) -> Path:
    """The GGUF file of a name or path; without one the bundled tiny model.

    Raises:
        NotFound: no bundled model and no file is called so.
    """
    if name is None:
        name = BUNDLED[0]
    if isinstance(name, str) and name in BUNDLED:
        return _bundled(name)
    path = Path(name)
    if path.is_dir():
        raise NotFound(f"{path} is a folder", hint="give the path of a .gguf file in it")
    if not path.is_file():
        known = ", ".join(BUNDLED)
        raise NotFound(
            f"no model is called {os.fspath(name)!r}", hint=f"give the path of a .gguf file, or {known}"
        )
    return path


def looks_like_model(word: str) -> bool:
    """Whether a word on a command line means a model: a bundled name, a .gguf path or an existing file."""
    if word in BUNDLED or word.endswith(".gguf"):
        return True
    return not any(c.isspace() for c in word) and Path(word).is_file()


def _bundled(name: str) -> Path:
    import edgeinfer.models

    path = Path(edgeinfer.models.__path__[0]) / "tiny" / f"{name}.gguf"
    if not path.is_file():
        raise NotFound(f"this installation lacks the bundled model {name}", hint="install edgeinfer again")
    return path

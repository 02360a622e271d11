"""Where the models of others lie: the Hugging Face cache, and the stores of other programs.

Every place follows the environment variable that its owner documents. Nothing is created here.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path


def huggingface_cache() -> Path:
    """The cache that huggingface_hub and many programs share; `pull` writes here."""
    home = _from_environment("HF_HOME") or _xdg_cache() / "huggingface"
    return _from_environment("HF_HUB_CACHE") or _from_environment("HUGGINGFACE_HUB_CACHE") or home / "hub"


def ollama() -> list[Path]:
    """Ollama's stores: the user's, and on Linux that of its service."""
    own = _from_environment("OLLAMA_MODELS")
    return [own] if own else [_home() / ".ollama/models", Path("/usr/share/ollama/.ollama/models")]


def lm_studio() -> list[Path]:
    """LM Studio's folders of models: the chosen one, today's default and that of before 0.3.6."""
    home = _home() / ".lmstudio"
    pointer = _home() / ".lmstudio-home-pointer"
    with contextlib.suppress(OSError, ValueError):
        home = Path(pointer.read_text().strip())
    chosen = _downloads_folder(home / "settings.json")
    return [*([chosen] if chosen else []), home / "models", _home() / ".cache/lm-studio/models"]


def llama_cpp() -> Path:
    """Where llama.cpp's `-hf` kept its files before it took to the Hugging Face cache."""
    caches = _home() / "Library/Caches" if sys.platform == "darwin" else _xdg_cache()
    return _from_environment("LLAMA_CACHE") or caches / "llama.cpp"


def inside(folder: Path, pattern: str) -> list[Path]:
    """What lies in a folder, in order; nothing where we may not look, as in the home of another user."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _downloads_folder(settings: Path) -> Path | None:
    try:
        found = json.loads(settings.read_text()).get("downloadsFolder")
    except (OSError, ValueError, AttributeError):
        return None
    return Path(found) if isinstance(found, str) and found else None


def _home() -> Path:
    """Never an error: containers have users without a home."""
    return Path(os.path.expanduser("~"))


def _xdg_cache() -> Path:
    return _from_environment("XDG_CACHE_HOME") or _home() / ".cache"


def _from_environment(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(os.path.expandvars(value)).expanduser() if value else None

"""From the name of a model to what can be used: the whole of it, its tokenizer, or what its file says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from edgeinfer.config.sources import read_settings
from edgeinfer.config.table import Settings, kv_type_named
from edgeinfer.errors import BadModelFile, DiskError
from edgeinfer.paths import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

    from edgeinfer.backends.base import Traits
    from edgeinfer.backends.choose import Wanted
    from edgeinfer.backends.plan import MemoryPlan
    from edgeinfer.client import Model
    from edgeinfer.defaults import Defaults
    from edgeinfer.facts import Facts
    from edgeinfer.hub.located import Located
    from edgeinfer.kv.disk import SavedPrefixes
    from edgeinfer.text.tokenizer import Tokenizer


def load(
    name_or_path: str | os.PathLike[str] | Located | None = None,
    *,
    backend: str = "native",
    threads: int | None = None,
    context_length: int | None = None,
    kv_type: str | None = None,
    kv_window: int | None = None,
) -> Model:
    """Open a model and make it ready; nothing of it is copied to memory.

    Args:
        name_or_path: a name or the path of a GGUF file; None: the bundled tiny model. What a created model
            was told holds for whatever is left open here, and in what is asked of it.
        backend: what runs it.
        threads: None: one for each physical performance core.
        context_length: tokens of prompt and answer together. None: what the model was trained for, at
            most 8192, at most what memory allows.
        kv_type: how keys and values are kept: "f16", "q8_0" (53 % of its memory, as good) or "iq4_nl" (28 %,
            for contexts that would not fit otherwise).
        kv_window: see only so many last tokens and the first 32, and so go on without end in constant
            memory (StreamingLLM, Xiao et al. 2023). None: all tokens of the context.

    Raises:
        NotFound, BadModelFile, UnsupportedModel, NotEnoughMemory, InvalidRequest.
    """
    from edgeinfer import _native
    from edgeinfer.backends import choose
    from edgeinfer.client import Model
    from edgeinfer.engine.engine import Engine
    from edgeinfer.facts import Facts
    from edgeinfer.hub.names import locate
    from edgeinfer.text.template import ChatTemplate
    from edgeinfer.text.tokenizer import Tokenizer

    found = locate(name_or_path)
    settings, defaults = read_settings(), found.defaults()
    file = _native.gguf_open(os.fspath(found.path))
    wanted = _wanted(
        settings,
        defaults,
        backend=backend,
        threads=threads,
        context_length=context_length,
        kv_type=kv_type,
        kv_window=kv_window,
    )
    tokenizer = Tokenizer.from_gguf(file)
    opened = choose.open_backend(file, wanted)
    engine = Engine(opened, store=_saved_prefixes(found.path, file.shards, opened.traits, settings))
    return Model(
        engine,
        tokenizer,
        lambda source: ChatTemplate.from_gguf(file, tokenizer, source=source),
        name=found.name,
        facts=Facts(file, tokenizer, template=defaults.template),
        defaults=defaults,
        keep_headers=settings.keep_headers,
    )


def plan(name_or_path: str | os.PathLike[str] | Located | None = None, **options: Any) -> MemoryPlan:
    """The memory that `load` takes with these options while nothing else runs; raises what that raises."""
    from edgeinfer import _native, machine
    from edgeinfer.backends import choose
    from edgeinfer.hub.names import locate

    found = locate(name_or_path)
    file = _native.gguf_open(os.fspath(found.path))
    total = machine.memory().total
    wanted = _wanted(read_settings(), found.defaults(), **options)
    return choose.plan(file, wanted, machine.Memory(total, total))


def _wanted(
    settings: Settings,
    defaults: Defaults,
    *,
    backend: str = "native",
    threads: int | None = None,
    context_length: int | None = None,
    kv_type: str | None = None,
    kv_window: int | None = None,
) -> Wanted:
    """What is not given comes from the model's defaults and the settings."""
    from edgeinfer.backends.choose import Wanted

    told = dict(defaults.loading)
    if context_length is None and kv_window is None:
        context_length = told.get("context_length")
    return Wanted(
        backend=backend,
        threads=told.get("threads") if threads is None else threads,
        context_length=context_length,
        kv_type=settings.kv_type if kv_type is None else kv_type_named(kv_type),
        kv_window=kv_window,
    )


def _saved_prefixes(path: Path, n_shards: int, traits: Traits, settings: Settings) -> SavedPrefixes | None:
    """Where the keys and values of this model are saved; None if they are not."""
    if settings.kv_disk_bytes == 0 or n_shards > 1:  # the key knows one file only
        return None
    from edgeinfer import __version__
    from edgeinfer.kv.disk import SavedPrefixes, model_key

    try:
        folder = cache_folder() / "kv"
        key = model_key(path, f"{__version__} {traits.kv_format}")
        return SavedPrefixes(folder, key, traits.kv_block_tokens, settings.kv_disk_bytes)
    except (OSError, DiskError):  # no home, no permission: without them
        return None


def check_file(path: str | os.PathLike[str]) -> None:
    """Everything that `load` checks, without making anything ready to run.

    Raises:
        BadModelFile, UnsupportedModel, DiskError: what is wrong.
    """
    from edgeinfer import _native
    from edgeinfer.backends import choose
    from edgeinfer.text.tokenizer import Tokenizer

    file = _native.gguf_open(os.fspath(path))
    Tokenizer.from_gguf(file)
    template = "tokenizer.chat_template"
    if template in file and file.type_of(template) != "string":
        raise BadModelFile(f"{file.path}: {template} has type {file.type_of(template)}, not string")
    choose.check_weights(file)


def load_facts(name_or_path: str | os.PathLike[str] | Located | None = None) -> Facts:
    """Only what the file of a model says of itself, with the template that a created one was given."""
    from edgeinfer import _native
    from edgeinfer.facts import Facts
    from edgeinfer.hub.names import locate

    found = locate(name_or_path)
    return Facts(_native.gguf_open(os.fspath(found.path)), template=found.template)


def load_tokenizer(name_or_path: str | os.PathLike[str] | None = None) -> Tokenizer:
    """Only the tokenizer of a model: opens the file and reads no weights."""
    from edgeinfer import _native
    from edgeinfer.hub.names import find_model
    from edgeinfer.text.tokenizer import Tokenizer

    return Tokenizer.from_gguf(_native.gguf_open(os.fspath(find_model(name_or_path))))

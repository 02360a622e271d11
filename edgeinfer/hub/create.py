"""A model with a name of its own: the weights of another one, and what it is told once and for all."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from edgeinfer.hub.located import Located, longest_context
from edgeinfer.hub.modelfile import BadModelfile, Modelfile
from edgeinfer.hub.names import locate
from edgeinfer.hub.store import own


@dataclass(frozen=True)
class Created:
    """A model that was created."""

    path: Path  # of its weights
    remarks: list[str]  # on what was asked for and is not so


def create(name: str, modelfile: Modelfile, built_on: Located) -> Created:
    """Create it, in the place of a created one that is called so. Weights are linked.

    Args:
        built_on: what its FROM names.

    Raises:
        InvalidRequest: it is no name, or something else is called so; what it is told makes no sense.
        BadModelFile: what it builds on is no model.
        DiskError.
    """
    from edgeinfer import _native

    own.require_not_bundled(name)
    own.require_name(name)
    path = built_on.path.absolute()
    file = _native.gguf_open(str(path))
    longest = longest_context(file)
    told = modelfile if built_on.modelfile is None else modelfile.over(built_on.modelfile)
    told = replace(told, base=str(path))
    if told.has_go_template and told.template is None and "tokenizer.chat_template" not in file:
        raise BadModelfile(
            "the model's file has no chat template, and this one is a Go template", hint="write it in Jinja"
        )
    n_context = dict(told.defaults().loading).get("context_length", 0)
    own.create(name, told)
    remarks = [*told.remarks]
    remarks += [f"{parameter} has no effect here: it changes no answer" for parameter in told.without_effect]
    if n_context > longest:
        remarks.append(f"the model has {longest} tokens of context, less than num_ctx {n_context}")
    return Created(path, remarks)


def alias(name: str, model: Located) -> None:
    """Let a model have one more name, with what it was told.

    Raises:
        InvalidRequest: it is no name, or something is called so.
        DiskError.
    """
    if model.modelfile is None:
        own.link(name, model.path.absolute())
    else:
        own.create(name, model.modelfile, replaces=False)


def named_by(base: str, folder: Path) -> Located:
    """What FROM names: the file at this path, relative to a folder, or the model of this name.

    Raises:
        NotFound: there is neither; the hint says how to get it. AmbiguousName.
    """
    path = folder / os.path.expanduser(base)
    return locate(path if os.path.exists(path) else base)

"""What an empty conversation shows."""

from __future__ import annotations

from edgeinfer.hub.names import BUNDLED
from edgeinfer.hub.offline import is_offline
from edgeinfer.text.safe import safe_text
from edgeinfer.text.sizes import in_bytes
from edgeinfer.tui.choices import Choice, choices, suggested

_ALL = """\
This is edgeinfer, on this machine and nowhere else.
Ask something below. F1 tells the keys, / the commands."""
_ATTACHED = """\
This is edgeinfer, attached to the server at {where}.
Ask something below. F1 tells the keys, / the commands."""
_TINY = """\
You talk with {name}. It came with the program, is very small, \
and knows how edgeinfer is used, some Python, and little else."""
_OFFLINE = """\
Offline is switched on, so no other model can be fetched. These bring one:
  edgeinfer bundle install FILE
  edgeinfer import FILE"""


def greeting(model: str, where: str) -> str:
    """With the model of that name; of a bundled one what it is, and what there is beside it.

    Args:
        where: the server that has it; "": this process.
    """
    if where:
        return _ATTACHED.format(where=safe_text(where))
    if model not in BUNDLED:
        return _ALL
    return "\n\n".join([_ALL, _TINY.format(name=model), _others(choices())])


def _others(found: list[Choice]) -> str:
    here = [safe_text(choice.name) for choice in found if choice.is_here and choice.name not in BUNDLED]
    if here:
        return f"F3 opens another of this machine: {', '.join(here[:3])}{' ...' if here[3:] else ''}"
    if is_offline():
        return _OFFLINE
    fitting = [f"  {c.name:<16}{in_bytes(c.size_bytes or 0):>9}" for c in suggested(found)]
    return "\n".join(["F3 fetches another. These fit here:", *fitting]) if fitting else "F3 fetches another."

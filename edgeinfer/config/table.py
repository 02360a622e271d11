"""Every setting: the one table that the environment, the file, the command line and its help go by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args

from edgeinfer.address import PORT
from edgeinfer.config.kinds import (
    Duration,
    File,
    Kind,
    ModelName,
    Number,
    OneOf,
    Switch,
    Text,
    Texts,
    Whole,
)
from edgeinfer.engine.sampling import RANGES, Sampling
from edgeinfer.errors import InvalidRequest

KvType = Literal["f16", "q8_0", "iq4_nl"]  # as native/src/quant/kv_types.inc lists them
Value = bool | int | float | str | tuple[str, ...]

_SECONDS = Number(0.001, 1e9, "SECONDS")


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    name: str  # as in the file, its section before it: "serve.port"
    kind: Kind
    default: Value | None  # None: what its help says, or decided from the machine and the model
    about: str  # one line of help

    @property
    def variable(self) -> str:
        """Of the environment."""
        return f"EDGEINFER_{self.name.replace('.', '_').upper()}"

    @property
    def key(self) -> str:
        """The name in its section."""
        return self.name.rpartition(".")[2]

    @property
    def option(self) -> str:
        """Of the commands that have it."""
        return f"--{self.key.replace('_', '-')}"

    def parse(self, text: str, where: str) -> Value:
        """The value that is written so. Raises InvalidRequest, which says where the text was found."""
        return self.check(self.kind.parse(text), where)

    def check(self, value: object, where: str) -> Value:
        """The value, if it can be one. Raises InvalidRequest, which says where it was found."""
        if not self.kind.has(value):
            raise InvalidRequest(f"{where} must be {self.kind.told}{self._instead(value)}")
        return tuple(value) if isinstance(value, list) else value  # type: ignore[return-value]

    def _instead(self, value: object) -> str:
        """What was there, if it is short; of where a file should be named nothing: it may be a key itself."""
        is_short = isinstance(value, str | float) or (isinstance(value, int) and value.bit_length() < 100)
        return f", not {value!r:.100}" if is_short and not isinstance(self.kind, File) else ""


def _row(default: Value | None, kind: Kind, about: str) -> Any:
    return field(default=default, metadata={"kind": kind, "about": about})


@dataclass(frozen=True)
class Serve:
    """What `edgeinfer serve` does."""

    host: str = _row("127.0.0.1", Text(metavar="ADDRESS"), "Where to listen; unix:PATH: on a Unix socket.")
    port: int = _row(PORT, Whole(0, 65535), "0: a free one.")
    api_key_file: str | None = _row(
        None,
        File(),
        "Everybody must bring a key of it (one a line, a name may follow), or EDGEINFER_API_KEY.",
    )
    allow_host: tuple[str, ...] = _row(
        (), Texts(r"\S+", "names of machines", "NAME,..."), "Other names of this machine."
    )
    cors_origins: tuple[str, ...] = _row(
        (),
        Texts(r"[^\s:]+://\S+", "origins of pages, as https://example.org", "URL,..."),
        "Web pages that may ask, as https://example.org; none others may.",
    )
    keep_alive: str | float = _row(
        "30m", Duration(), "Close a model that no MODEL names so long after its last request; -1: never."
    )
    max_models: int | None = _row(None, Whole(1), "Open at most N models at once.")
    max_queue: int = _row(512, Whole(1), "Refuse requests while N wait for the same model.")
    ssl_certfile: str | None = _row(None, File(), "Speak TLS with this certificate (PEM).")
    ssl_keyfile: str | None = _row(None, File(), "Its key, if it is not in the same file.")
    request_timeout: float = _row(3600, _SECONDS, "Most that one request may take.")
    drain_seconds: int = _row(
        30,
        Whole(0, metavar="SECONDS"),
        "How long answers may go on after SIGTERM or Ctrl-C; a second one ends at once.",
    )
    target_ttft: float | None = _row(None, _SECONDS, "First token of a good answer, in /metrics.")
    target_tpot: float | None = _row(None, _SECONDS, "Each token after it.")
    log_format: Literal["text", "json"] = _row(
        "text", OneOf(("text", "json"), "FORMAT"), "text or json, of the line that a request leaves."
    )
    log_level: str = _row(
        "info",
        OneOf(("debug", "info", "warning", "error"), "LEVEL"),
        "debug, info (one line a request, without what was said), warning or error.",
    )


@dataclass(frozen=True)
class Settings:
    """What holds where a caller says nothing else."""

    model: str | None = _row(None, ModelName(), "The model of run, chat and serve when none is named.")
    threads: int | None = _row(None, Whole(1), "Threads; default: one a core.")
    context_length: int | None = _row(None, Whole(1), "Tokens of prompt and answer.")
    kv_type: KvType = _row(  # noqa: RUF009  # a field
        "f16", OneOf(get_args(KvType), "TYPE"), "f16, q8_0 (53 % of its memory) or iq4_nl (28 %)."
    )
    kv_disk_bytes: int = _row(4 << 30, Whole(0, 2**63 - 1), "Of saved keys and values; 0: none.")
    keep_headers: bool = _row(False, Switch(), "Read the changing headers of agents too.")
    offline: bool = _row(False, Switch(), "Fetch nothing: no other machine is reached.")
    sampling: Mapping[str, Any] = field(default_factory=dict)  # of the table's parameters those that are set
    serve: Serve = field(default_factory=Serve)


# parameter of an answer -> help; the ranges are those of engine.sampling
_ABOUT = {
    "temperature": "0 is greedy, 0.8 usual, more is wilder.",
    "top_k": "Choose among the K most likely tokens; 0: all.",
    "top_p": "Choose among the most likely tokens with this probability together.",
    "min_p": "Leave out tokens less likely than this, relative to the best.",
    "typical_p": "Choose among the most typical tokens; 1: off.",
    "repeat_penalty": "Make recent tokens less likely; 1: off.",
    "repeat_last_n": "How many tokens are recent; -1: all.",
    "frequency_penalty": "Subtract this for every recent occurrence.",
    "presence_penalty": "Subtract this from every recent token.",
    "dry_multiplier": "Strength of the penalty against repeated stretches; 0: off.",
    "dry_base": "How fast it grows with their length.",
    "dry_allowed_length": "Repetitions up to here are free.",
    "dry_last_n": "How many tokens are searched for repetitions; -1: all.",
    "xtc_probability": "How often the top choices are left out; 0: off.",
    "xtc_threshold": "What counts as a top choice.",
    "seed": "Same seed, same answer.",
}


def _rows(record: type[Serve | Settings], section: str = "") -> Iterator[Setting]:
    for f in fields(record):
        if f.metadata:
            yield Setting(section + f.name, default=f.default, **f.metadata)  # type: ignore[arg-type]


def _parameters() -> Iterator[Setting]:
    yield Setting("sampling.max_tokens", Whole(1), None, "End after N tokens.")
    for name, about in _ABOUT.items():
        low, high, integer = RANGES[name]
        kind = Whole(int(low), int(high)) if integer else Number(low, high)
        yield Setting(f"sampling.{name}", kind, getattr(Sampling, name), about)


SECTIONS = ("sampling", "serve")
PARAMETERS = {row.key: row for row in _parameters()}  # of answers, by their names without the section
SETTINGS = {row.name: row for row in (*_rows(Settings), *PARAMETERS.values(), *_rows(Serve, "serve."))}


def setting_named(name: str, where: str = "") -> Setting:
    """A row by its name.

    Args:
        where: what is said before the name if it is none.

    Raises:
        InvalidRequest: it is none; the nearest one is told.
    """
    if name in SETTINGS:
        return SETTINGS[name]
    if name in SECTIONS:
        inside = ", ".join(known for known in SETTINGS if known.startswith(f"{name}."))
        raise InvalidRequest(f"{where}{name} is a section, no setting", hint=f"in it are {inside}")
    near = nearest(name)
    hint = "`edgeinfer config` lists all" if near is None else f"did you mean {near.name}?"
    raise InvalidRequest(f"{where}{name:.100} is not a setting", hint=hint)


def nearest(name: str) -> Setting | None:
    """The row whose name is most like this one; one of its name in a section is."""
    import difflib

    inside = [known for known, row in SETTINGS.items() if row.key == name]
    near = inside or difflib.get_close_matches(name, SETTINGS, n=1)
    return SETTINGS[near[0]] if near else None


def kv_type_named(name: str) -> KvType:
    """The type that keys and values are kept in. Raises InvalidRequest when there is no such type."""
    return cast(KvType, SETTINGS["kv_type"].check(name, "kv_type"))

"""Jinja for strangers' templates: no way out, and no way to spend more than a budget.

Jinja's sandbox keeps templates from Python's inside; it does not keep them from `9 ** 9 ** 9` or a thousand
million turns of a loop. Here everything a template can do more than once, or that can grow, goes through a
`Meter`: loops by the turn, operators, filters, calls and output by the size of what they read and make.
Whatever can explode is sized before it is computed, so a render stops within its CPU time and memory and
needs no process of its own. The template's syntax tree is rewritten for that before it is compiled.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from jinja2 import Template, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import do_round, make_attrgetter
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import Namespace, pass_context
from jinja2.visitor import NodeTransformer

from edgeinfer.errors import TemplateError

_Function = Callable[..., Any]

_INT_BITS = 4096  # integers of a template stay below 2 ** 4096
_CLOCK_UNITS = 128  # between two looks at the clock; a unit is about a microsecond
_DEEPEST = 64  # lists within lists
_FROM_COMPILER = ("_loop_vars", "_block_vars")  # Jinja adds these to calls within loops
_LONGEST_SEQUENCE = 1 << 16  # characters of a string that is taken apart into a list


@dataclass(frozen=True)
class Limits:
    """What one render may cost."""

    cpu_s: float = 0.25  # of the rendering thread
    value_chars: int = 2 << 20  # of one string, or of one list when written out
    made_bytes: int = 48 << 20  # of all values together that come to be on the way
    source_chars: int = 64 << 10  # of the template; the largest known are about 20 KiB
    tokens: int = 8_000  # of the template; the largest known have 2,400


class Meter:
    """The account of one compilation or render. Every method raises TemplateError beyond a limit."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._ends_s = time.thread_time() + limits.cpu_s
        self._units = 0
        self._made_bytes = 0
        # id -> (container, chars when written out, depth); holding the container keeps its id taken
        self._sizes: dict[int, tuple[Any, int, int]] = {}

    def charge(self, chars: int = 0) -> None:
        """Pays for one operation that touches so many characters."""
        self._units += 1 + (chars >> 8)
        if self._units >= _CLOCK_UNITS:
            self._units = 0
            if time.thread_time() > self._ends_s:
                raise _too_much(f"takes more than {self.limits.cpu_s:g} s")

    def read(self, value: Any) -> Any:
        """Pays for an operation that goes over all of `value`, and gives it back."""
        self.charge(self.chars(value))
        return value

    def make(self, value: Any) -> Any:
        """Pays for the memory of a new value, and gives it back."""
        if isinstance(value, str):
            self.expect(len(value))
            self.allot(len(value) if value.isascii() else 4 * len(value))
        elif isinstance(value, list | tuple | dict):
            self.allot(64 + 48 * len(value))
        elif isinstance(value, int):
            self.chars(value)
        elif hasattr(value, "__next__"):
            return self.each(value)
        return value

    def allot(self, n_bytes: int) -> None:
        """Pays for so many bytes."""
        self._made_bytes += n_bytes
        self.charge(n_bytes)
        if self._made_bytes > self.limits.made_bytes:
            raise _too_much(f"needs more than {self.limits.made_bytes >> 20} MiB")

    def expect(self, chars: int) -> None:
        """Makes sure that a value of so many characters is allowed."""
        if chars > self.limits.value_chars:
            raise _too_much(f"makes a text of more than {self.limits.value_chars} characters")

    def each(self, values: Iterable[Any]) -> Iterator[Any]:
        """The values, paid one by one."""
        for value in values:
            self.charge()
            yield value

    def chars(self, value: Any) -> int:
        """About how many characters `value` has when written out."""
        return self.size(value)[0]

    def size(self, value: Any) -> tuple[int, int]:
        """(characters when written out, depth) of a value; shared parts count each time they appear."""
        if isinstance(value, str):
            return len(value), 0
        if isinstance(value, list | tuple | dict):
            return self._container(value)
        if isinstance(value, int):
            if value.bit_length() > _INT_BITS:
                raise _too_much("makes an integer of more than a thousand digits")
            return 8, 0
        if isinstance(value, KeysView | ItemsView | ValuesView):
            return self._parts(list(value))
        if isinstance(value, Namespace):
            raise _too_much("uses a namespace as a value")  # its parts may hold it again, without end
        return 16, 0

    def _container(self, value: Any) -> tuple[int, int]:
        known = self._sizes.get(id(value))
        if known is None:
            parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            known = (value, *self._parts(parts))
            self._sizes[id(value)] = known
        return known[1], known[2]

    def _parts(self, parts: Iterable[Any]) -> tuple[int, int]:
        total, deepest = 4, 0
        for part in parts:
            self.charge()
            chars, depth = self.size(part)
            total += chars + 4
            deepest = max(deepest, depth)
        self.expect(total)
        if deepest >= _DEEPEST:
            raise _too_much("nests lists too deeply")
        return total, deepest + 1


def _too_much(what: str) -> TemplateError:
    return TemplateError(f"the chat template {what}", hint="it may be broken or hostile; choose another one")


class MeteredEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose `meter` is charged for all that its templates do. One render at a time."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self, limits: Limits) -> None:
        self.meter = Meter(limits)
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # nothing may be computed while compiling
            finalize=self._show,
            extensions=[loopcontrols, _GenerationTag, _TokenMeter],
        )
        self.filters = {name: self._metered(name, cast(_Function, self.filters[name])) for name in _FILTERS}
        for name, own in _OWN_FILTERS.items():
            self.filters[name] = self._metered(name, functools.partial(own, self))
        self.filters |= {"_each": self._each, "_read": self._read, "_built": self._built, "_made": self._made}
        self.filters["_concat"] = self._concat
        self.tests = {name: self._metered(name, cast(_Function, self.tests[name])) for name in _TESTS}
        self.globals = {"range": self._range, "dict": dict, "namespace": Namespace}

    def begin(self) -> Meter:
        """Opens a new account."""
        self.meter = Meter(self.meter.limits)
        return self.meter

    def compiled(self, source: str) -> Template:
        """The template of that source, compiled within the limits."""
        if len(source) > self.meter.limits.source_chars:
            raise TemplateError(
                f"the chat template is longer than {self.meter.limits.source_chars} characters"
            )
        self.begin()
        return self.from_string(source)

    # --- the syntax tree

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _Rewriter().visit(tree)
        return tree

    def _each(self, values: Any) -> Any:
        return self.meter.each(() if values is None else values)  # templates for tools loop over none

    def _read(self, value: Any) -> Any:
        return self.meter.read(value)

    def _made(self, value: Any) -> Any:
        return self.meter.make(value)

    def _built(self, value: Any) -> Any:
        return self.meter.read(self.meter.make(value))

    def _concat(self, parts: list[Any]) -> str:
        self.meter.expect(sum(self.meter.chars(part) for part in parts))
        return str(self.meter.make("".join(map(str, parts))))

    @pass_context
    def _show(self, context: Any, value: Any) -> Any:
        if not isinstance(value, str):
            self.meter.read(value)
            value = str(value)
        return self.meter.make(value)

    # --- operators, attributes and calls

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """See `SandboxedEnvironment`; what may explode is sized first."""
        self.meter.read(left)
        self.meter.read(right)
        guard = _OPERATOR_GUARDS.get(operator)
        if guard is not None:
            guard(self.meter, left, right)
        return self.meter.make(super().call_binop(context, operator, left, right))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """See `SandboxedEnvironment`."""
        self.meter.read(argument)
        return super().getitem(obj, argument)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """See `SandboxedEnvironment`."""
        self.meter.charge()
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> None:
        """`str.format` is not offered: a width in its text would need a budget of its own."""
        return

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Of the built-in types only methods that are known to be harmless."""
        for kind, methods in _METHODS.items():
            if isinstance(obj, kind):
                return attr in methods
        return super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """See `SandboxedEnvironment`; arguments are paid for, and results."""
        meter = __self.meter
        meter.charge(len(args))
        if not isinstance(__obj, Macro) and __obj is not Namespace:
            given = {key: value for key, value in kwargs.items() if key not in _FROM_COMPILER}
            for value in (*args, *given.values()):
                meter.read(value)
            owner = getattr(__obj, "__self__", None)
            if isinstance(owner, str | list | tuple | dict):
                meter.charge(meter.chars(owner))
                guard = _METHOD_GUARDS.get(__obj.__name__)
                if guard is not None:
                    guard(meter, owner, *args, **given)
        return meter.make(super().call(__context, __obj, *args, **kwargs))

    def _range(self, *bounds: int) -> range:
        values = range(*bounds)
        if len(values) > _LONGEST_SEQUENCE:
            raise _too_much(f"counts beyond {_LONGEST_SEQUENCE}")
        return values

    def _metered(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The filter or test with everything it reads and makes paid for."""
        first = 1 if hasattr(function, "jinja_pass_arg") else 0
        takes_apart = name in _TAKES_APART
        guard = _FILTER_GUARDS.get(name)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            if name in _LOOKS_ONLY:
                self.meter.charge()
                return function(*args, **kwargs)
            values = args[first:]
            for value in (*values, *kwargs.values()):
                self.meter.read(value)
            if takes_apart and isinstance(values[0], str) and len(values[0]) > _LONGEST_SEQUENCE:
                raise _too_much("takes a long text apart")
            if guard is not None:
                guard(self.meter, *values, **kwargs)
            return self.meter.make(function(*args, **kwargs))

        return run


class _Rewriter(NodeTransformer):
    """Puts a meter wherever a template loops, compares, builds, cuts or shows something."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        """Each turn is paid for."""
        if node.recursive:
            raise _not_offered("recursive loops", node)
        self.generic_visit(node)
        node.iter = _through("_each", node.iter)
        return node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        """Plain text goes the way of all values, so that it is paid for each time it is shown."""
        return nodes.Const(node.data, lineno=node.lineno)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """`a ~ b` is sized first."""
        self.generic_visit(node)
        return _through("_concat", nodes.List(node.nodes, lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        """Both sides are paid for."""
        self.generic_visit(node)
        node.expr = _through("_read", node.expr)
        for operand in node.ops:
            operand.expr = _through("_read", operand.expr)
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        """`[a, b]`."""
        return _through("_built", self.generic_visit(node))

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        """`(a, b)`, unless it is what a loop or an assignment unpacks into."""
        self.generic_visit(node)
        return node if node.ctx == "store" else _through("_built", node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        """`{a: b}`; keys are hashed, which reads them."""
        self.generic_visit(node)
        for pair in node.items:
            pair.key = _through("_read", pair.key)
        return _through("_built", node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        """`a[1:2]` is a copy."""
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        node.node = _through("_read", node.node)
        return _through("_made", node)

    def _refuse(self, node: nodes.Node) -> NoReturn:
        raise _not_offered(f"{type(node).__name__.lower()} statements", node)

    visit_Include = visit_Import = visit_FromImport = visit_Extends = visit_Block = _refuse
    visit_EvalContextModifier = visit_ScopedEvalContextModifier = _refuse


def _through(name: str, node: nodes.Node) -> nodes.Filter:
    return nodes.Filter(cast(nodes.Expr, node), name, [], [], None, None, lineno=node.lineno)


def _not_offered(what: str, node: nodes.Node) -> TemplateError:
    return TemplateError(f"the chat template uses {what} in line {node.lineno}, which are not offered")


class _GenerationTag(Extension):
    """`{% generation %}` marks what a model is trained to say; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's interface)

    def parse(self, parser: Parser) -> nodes.Node:
        """The body as it is."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _TokenMeter(Extension):
    """Pays for each token of the template while it is compiled."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        """The same tokens."""
        meter = cast(MeteredEnvironment, self.environment).meter
        for i, token in enumerate(stream):
            meter.charge(1 << 12)  # about 20 us to parse and compile one
            if i == meter.limits.tokens:
                raise _too_much(f"has more than {i} tokens")
            yield token


# --- filters of our own, where Jinja's differ from what chat templates are written for, or have no bound


def _tojson(
    environment: MeteredEnvironment,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as Hugging Face's templates expect it: not escaped for HTML, not ASCII only."""
    if not (indent is None or 0 <= indent <= 8) or any(len(text) > 8 for text in separators or ()):
        raise _too_much("indents JSON too far")
    chars, depth = environment.meter.size(value)
    environment.meter.expect(chars * (1 + depth * (indent or 0) // 4))
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _join(
    environment: MeteredEnvironment, value: Any, d: str = "", attribute: str | int | None = None
) -> str:
    """Jinja's `join`, sized first."""
    values = list(environment.meter.each(value))
    if attribute is not None:
        values = list(map(make_attrgetter(environment, attribute), values))
    environment.meter.expect(sum(environment.meter.chars(part) + len(str(d)) for part in values))
    return str(d).join(map(str, values))


def _sum(
    environment: MeteredEnvironment, value: Any, attribute: str | int | None = None, start: float = 0
) -> float:
    """Jinja's `sum`, of numbers only."""
    values = list(environment.meter.each(value))
    if attribute is not None:
        values = list(map(make_attrgetter(environment, attribute), values))
    if not all(isinstance(part, int | float) for part in (*values, start)):
        raise TypeError("only numbers can be summed")
    return sum(values, start)


def _round(
    environment: MeteredEnvironment, value: float, precision: int = 0, method: str = "common"
) -> float:
    """Jinja's `round`, to at most 16 digits."""
    if not -16 <= precision <= 16:
        raise _too_much("rounds to more than 16 digits")
    rounded: float = do_round(value, precision, method)  # type: ignore[arg-type]
    return rounded


# --- what must be sized before it is computed


def _guard_plus(meter: Meter, left: Any, right: Any) -> None:
    meter.expect(meter.chars(left) + meter.chars(right))


def _guard_times(meter: Meter, left: Any, right: Any) -> None:
    for value, times in ((left, right), (right, left)):
        if isinstance(value, str | list | tuple) and isinstance(times, int):
            meter.expect(meter.chars(value) * max(times, 0))


def _guard_power(meter: Meter, base: Any, exponent: Any) -> None:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > _INT_BITS:
        raise _too_much("makes an integer of more than a thousand digits")


def _guard_percent(meter: Meter, left: Any, right: Any) -> None:
    if isinstance(left, str):
        if re.search(r"\*|[0-9]{4}", left):
            raise _too_much("pads a text too far")
        meter.expect(len(left) + left.count("%") * (1000 + meter.chars(right)))


def _guard_replace(meter: Meter, text: Any, old: Any = "", new: Any = "", *_: Any, **__: Any) -> None:
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        meter.expect(len(text) + text.count(old) * max(len(new) - len(old), 0))


def _guard_strip(meter: Meter, text: Any, chars: Any = None, **_: Any) -> None:
    if isinstance(chars, str) and len(chars) > 256:
        raise _too_much("strips more than 256 different characters")


def _guard_split(meter: Meter, text: str, sep: Any = None, *_: Any, **__: Any) -> None:
    n_parts = text.count(sep) if isinstance(sep, str) and sep else len(text) // 2
    meter.allot(64 * n_parts)


def _guard_splitlines(meter: Meter, text: str, *_: Any, **__: Any) -> None:
    meter.allot(64 * sum(map(text.count, "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")))


def _guard_str_join(meter: Meter, text: str, values: Any = (), *_: Any) -> None:
    if not isinstance(values, list | tuple | dict):
        raise _too_much("joins something that is no list")
    meter.expect(meter.chars(values) + len(text) * len(values))


def _guard_indent(meter: Meter, text: Any, width: Any = 4, *_: Any, **__: Any) -> None:
    n = len(width) if isinstance(width, str) else int(width)
    meter.expect(meter.chars(text) + n * (str(text).count("\n") + 1))


_OPERATOR_GUARDS: dict[str, Callable[..., None]] = {
    "+": _guard_plus,
    "*": _guard_times,
    "**": _guard_power,
    "%": _guard_percent,
}
_METHOD_GUARDS: dict[str, Callable[..., None]] = {
    "replace": _guard_replace,
    "join": _guard_str_join,
    "split": _guard_split,
    "rsplit": _guard_split,
    "splitlines": _guard_splitlines,
    "strip": _guard_strip,
    "lstrip": _guard_strip,
    "rstrip": _guard_strip,
}
_FILTER_GUARDS: dict[str, Callable[..., None]] = {
    "replace": _guard_replace,
    "trim": _guard_strip,
    "indent": _guard_indent,
}
_OWN_FILTERS: dict[str, Callable[..., Any]] = {"tojson": _tojson, "join": _join, "sum": _sum, "round": _round}
_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "groupby"),
    *("indent", "int", "items", "last", "length", "list", "lower", "map", "max", "min", "reject"),
    *("rejectattr", "replace", "reverse", "safe", "select", "selectattr", "sort", "string", "title"),
    *("trim", "unique", "upper", "wordcount"),
)
_TESTS = tuple(TESTS)
_LOOKS_ONLY = frozenset(
    (
        *("count", "d", "default", "first", "last", "length"),
        *("boolean", "callable", "defined", "false", "float", "integer", "iterable", "mapping", "none"),
        *("number", "sameas", "sequence", "string", "true", "undefined"),
    )
)
_TAKES_APART = frozenset(
    (
        *("dictsort", "groupby", "join", "list", "map", "max", "min", "reject", "rejectattr", "reverse"),
        *("select", "selectattr", "sort", "sum", "title", "unique", "wordcount"),
    )
)
_METHODS: dict[type | tuple[type, ...], frozenset[str]] = {
    str: frozenset(
        (
            *(
                "capitalize",
                "casefold",
                "count",
                "endswith",
                "find",
                "index",
                "isalnum",
                "isalpha",
                "isascii",
            ),
            *(
                "isdecimal",
                "isdigit",
                "islower",
                "isnumeric",
                "isspace",
                "istitle",
                "isupper",
                "join",
                "lower",
            ),
            *("lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex"),
            *("rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase"),
            *("title", "upper"),
        )
    ),
    dict: frozenset(("copy", "get", "items", "keys", "values")),
    (list, tuple): frozenset(("copy", "count", "index")),
    (int, float): frozenset(("is_integer",)),
}

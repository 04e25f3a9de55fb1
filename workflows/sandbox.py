"""The one Jinja2 environment in which expressions are evaluated: what they may do, and how much.

Expressions are written by people whom nobody checked, over answers of models. So they reach plain
values and nothing behind them, by a short list of filters, tests and methods, and whatever could
make much out of little pays for it before it is made.

Invariant: the same expression over the same values gives the same value (there is no clock and no
chance in it), and one evaluation spends at most `EFFORT`.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Collection, Iterator, MappingView
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2 import StrictUndefined, TemplateRuntimeError, nodes
from jinja2.filters import FILTERS, do_round
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.tests import TESTS
from jinja2.visitor import NodeTransformer

__all__ = ["EFFORT", "Sandbox", "TooMuch", "guarded", "pay", "plain", "spending"]

EFFORT = 10_000_000
"""What one evaluation may spend: characters, values and rounds of loops, all counted alike."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KNOWN_FILTERS = _words(
    "abs capitalize count d default dictsort first float int items last length list lower map max "
    "min reject rejectattr reverse select selectattr sort string sum title trim truncate unique "
    "upper wordcount"
)
_UNKNOWN_TESTS = _words("callable escaped filter sameas test")
_METHODS: dict[type, frozenset[str]] = {
    str: _words(
        "capitalize casefold count endswith find isalpha isdigit lower lstrip removeprefix "
        "removesuffix rsplit rstrip split splitlines startswith strip title upper"
    ),
    dict: _words("get items keys values"),
    list: _words("count index"),
    LoopContext: _words(
        "cycle depth first index index0 last length nextitem previtem revindex revindex0"
    ),
}
_left: ContextVar[int] = ContextVar("_left", default=EFFORT)


class TooMuch(TemplateRuntimeError):
    """The expression would make or read more than one evaluation may."""


@contextmanager
def spending() -> Iterator[None]:
    """Give an evaluation the whole of its effort."""
    token = _left.set(EFFORT)
    try:
        yield
    finally:
        _left.reset(token)


def pay(*values: object) -> None:
    """Spend the size of the values, counted through and through."""
    _spend(_weight(*values))


def _spend(amount: int) -> None:
    left = _left.get() - amount
    if left < 0:
        raise TooMuch(f"it makes or reads more than {EFFORT:,} characters and values: ask for less")
    _left.set(left)


def _weight(*values: object) -> int:
    # Values may hold one list a thousand times over: the count ends where it can be paid no more.
    weight, stack = 0, list(values)
    while stack and weight <= EFFORT:
        value = stack.pop()
        weight += 1
        if isinstance(value, str):
            weight += len(value)
        elif isinstance(value, int):
            weight += value.bit_length() // 30
        elif isinstance(value, dict):
            stack.extend(value)
            stack.extend(value.values())
        elif isinstance(value, list | tuple):
            stack.extend(value)
        elif isinstance(value, range | MappingView):
            weight += len(value)
    return weight


def plain(value: Any) -> Any:
    """Return the JSON value that an expression gave; what filters made lazily is made now."""
    if isinstance(value, Undefined):
        str(value)
    if isinstance(value, str):
        pay(value)
        return str(value)
    if value is None or isinstance(value, bool | int):
        pay(value)
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, dict):
        if strange := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"the key {strange[0]!r} is no text: put it in quotes")
        return {key: plain(inner) for key, inner in value.items()}
    # Filters give generators, and methods of dicts give views.
    if isinstance(value, Collection | Iterator):
        pay(None)
        return [plain(inner) for inner in value]
    raise TypeError(f"{value!r:.40} is no JSON value: give text, a number, a list or a mapping")


def _written(value: Any) -> str:
    # In the midst of text values look as they do in the file and in the answers of models.
    inner = plain(value)
    return inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)


class _Missing(StrictUndefined):
    """What is not there, in words that name what is."""

    @property
    def _undefined_message(self) -> str:
        obj, name = self._undefined_obj, self._undefined_name
        if self._undefined_hint:
            return self._undefined_hint
        if isinstance(obj, dict):
            keys = ", ".join(str(key) for key in list(obj)[:20]) or "nothing"
            return f"there is no {name!r} in it: there is {keys}"
        if obj is None:
            return f"there is no {name!r} in null: ask with `when` whether there is a value"
        return f"there is no {name!r} in it: a {type(obj).__name__} has no such part"


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2 without whatever could reach out, wait, guess or grow."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        # A block of text keeps its last line break; the rest of its space is the author's too.
        super().__init__(undefined=_Missing, keep_trailing_newline=True, finalize=_written)
        self.globals = {"range": _range}
        self.filters = {name: _paid(FILTERS[name]) for name in _KNOWN_FILTERS}
        self.filters |= {
            "join": _join,
            "replace": _replace,
            "round": _round,
            "tojson": _tojson,
            _PAID: _paid_once,
            _EACH: _each,
        }
        self.tests = {
            name: _paid(test) for name, test in TESTS.items() if name not in _UNKNOWN_TESTS
        }

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Say whether an expression may use a method or attribute of a value."""
        return any(isinstance(obj, kind) and attr in names for kind, names in _METHODS.items())

    def wrap_str_format(self, value: Any) -> None:
        """Leave `str.format` to `is_safe_attribute`: a few letters of it can make any amount of text."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return `obj.attribute`; a key of a dict comes before the dict's method of that name."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method or `range`, which pays for what it reads."""
        pay(getattr(function, "__self__", None), *args, *kwargs.values())
        return super().call(context, function, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Calculate, after paying for the result."""
        if operator == "%" and isinstance(left, str):
            raise TemplateRuntimeError("text is put together with ~, not with %")
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            _spend(left.bit_length() * abs(right) // 30)
        elif operator == "*":
            _spend(_times(left, right))
        else:
            pay(left, right)
        return super().call_binop(context, operator, left, right)


def _times(left: object, right: object) -> int:
    for many, count in ((left, right), (right, left)):
        if isinstance(many, str | list | tuple) and isinstance(count, int):
            return _weight(many) * max(count, 1)
    return _weight(left, right)


def _paid(function: Any) -> Callable[..., Any]:
    @functools.wraps(function)
    def paid(*args: Any, **kwargs: Any) -> Any:
        pay(*args, *kwargs.values())
        return function(*args, **kwargs)

    return paid


def _paid_once(value: Any) -> Any:
    pay(value)
    return value


def _each(values: Any) -> list[Any]:
    # A round costs more than a value: a loop over nothing much is work as well.
    rounds = list(values)
    _spend(100 * len(rounds))
    return rounds


def _range(*numbers: int) -> range:
    span = safe_range(*numbers)
    _spend(len(span))
    return span


def _join(values: Any, separator: str = "", attribute: str | None = None) -> str:
    listed = list(values)
    if attribute is not None:
        listed = [value[attribute] for value in listed]
    _spend(len(separator) * len(listed))
    return separator.join(_written(value) for value in listed)


def _replace(text: str, old: str, new: str) -> str:
    _spend(len(text) + str(text).count(old) * len(new))
    return str(text).replace(old, new)


def _round(value: float, precision: int = 0, method: Any = "common") -> float:
    if not 0 <= precision <= 15:
        raise TemplateRuntimeError(f"round to 0 to 15 places, not {precision}")
    return do_round(value, precision, method)


def _tojson(value: Any, indent: int | None = None) -> str:
    spaces = None if indent is None else max(0, min(indent, 8))
    return json.dumps(plain(value), ensure_ascii=False, indent=spaces)


# No expression can name these: they are put in by `guarded`.
_PAID = "<paid>"
_EACH = "<each>"


class _Guard(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = _filtered(node.iter, _EACH)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _filtered(node.expr, _PAID)
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, _PAID)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "join")


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def guarded(tree: nodes.Template) -> nodes.Template:
    """Return the tree in which loops, comparisons and `~` pay as filters do."""
    guarded_tree: nodes.Template = _Guard().visit(tree)
    return guarded_tree

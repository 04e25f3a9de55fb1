"""Expressions behind `when`, `until` and `foreach`, and the templates of prompts and arguments.

An expression may name:

    inputs.NAME                the inputs of the run
    steps.ID.output            what a step above gave; null if it was skipped or may fail and did
    steps.ID.status, .error    how it stands, and the words of its error; steps["my-id"] for dashes
    item                       with `foreach`: the item
    loop.index, loop.previous  with `loop`: the number of the round from 1, and the output of the
                               round before (null in the first); `until` is asked after each round
                               and sees that round in both. With `foreach` only the index
    run.id, .workflow, .started_at, .due, .trigger, .event
                               this run: when it was due, what started it, and the event's payload
    failure.step, .message     after a failure, in steps that run on it: the first one

A text that is one `{{ expression }}` gives the value as it is (list, number, ...); any other text
gives text. `{% if %}`, `{% for %}` and `{% set %}` work, and nothing else in `{% %}` does.

Invariant: nothing outside of the names given can be reached or changed; see `workflows.sandbox`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from jinja2 import Template, TemplateError, meta, nodes

from workflows.errors import InvalidExpression
from workflows.problem import nearest
from workflows.sandbox import Sandbox, guarded, pay, plain, spending

__all__ = [
    "RUN_NAMES",
    "Names",
    "decide",
    "fill",
    "gives_value",
    "is_expression",
    "items_of",
    "names_of",
]

RUN_NAMES = ("id", "workflow", "started_at", "due", "trigger", "event")

T = TypeVar("T")

_SANDBOX = Sandbox()
_STATEMENTS = (nodes.For, nodes.If, nodes.Assign, nodes.Output)
_OPENINGS = ("{{", "{%", "{#")


@dataclass(frozen=True)
class Names:
    """What expressions refer to: `("steps", "outline", "output")` for `steps.outline.output`."""

    paths: frozenset[tuple[str, ...]] = frozenset()

    @property
    def roots(self) -> frozenset[str]:
        """The first words, such as `steps` and `item`."""
        return frozenset(path[0] for path in self.paths)

    @property
    def steps(self) -> frozenset[str]:
        """The ids of the steps referred to."""
        return self.under("steps")

    @property
    def inputs(self) -> frozenset[str]:
        """The names of the inputs referred to."""
        return self.under("inputs")

    def under(self, root: str) -> frozenset[str]:
        """Return what is asked of `root`."""
        return frozenset(path[1] for path in self.paths if path[0] == root and len(path) > 1)


def is_expression(text: str) -> bool:
    """Say whether there is anything to evaluate in the text."""
    return any(opening in text for opening in _OPENINGS)


def gives_value(text: str) -> bool:
    """Say whether the text is one `{{ expression }}`, whose value keeps its type.

    A text that cannot be read is given the benefit of the doubt: `names_of` says what is wrong.
    """
    try:
        return _read(text, "").single
    except InvalidExpression:
        return True


def names_of(value: Any, *, step: str = "") -> Names:
    """Return what all texts in `value` refer to, nested ones included, without evaluating any.

    Raises `InvalidExpression` for what could never be evaluated: bad syntax, a filter or test that
    does not exist, a statement that is not allowed.
    """
    return Names(frozenset(path for text in _texts(value) for path in _read(text, step).paths))


def fill(value: Any, names: Mapping[str, Any], *, step: str = "") -> Any:
    """Return `value` with every text in it evaluated, in lists and dicts too (keys stay).

    `names` are plain JSON values. Raises `InvalidExpression` with the step and the expression.
    """
    if isinstance(value, str):
        return _evaluate(value, names, step)
    if isinstance(value, Mapping):
        return {key: fill(inner, names, step=step) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [fill(inner, names, step=step) for inner in value]
    return value


def decide(condition: str | bool, names: Mapping[str, Any], *, step: str = "") -> bool:
    """Return whether a `when` or `until` holds; raises `InvalidExpression` unless it gives a bool."""
    value = fill(condition, names, step=step)
    if not isinstance(value, bool):
        advice = "compare it, as in {{ inputs.count > 0 }}"
        raise InvalidExpression(
            step, str(condition), f"it gives {_shown(value)}, not true or false: {advice}"
        )
    return value


def items_of(value: str | list[Any], names: Mapping[str, Any], *, step: str = "") -> list[Any]:
    """Return the items of a `foreach`; raises `InvalidExpression` unless it gives a list."""
    items = fill(value, names, step=step)
    if not isinstance(items, list):
        raise InvalidExpression(
            step, str(value), f"it gives {_shown(items)}, not a list: name a list"
        )
    return items


@dataclass(frozen=True)
class _Read:
    """A text that was read: whether it is a single expression, and what it refers to."""

    paths: frozenset[tuple[str, ...]]
    single: bool = False
    template: Template | None = None


def _evaluate(text: str, names: Mapping[str, Any], step: str) -> Any:
    read = _read(text, step)
    if read.template is None:
        return text
    if unknown := sorted({path[0] for path in read.paths}.difference(names)):
        known = ", ".join(sorted(names)) or "nothing"
        raise InvalidExpression(step, text, f"{unknown[0]!r} is not known here: there is {known}")
    return _refusing(lambda: _result(read, names), text, step)


def _result(read: _Read, names: Mapping[str, Any]) -> Any:
    assert read.template is not None
    with spending():
        if not read.single:
            # Also the text between expressions pays: a loop may repeat it.
            return "".join(_paid(piece) for piece in read.template.generate(dict(names)))
        context = read.template.new_context(dict(names))
        for _ in read.template.root_render_func(context):
            pass
        return plain(context.vars["result"])


def _paid(piece: str) -> str:
    pay(piece)
    return piece


def _read(text: str, step: str) -> _Read:
    if not is_expression(text):
        return _Read(frozenset())
    return _refusing(lambda: _compiled(text), text, step)


@lru_cache(maxsize=1024)
def _compiled(text: str) -> _Read:
    tree = _SANDBOX.parse(text)
    single = _single(_SANDBOX.parse(text.strip()))
    _check(tree)
    paths = _paths(tree)
    if single is not None:
        result = nodes.Assign(nodes.Name("result", "store"), single, lineno=1)
        tree = nodes.Template([result], lineno=1)
    with spending():
        tree = guarded(tree)
        tree.set_environment(_SANDBOX)
        return _Read(paths, single is not None, _SANDBOX.from_string(tree))


def _single(tree: nodes.Template) -> nodes.Expr | None:
    """Return the expression if there is one and nothing else."""
    match tree.body:
        case [nodes.Output(nodes=[nodes.Expr() as only])] if not isinstance(
            only, nodes.TemplateData
        ):
            return only
    return None


def _check(tree: nodes.Template) -> None:
    for statement in tree.find_all(nodes.Stmt):
        if not isinstance(statement, _STATEMENTS):
            word = type(statement).__name__.lower()
            raise TemplateError(f"{{% {word} %}} is not allowed here: use if, for and set")
    for loop in tree.find_all(nodes.For):
        if loop.recursive:
            raise TemplateError("a recursive loop is not allowed here: drop the word recursive")
    for kind, known in ((nodes.Filter, _SANDBOX.filters), (nodes.Test, _SANDBOX.tests)):
        for used in tree.find_all(kind):
            if used.name not in known:
                raise TemplateError(_no_such(kind.__name__.lower(), used.name, known))


def _no_such(kind: str, name: str, known: Collection[str]) -> str:
    names = [each for each in known if each.isalpha() and len(each) > 1]
    return f"there is no {kind} {name!r}: {nearest(name, names)}"


def _paths(tree: nodes.Template) -> frozenset[tuple[str, ...]]:
    roots = meta.find_undeclared_variables(tree) - set(_SANDBOX.globals)
    found: set[tuple[str, ...]] = set()
    stack: list[nodes.Node] = [tree]
    while stack:
        node = stack.pop()
        path, rest = _chain(node)
        if path and path[0] in roots:
            found.add(path)
        stack.extend(rest)
    return frozenset(found)


def _chain(node: nodes.Node) -> tuple[tuple[str, ...], list[nodes.Node]]:
    """Return `a.b["c"]` as its words (none, if it is no such chain), and what is left to look at."""
    words: list[str] = []
    rest: list[nodes.Node] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getattr):
            words.append(node.attr)
        elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            words.append(node.arg.value)
        else:
            # Whatever comes after an index that is calculated cannot be told on paper.
            words.clear()
            rest.append(node.arg)
        node = node.node
    if isinstance(node, nodes.Name):
        return (node.name, *reversed(words)), rest
    return (), [*rest, *node.iter_child_nodes()]


def _refusing(work: Callable[[], T], text: str, step: str) -> T:
    try:
        return work()
    except RecursionError:
        reason = "it is nested too deep: make it simpler"
    # A filter may meet any value, and so raise anything.
    except Exception as error:
        reason = str(error) or type(error).__name__
    raise InvalidExpression(step, text, reason)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."

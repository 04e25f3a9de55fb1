"""`calculate`: arithmetic, and nothing that only looks like it.

Invariant: an expression is read as a tree of numbers, operators and a few functions; no name of
Python is ever looked up, and no number grows beyond `_MOST_BITS`.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from typing import Any

from agents.errors import ToolFailed, ToolRefused

__all__ = ["calculate"]

Number = int | float

_EQUALS = re.compile(r"(?<![=<>!])=(?!=)")
_LONGEST = 500
_DEEPEST = 50
_MOST_BITS = 2048
_MOST_DIGITS = 15


def _round(number: Number, digits: int = 0) -> Number:
    if not -_MOST_DIGITS <= digits <= _MOST_DIGITS:
        raise ValueError(f"round to at most {_MOST_DIGITS} digits")
    return round(number, digits) if digits else round(number)


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "min": min, "max": max, "round": _round, "floor": math.floor, "ceil": math.ceil,
    "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "log2": math.log2, "log10": math.log10,
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "degrees": math.degrees,
    "radians": math.radians,
}  # fmt: skip
_CONSTANTS = {"pi": math.pi, "e": math.e}


def calculate(expression: str) -> str:
    """Calculate with numbers: + - * / // % ** and functions such as sqrt, log, round, min, max.

    Args:
        expression: What to calculate, such as (3 + 4) * 12 / 100.
    """
    if len(expression) > _LONGEST:
        raise ToolRefused(f"an expression has at most {_LONGEST} letters, not {len(expression)}")
    try:
        # People write powers with ^, and models what they think will come out behind a sign of equality.
        words = _EQUALS.split(expression.replace("^", "**"))[0]
        tree = ast.parse(words.strip(), mode="eval")
        return _shown(_value(tree.body, 0))
    except (SyntaxError, RecursionError, MemoryError):
        raise ToolFailed(
            f"{expression[:80]!r} is not arithmetic: write it as 3 * (4 + 5)"
        ) from None
    except ZeroDivisionError:
        raise ToolFailed("it divides by zero") from None
    except OverflowError:
        raise ToolRefused("the number grows too large") from None
    except (TypeError, ValueError) as error:
        raise ToolFailed(f"it has no value: {error}") from None


def _value(node: ast.AST, depth: int) -> Number:
    if depth > _DEEPEST:
        raise ToolRefused(f"the expression is nested more than {_DEEPEST} deep")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _bounded(_UNARY[type(op)](_value(operand, depth + 1)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _binary(op, _value(left, depth + 1), _value(right, depth + 1))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_FUNCTIONS[name](*[_value(given, depth + 1) for given in args]))
    raise ToolFailed(
        f"{ast.unparse(node)[:60]!r} is not arithmetic: use numbers, operators, pi, e and "
        f"{', '.join(_FUNCTIONS)}"
    )


def _binary(op: ast.operator, left: Number, right: Number) -> Number:
    powers = isinstance(op, ast.Pow) and isinstance(left, int) and isinstance(right, int)
    # Known before it is made: a tower of powers would fill the memory.
    if powers and int(left).bit_length() * max(int(right), 0) > _MOST_BITS:
        raise OverflowError
    return _bounded(_BINARY[type(op)](left, right))


def _bounded(number: Any) -> Number:
    if isinstance(number, int):
        if number.bit_length() > _MOST_BITS:
            raise OverflowError
        return number
    if not isinstance(number, float):
        raise ToolFailed(f"{number!r:.40} is no real number")
    if not math.isfinite(number):
        raise OverflowError
    return number


def _shown(number: Number) -> str:
    # As people calculate: 0.1 + 0.2 is 0.3.
    return str(number) if isinstance(number, int) else f"{number:.{_MOST_DIGITS}g}"

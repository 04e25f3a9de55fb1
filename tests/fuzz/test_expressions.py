"""Expressions: whatever is written and whatever it meets, it gives a JSON value or one error, soon."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.doors import fuzzed, jsonish, taken, texts
from workflows.conditions import decide, fill, items_of, names_of

NAMES: dict[str, Any] = {
    "inputs": {"count": 3, "text": "abc", "list": [1, "two", None, {"a": 4}], "big": "x" * 1000},
    "item": {"__class__": "mine", "n": 1},
}

words = st.sampled_from(
    ["inputs", "item", "nobody", ".count", ".text", ".list", ".__class__", ".__globals__", "['a']",
     "[0]", "[-1:]", "(", ")", "|", "upper", "join", "length", "sort", "map", "attribute", "list",
     "format", "attr", "range(9)", "range(10**9)", "+", "-", "*", "**", "//", "%", "~", "==", "in",
     "not", "is", "defined", "if", "else", "'a'", "9", "99999999", "1e308", "[]", "{}", ",", ":",
     "true", "none", "loop", "self", "joiner", "cycler", "lipsum", "dict", "namespace", "x", "y"],
)  # fmt: skip
inside = st.lists(words, max_size=12).map(" ".join)
wholes = (
    inside.map(lambda text: f"{{{{ {text} }}}}")
    | st.tuples(inside, inside).map(lambda p: f"{{% if {p[0]} %}}{p[1]}{{% endif %}} {{{{ {p[1]} }}}}")
    | st.tuples(inside, inside).map(lambda p: f"{{% for x in {p[0]} %}}{{{{ {p[1]} }}}}{{% endfor %}}")
    | st.tuples(texts, inside).map(lambda p: f"{p[0]}{{{{ {p[1]}")
    | texts
)  # fmt: skip


@fuzzed
@given(wholes, jsonish)
def test_an_expression_gives_json_or_is_refused(text: str, value: Any) -> None:
    begun = time.monotonic()
    taken(lambda: names_of(text))
    for door in (fill, decide, items_of):
        result = taken(lambda door=door: door(text, {**NAMES, "x": value}))  # type: ignore[misc]
        json.dumps(result, allow_nan=False) if "NaN" not in repr(result) else None
    assert time.monotonic() - begun < 5


#: What would reach out, take for ever, or fill the memory.
TRAPS = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ inputs['__class__'] }}",
    "{{ inputs|attr('__class__') }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ '{:999999999d}'.format(1) }}",
    "{{ '{0:{1}}'.format(1, 99999999) }}",
    "{{ '{0.__class__}'.format(inputs) }}",
    "{{ '%s' % inputs }}",
    "{{ '{a:>99999999}'.format_map({'a': 1}) }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ inputs.__init__ }}",
    "{{ [].append(1) }}",
    "{{ range(10**9)|list }}",
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ [0] * 10**9 }}",
    "{{ 9**(9**9) }}",
    "{{ 2**(2**30) }}",
    "{{ (2**99999) ** 99999 }}",
    "{{ '%0999999999d' % 1 }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a'|center(10**9) }}",
    "{{ 'a'|indent(10**9) }}",
    "{{ 1|round(10**9) }}",
    "{{ 'a'.replace('', 'b' * 10**6) * 10**6 }}",
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}"
    "{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in range(9999) %}{{ inputs.big }}{{ inputs.big }}{{ inputs.big }}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% for a in [[1]] recursive %}{{ loop([a]) }}{% endfor %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    "{{ " + "-" * 5000 + "1 }}",
    "{{ " + "not " * 5000 + "true }}",
    "{{ 1" + " + 1" * 5000 + " }}",
    "{{ " + "[" * 500 + "]" * 500 + " }}",
    "{% if 1 %}" * 500 + "{% endif %}" * 500,
    "{{ " + "9" * 5000 + " }}",
    "{{ '\\ud800' }}{{ nobody }}",
]


#: What looks like one: the value is as it should be, and small.
HARMLESS = {
    "{{ 9**9**9 }}": 9**9**2,
    "{{ [1]|tojson(10**9) }}": "[\n        1\n]",
    "{% set x = inputs.text %}{% for a in range(9) %}{% set x = x ~ x %}{{ x|length }}{% endfor %}": "6"
    * 9,
}


@pytest.mark.parametrize("text", HARMLESS)
def test_what_looks_like_a_trap(text: str) -> None:
    assert fill(text, NAMES) == HARMLESS[text]


@pytest.mark.parametrize("text", TRAPS)
def test_a_trap_costs_little(text: str) -> None:
    tracemalloc.start()
    begun = time.monotonic()
    try:
        result = taken(lambda: fill(text, NAMES))
        assert result is None
        assert tracemalloc.get_traced_memory()[1] < 500 * 2**20
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begun < 20


@fuzzed
@given(jsonish)
@example({"a": [1, {"b": "{{ item.n }}"}]})
def test_what_holds_no_expression_stays_as_it_is(value: Any) -> None:
    assert json.dumps(taken(lambda: fill(value, NAMES))) is not None

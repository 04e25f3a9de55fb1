from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.conditions import Names, decide, fill, is_expression, items_of, names_of
from workflows.errors import InvalidExpression, WorkflowError

NAMES: dict[str, Any] = {
    "inputs": {"topic": "bees", "depth": 3, "deep": {"list": [1, 2], "items": "own"}},
    "steps": {
        "outline": {"output": ["a", "b"], "status": "success", "error": None},
        "my-step": {"output": None, "status": "skipped", "error": None},
    },
    "item": {"name": "n", "size": 2},
    "run": {"id": "1"},
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ inputs.depth }}", 3),
        ("{{ inputs.depth * 2 + 1 }}", 7),
        ("  {{ inputs.deep.list }}\n", [1, 2]),
        ("{{ steps.outline.output }}", ["a", "b"]),
        ('{{ steps["my-step"].output }}', None),
        ("{{ inputs.depth > 2 and inputs.topic == 'bees' }}", True),
        ("{{ 2 ** 10 }}", 1024),
        ("{{ {'a': inputs.depth} }}", {"a": 3}),
        ("{{ steps.outline.output | map('upper') }}", ["A", "B"]),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ item.keys() }}", ["name", "size"]),
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ inputs.nothing | default('x') }}", "x"),
        ("{{ inputs.nothing is defined }}", False),
        ("{{ 'tit' ~ 1 ~ none }}", "tit1null"),
        ("{{ 7 | round(1) / 2 }}", 3.5),
        ("{{ 'a-b' | replace('-', '+') }}", "a+b"),
        ("{{ [1, 2] | tojson }}", "[1, 2]"),
        ("{{ [item] | join(',', 'name') }}", "n"),
        ("{{ '  s ' | trim }}", "s"),
        ("{{ '{{' }}", "{{"),
        # A key of the data comes before the method of that name.
        ("{{ inputs.deep.items }}", "own"),
        ("{{ inputs['depth'] }}{{ '' }}", "3"),
        ("n {{ inputs.depth }}, {{ inputs.deep.list }} {{ none }} {{ true }}", "n 3, [1, 2] null true"),
        ("{% if inputs.depth > 2 %}deep{% else %}flat{% endif %}", "deep"),
        ("{% for s in steps.outline.output %}{{ loop.index }}{{ s }}{% endfor %}\n", "1a2b\n"),
        ("{% set n = inputs.depth %}{{ n + 1 }}", "4"),
        ("no expression }}", "no expression }}"),
        ("{# a remark #}", ""),
    ],
)  # fmt: skip
def test_a_single_expression_gives_its_value_and_other_text_gives_text(
    text: str, value: object
) -> None:
    filled = fill(text, NAMES)

    assert filled == value
    assert type(filled) is type(value)


@given(json_values)
def test_values_pass_unchanged(value: Any) -> None:
    assert fill("{{ inputs.x }}", {"inputs": {"x": value}}) == value


@given(json_values)
def test_values_without_expressions_stay_as_they_are(value: Any) -> None:
    if not any(is_expression(text) for text in _texts(value)):
        assert fill(value, {}) == value


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def test_nested_values_are_filled_and_keys_are_not() -> None:
    given = {"a": ["{{ item.name }}", {"{{ b }}": "{{ item.size }}"}], "c": 1, "d": None}

    assert fill(given, NAMES) == {"a": ["n", {"{{ b }}": 2}], "c": 1, "d": None}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ imputs.depth }}", "'imputs' is not known here: there is inputs, item, run, steps"),
        ("{{ item.nmae }}", "there is no 'nmae' in it: there is name, size"),
        ("a {{ item['nmae'] }}", "there is no 'nmae' in it: there is name, size"),
        ('{{ steps["my-step"].output.text }}', "there is no 'text' in null: ask with `when`"),
        ("{{ inputs.topic.wings }}", "there is no 'wings' in it: a str has no such part"),
        ("{{ [item.nmae] }}", "there is no 'nmae' in it"),
        ("{{ [item] | map(attribute='x') }}", "no 'x' in it"),
        ("{{ inputs.depth | uper }}", "there is no filter 'uper': did you mean 'upper'?"),
        ("{{ inputs.depth is evn }}", "there is no test 'evn': did you mean 'even'?"),
        ("{{ inputs.topic | zzz }}", "there is no filter 'zzz': there is abs, "),
        ("{{ inputs. }}", "expected name or number"),
        ("{{ inputs.depth", "unexpected end of template"),
        ("{% if true %}", "Unexpected end of template"),
        ("{% include 'x' %}", "{% include %} is not allowed here: use if, for and set"),
        ("{% macro f() %}{% endmacro %}", "{% macro %} is not allowed here"),
        ("{% for x in [1] recursive %}{% endfor %}", "drop the word recursive"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ {1: 2} }}", "the key 1 is no text: put it in quotes"),
        ("{{ inputs.topic.upper }}", "is no JSON value"),
        ("{{ 1e308 * 10 }}", "is no JSON value"),
        ("{{ '%s' % 1 }}", "text is put together with ~, not with %"),
        ("{{ 1.5 | round(400) }}", "round to 0 to 15 places, not 400"),
    ],
)
def test_what_cannot_be_evaluated_names_step_expression_and_reason(text: str, words: str) -> None:
    with pytest.raises(InvalidExpression) as caught:
        fill([text], NAMES, step="sections")

    assert str(caught.value).startswith(f"step 'sections': {text}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (caught.value.step, caught.value.expression) == ("sections", text)
    assert isinstance(caught.value, WorkflowError)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ inputs.__init__.__globals__ }}",
        "{{ ''.format.__self__ }}",
        "{{ '{0.__class__}'.format(item) }}",
        "{{ item.pop('name') }}",
        "{{ item.update({'x': 1}) }}",
        "{{ steps.outline.output.append('c') }}",
        "{{ (1).real }}",
        "{{ cycler(1) }}",
        "{{ lipsum() }}",
        "{{ namespace() }}",
        "{{ self }}",
        "{{ inputs | attr('__class__') }}",
        "{{ [inputs] | map(attribute='__class__') }}",
        "{{ 'x' | random }}",
        "{{ range.__self__ }}",
        "{% for x in [1] %}{{ loop.__init__ }}{% endfor %}",
    ],
)
def test_nothing_behind_the_values_can_be_reached_or_changed(text: str) -> None:
    before = repr(NAMES)

    with pytest.raises(InvalidExpression):
        fill(text, NAMES)
    assert repr(NAMES) == before


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 10 ** 9 }}",
        "{{ 10 ** 9 * 'a' }}",
        "{{ [1] * 10 ** 9 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ range(10 ** 9) }}",
        "{{ range(100000) | list | length * range(100000) | list }}",
        "{{ 'a' | center(10 ** 9) }}",
        "{{ 'a'.ljust(10 ** 9) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ 'aaaa' | replace('a', 'b' * 9000000) }}",
        "{{ (['a' * 9000] * 9000) | join }}",
        "{{ ([['a' * 900] * 900] * 900) | string }}",
        "{{ ('a' * 9000000) ~ ('a' * 9000000) }}",
        "{{ range(100000) | map('default', 'a' * 9000) }}",
        "{{ [1, 2] | join('-' * 9000000) }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}" + "long text " * 99 + "{% endfor %}",
        "{% set n = range(9999) %}{% for a in n %}{{ '' if 'a' in n else 'b' }}{% endfor %}",
        "{% set a = 'x' * 9000 %}{% for b in range(9999) %}{{ '' if a.upper() }}{% endfor %}",
        "{{ [['x' * 9000] * 9000] }}",
    ],
)
def test_no_expression_is_endless(text: str) -> None:
    started = time.monotonic()

    with pytest.raises(InvalidExpression):
        fill(text, NAMES)
    assert time.monotonic() - started < 10


def test_what_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(InvalidExpression, match="nested too deep"):
        fill("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", NAMES)


@pytest.mark.parametrize("condition", [True, "{{ inputs.depth == 3 }}", "{{ true }} "])
def test_a_condition_decides(condition: str | bool) -> None:
    assert decide(condition, NAMES) is True


@pytest.mark.parametrize(
    ("condition", "shown"),
    [
        ("{{ inputs.depth }}", "3"),
        ("{{ inputs.topic }}", "'bees'"),
        ("inputs.depth > 2", "'inputs.depth > 2'"),
        ("{{ true }} x", "'true x'"),
        ("{{ 'x' * 100 }}", "'" + "x" * 56 + "..."),
    ],
)
def test_a_condition_that_gives_no_bool_is_refused(condition: str, shown: str) -> None:
    with pytest.raises(InvalidExpression) as caught:
        decide(condition, NAMES, step="publish")
    assert str(caught.value) == (
        f"step 'publish': {condition}: it gives {shown}, not true or false: "
        "compare it, as in {{ inputs.count > 0 }}"
    )


def test_foreach_takes_a_list_and_nothing_else() -> None:
    assert items_of("{{ steps.outline.output }}", NAMES) == ["a", "b"]
    assert items_of([1, "{{ inputs.depth }}"], NAMES) == [1, 3]
    with pytest.raises(InvalidExpression, match=r"step 'x': .*it gives 'bees', not a list: name"):
        items_of("{{ inputs.topic }}", NAMES, step="x")


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ("text", []),
        (5, []),
        ("{{ inputs.topic }} {{ steps.a.output.x[0].y }}", ["inputs.topic", "steps.a.output.x"]),
        ({"a": ["{{ item }}", {"b": '{{ steps["my-step"].error }}'}]}, ["item", "steps.my-step.error"]),
        ("{% for s in steps.a.output %}{{ s.x }}{{ loop.index }}{% endfor %}", ["steps.a.output"]),
        ("{% set x = inputs.a %}{{ x.y }}", ["inputs.a"]),
        ("{{ steps[item.name].output }}", ["item.name", "steps"]),
        ("{{ inputs.a if inputs.b else range(inputs.c) }}", ["inputs.a", "inputs.b", "inputs.c"]),
        ("{{ inputs.a.upper() | default(inputs.d) }}", ["inputs.a.upper", "inputs.d"]),
        ("{{ steps.my-step.output }}", ["step.output", "steps.my"]),
        ("{{ (inputs.a ~ run.id).x }}", ["inputs.a", "run.id"]),
    ],
)  # fmt: skip
def test_what_an_expression_refers_to_is_known_on_paper(value: Any, paths: list[str]) -> None:
    assert sorted(".".join(path) for path in names_of(value).paths) == paths


def test_names_are_told_by_kind() -> None:
    names = names_of("{{ inputs.a + steps.b.output + steps.c.output + item }}")

    assert names.roots == {"inputs", "steps", "item"}
    assert names.steps == {"b", "c"}
    assert names.inputs == {"a"}
    assert Names().roots == frozenset()


def test_what_could_never_be_evaluated_is_refused_on_paper() -> None:
    with pytest.raises(InvalidExpression, match=r"^step 's': \{\{ inputs\.a \| zzz \}\}: there is"):
        names_of(["{{ inputs.a | zzz }}"], step="s")
    with pytest.raises(InvalidExpression, match="not allowed"):
        names_of("{% block x %}{% endblock %}")


def test_a_long_expression_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidExpression) as caught:
        fill("{{ item.x }}" + " words\n" * 50, NAMES)
    assert len(str(caught.value)) < 250

"""Branch lines, read back into the graph that they were drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from celery_app.cli.branch_lines import MOST_LANES, Branch, branches


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    count = draw(st.integers(0, 25))
    needs: dict[str, list[str]] = {}
    for number in range(count):
        earlier = st.lists(st.sampled_from(sorted(needs) or [""]), unique=True, max_size=3)
        needs[f"n{number}"] = draw(earlier) if needs else []
    return needs


def read_back(lines: Mapping[str, Branch]) -> dict[str, set[str]]:
    """What each node needs, by the lines alone: its lane, and where lines lead to the side."""
    owners: dict[int, str] = {}
    above = ""
    found: dict[str, set[str]] = {}
    for node, branch in lines.items():
        row = branch.left + "*" + branch.right
        column = len(branch.left)
        joined = {place for place, sign in enumerate(row) if sign in "├┤┼└┘┴"}
        if above[column : column + 1] == "│":
            joined.add(column)
        found[node] = {owners[place] for place in joined}
        owners[column] = node
        above = branch.below
    return found


@given(graphs())
def test_the_graph_can_be_read_back(needs: dict[str, list[str]]) -> None:
    lines = branches(needs)
    if lines is not None:
        assert read_back(lines) == {node: set(needed) for node, needed in needs.items()}
        assert len({len(b.left + b.right) for b in lines.values()}) <= 1


@given(graphs())
def test_what_needs_nothing_never_stands_below_another_mark(needs: dict[str, list[str]]) -> None:
    previous = None
    for node, branch in (branches(needs) or {}).items():
        if not needs[node]:
            assert len(branch.left) != previous
        previous = len(branch.left)


def test_a_chain_is_one_lane_and_a_diamond_two() -> None:
    assert drawn({"a": [], "b": ["a"], "c": ["b"]}) == ["*", "*", "*"]
    diamond = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    assert drawn(diamond) == ["*", "├─*", "* │", "*─┘"]


def test_a_line_that_crosses_a_lane_has_gaps_beside_it() -> None:
    assert drawn({"a": [], "b": [], "c": [], "d": ["a", "c"], "e": ["b", "d"]}) == [
        "*", "│ *", "│ │ *", "*─│─┘", "*─┘",
    ]  # fmt: skip


def test_too_many_lanes_are_not_drawn() -> None:
    nodes = [f"n{number}" for number in range(MOST_LANES + 1)]
    needs: dict[str, Sequence[str]] = {**{node: [] for node in nodes}, "end": nodes}
    assert branches(needs) is None


def drawn(needs: Mapping[str, Sequence[str]]) -> list[str]:
    return [(b.left + "*" + b.right).rstrip() for b in (branches(needs) or {}).values()]

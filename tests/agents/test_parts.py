from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.parts import MOST_PARTS, divide
from workflows.task import TaskInput

LETTERS = st.text("ab #\n.", max_size=200)


def names(*texts: str, reads: int = 900) -> list[str]:
    inputs = [TaskInput(name=f"{number}.md", text=text) for number, text in enumerate(texts)]
    return [part.name for part in divide(inputs, reads)]


def test_at_the_highest_headings_that_repeat() -> None:
    text = "# Title\n\n## One ##\nx\n### Deep\ny\n## Two\nz\n"
    parts = divide([TaskInput(name="a.md", text=text)], 900)
    assert [(part.name, part.text) for part in parts] == [
        ("One", "x\n### Deep\ny"),
        ("Two", "z"),
    ]


def test_what_stands_before_the_first_heading_is_a_part() -> None:
    assert names("# Title\n\nHello.\n\n## One\nx\n## Two\ny") == ["Opening", "One", "Two"]


def test_equal_headings_and_empty_ones() -> None:
    assert names("# A\nx\n# A\ny\n# B\n\n# A (2)\nz") == ["A", "A (2)", "A (2) (2)"]


def test_code_holds_no_headings() -> None:
    assert names("```\n# a\n# b\n```\n") == ["0.md"]


def test_several_inputs_are_the_parts() -> None:
    assert names("# A\nx\n# B\ny", "z") == ["0.md", "1.md"]


def test_without_headings_only_what_is_too_long_is_divided() -> None:
    assert names("A short text.") == ["0.md"]
    assert names("A sentence. " * 60, reads=100) == [f"0.md, {n} of 3" for n in (1, 2, 3)]


def test_nothing() -> None:
    assert names() == []


def test_too_many_are_gathered() -> None:
    text = "".join(f"# {number}\nText {number}.\n" for number in range(30))
    parts = divide([TaskInput(name="a.md", text=text)], 900)
    assert len(parts) == MOST_PARTS
    assert parts[0].name == "0 … 1"
    together = " ".join(part.text for part in parts)
    assert all(f"Text {number}." in together for number in range(30))


@given(st.lists(LETTERS, max_size=20), st.integers(5, 60))
def test_no_word_is_lost_and_no_name_is_there_twice(texts: list[str], reads: int) -> None:
    inputs = [TaskInput(name=f"n{at}", text=text) for at, text in enumerate(texts)]
    parts = divide(inputs, reads)
    assert len({part.name for part in parts}) == len(parts) <= MOST_PARTS
    given_words = sum(text.count("b") for text in texts)
    kept = sum(part.text.count("b") for part in parts)
    headings = sum(
        line.count("b") for text in texts for line in text.splitlines() if line.startswith("#")
    )
    assert given_words - headings <= kept <= given_words

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.context import estimate_tokens
from agents.model import ChatRequest
from agents.quoting import QuoteForm, choices_of, longest_quote
from agents.sentences import first_sentences, paragraphs, stands_alone, whole_sentences

PROSE = st.lists(
    st.sampled_from(
        ["The cat sat. ", "It slept. ", "Why? ", "“Go!” he said. ", "e.g. ", "no end", "\n\n"]
    ),
    max_size=30,
).map("".join)


def test_sentences_of_paragraphs() -> None:
    text = (
        "# Title\n\nDr. Lee paid 4.20 euros.\nIt was\nenough! “Really?” A. B. Cole asked.\n\n"
        "- one thing\n- two things\n\n| a | table |\n"
    )
    assert paragraphs(text) == [
        ["Dr. Lee paid 4.20 euros.", "It was enough!", "“Really?”", "A. B. Cole asked."],
        ["one thing"],
        ["two things"],
    ]


@pytest.mark.parametrize(
    ("sentence", "alone"),
    [("The rest came later.", False), ("It rained.", False), ("Items fell.", True), ("So?", False)],
)
def test_leaning_sentences(sentence: str, alone: bool) -> None:
    assert stands_alone(sentence) is alone


def test_limits_of_free_text() -> None:
    text = "One. Two! Three? And fo"
    assert first_sentences(text, 2) == "One. Two!"
    assert first_sentences(text, 9) == text
    assert whole_sentences(text) == "One. Two! Three?"
    assert whole_sentences("no end") == ""


def test_one_group_for_each_stretch() -> None:
    text = "Ann came. She sat. Ben left.\n\nIt rained.\n\nCats slept. Dogs ran."
    assert choices_of(text, 3) == [
        ["Ann came.", "Ben left."],
        ["It rained."],
        ["Cats slept.", "Dogs ran."],
    ]
    assert choices_of("Ann came. Ben left. Cy sat. Di ran.", 2) == [
        ["Ann came.", "Ben left."],
        ["Cy sat.", "Di ran."],
    ]
    assert choices_of("# Only a heading", 3) == []
    assert choices_of("x" * 500 + ".", 3) == []


@given(PROSE, st.integers(1, 4))
def test_choices_stand_in_the_text_and_nowhere_twice(text: str, most: int) -> None:
    groups = choices_of(text, most)
    assert len(groups) <= most
    offered = [sentence for group in groups for sentence in group]
    assert len(set(offered)) == len(offered)
    assert all(group for group in groups)
    assert all(sentence in " ".join(text.split()) for sentence in offered)


@given(PROSE, st.integers(1, 4))
def test_any_choice_is_read_and_has_room(text: str, most: int) -> None:
    groups = choices_of(text, most)
    quoting = QuoteForm(groups)
    longest = {str(at): max(group, key=estimate_tokens) for at, group in enumerate(groups, 1)}
    assert quoting.form().read(longest) == " ".join(longest.values())
    room = quoting.sized(ChatRequest("m", ())).options.num_predict
    assert estimate_tokens(json.dumps(longest, ensure_ascii=False)) <= room + 12
    assert room <= longest_quote(most)


@pytest.mark.parametrize("answer", [[], {}, {"1": "Ann went."}, {"1": None}])
def test_anything_else_is_refused(answer: object) -> None:
    with pytest.raises(ValueError):
        QuoteForm([["Ann came."]]).form().read(answer)

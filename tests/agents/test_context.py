from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.context import ensure_fits, estimate_tokens, split
from agents.errors import ContextOverflow
from agents.model import ChatOptions, ChatRequest, Message

WORDS = st.lists(
    st.sampled_from(
        ["word ", "A sentence. ", "\n\n", "## Heading\n", "häß ", "漢字", "x" * 40, "\n"]
    ),
    max_size=60,
).map("".join)


@given(WORDS, st.integers(1, 60))
def test_pieces_are_the_text_and_fit(text: str, room: int) -> None:
    pieces = split(text, room)
    assert "".join(pieces) == text
    assert all(estimate_tokens(piece) <= room for piece in pieces)
    assert all(pieces) or not text


@given(WORDS, st.integers(1, 60))
def test_neighbours_share_a_piece_where_they_fit(text: str, room: int) -> None:
    if estimate_tokens(text) <= room:
        assert split(text, room) == [text]


def test_boundaries_in_their_order() -> None:
    text = "# One\n\nFirst here. Second here.\n\nThird.\n\n# Two\n\nEnd.\n"
    assert split(text, 12) == [
        "# One\n\nFirst here. Second here.\n\n",
        "Third.\n\n",
        "# Two\n\nEnd.\n",
    ]
    assert split("First here. Second here.", 5) == ["First here. ", "Second here."]
    assert split("one two three", 4) == ["one two ", "three"]
    assert split("漢字漢字", 3) == ["漢字漢", "字"]


def test_other_scripts_count_more() -> None:
    assert estimate_tokens("abcdef") == 2
    assert estimate_tokens("漢字") == 2


def test_no_room_is_an_error() -> None:
    with pytest.raises(ContextOverflow, match="room for 0 tokens"):
        split("text", 0)


@pytest.mark.parametrize(("letters", "fits"), [(3 * 82, True), (3 * 82 + 1, False)])
def test_prompt_and_answer_must_fit(letters: int, fits: bool) -> None:
    options = ChatOptions(num_ctx=100, num_predict=10)
    request = ChatRequest("m", (Message("user", "x" * letters),), options=options)
    if fits:
        ensure_fits(request)
    else:
        with pytest.raises(ContextOverflow, match="up to 1 tokens more than num_ctx 100"):
            ensure_fits(request)

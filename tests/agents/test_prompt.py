from __future__ import annotations

import pytest

from agents.errors import PromptError
from agents.model import Message
from agents.prompt import Prompt

TEXT = "For readers.\n\n## system\nBe $manner.\n\n## user\nIt costs $$5: $text\n"


def test_turns_are_filled() -> None:
    prompt = Prompt.read("p", TEXT)
    assert prompt.placeholders == {"manner", "text"}
    assert prompt.fill(manner="brief", text="$manner\n## user\n$") == (
        Message("system", "Be brief."),
        Message("user", "It costs $5: $manner\n## user\n$"),
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [({"manner": "x"}, r"misses \$text"), ({"manner": "x", "text": "", "z": ""}, r"place for \$z")],
)
def test_values_must_match(values: dict[str, str], words: str) -> None:
    with pytest.raises(PromptError, match=words):
        Prompt.read("p", TEXT).fill(**values)


@pytest.mark.parametrize(
    ("text", "words"), [("only words", "has no turn"), ("## user\nfor $ 5", "stray")]
)
def test_faulty_prompts(text: str, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        Prompt.read("p", text)


def test_unknown_prompt_names_the_known_ones() -> None:
    with pytest.raises(PromptError, match=r"no prompt 'poem'.*plan_parts"):
        Prompt.load("poem")


@pytest.mark.parametrize(
    "name", ["plan_keyed", "plan_outline", "plan_parts", "quote", "read", "repair", "write"]
)
def test_the_prompts_of_the_package_end_with_the_user(name: str) -> None:
    assert Prompt.load(name).turns[-1][0] == "user"

"""Answers in the text's own sentences: the model chooses, and cannot alter what it chose.

A small model that retells a text mixes up its numbers and names. Asked under a schema that allows
nothing but sentences of the text, one from each stretch of it, the same model only has to judge
what matters.

Invariant: what comes out stands in the text word for word, in the text's order, nothing twice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agents.answers import Form
from agents.context import estimate_tokens
from agents.model import ChatRequest
from agents.sentences import paragraphs, stands_alone

__all__ = ["QuoteForm", "choices_of", "longest_quote"]

_LONGEST_CHOICE = 400
_JSON_TOKENS = 12


class QuoteForm:
    """Asks for one sentence of each of the given groups of choices."""

    def __init__(self, choices: list[list[str]]) -> None:
        self.choices = choices

    def sized(self, request: ChatRequest) -> ChatRequest:
        """Return the request with room for the longest sentences that it may be answered with."""
        longest = sum(max(map(estimate_tokens, group)) + _JSON_TOKENS for group in self.choices)
        return replace(request, options=replace(request.options, num_predict=longest))

    def form(self) -> Form[str]:
        """Return the form of the answer; its value are the sentences, put together."""
        keys = [str(number) for number in range(1, len(self.choices) + 1)]
        properties = {
            key: {"type": "string", "enum": group}
            for key, group in zip(keys, self.choices, strict=True)
        }
        schema = {
            "type": "object",
            "properties": properties,
            "required": keys,
            "additionalProperties": False,
        }
        return Form(schema, self._read)

    def _read(self, data: Any) -> str:
        if not isinstance(data, dict):
            raise ValueError("it is not a JSON object")  # noqa: TRY004 - see Form
        chosen = []
        for number, group in enumerate(self.choices, start=1):
            sentence = data.get(str(number))
            if sentence not in group:
                raise ValueError(f'"{number}" is not one of the sentences it may be')
            chosen.append(sentence)
        return " ".join(chosen)


def choices_of(text: str, most: int) -> list[list[str]]:
    """Divide the sentences of a text into at most `most` groups of neighbours.

    Groups end with paragraphs where there are enough of those. Sentences that lean on the one
    before them, or are very long, are not offered; a text may have nothing to offer at all.
    """
    blocks = paragraphs(text)
    units = blocks if len(blocks) >= most else [[one] for block in blocks for one in block]
    groups: list[list[str]] = []
    seen: set[str] = set()
    for start, end in _runs(len(units), most):
        group = [one for unit in units[start:end] for one in unit if one not in seen]
        seen.update(group)
        fitting = [one for one in group if len(one) <= _LONGEST_CHOICE]
        groups.append([one for one in fitting if stands_alone(one)] or fitting)
    return [list(dict.fromkeys(group)) for group in groups if group]


def _runs(count: int, most: int) -> list[tuple[int, int]]:
    """Divide `count` things into at most `most` runs of nearly equal length."""
    runs = min(count, most)
    return [(count * run // runs, count * (run + 1) // runs) for run in range(runs)]


def longest_quote(most: int) -> int:
    """Return the most tokens that an answer of `most` sentences can take, whatever the script."""
    return most * (_LONGEST_CHOICE + _JSON_TOKENS)

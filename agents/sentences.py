"""Sentences: where they end, and which of them can stand alone.

Invariant: a sentence that is given back stands in the text word for word; only line breaks within
it became spaces.
"""

from __future__ import annotations

import re

__all__ = ["first_sentences", "paragraphs", "stands_alone", "whole_sentences"]

_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)])\s)")
_BULLET = re.compile(r"\A\s*(?:[-*•]|\d+[.)])\s+")
_END = re.compile(r"(?<=[.!?…])[\"”’')]*\s+(?=[\"“‘'(]?[^\W_a-z])")
# A full stop after these ends no sentence.
_ABBREVIATION = re.compile(r"(?:^|\W)(?:Mr|Mrs|Ms|Dr|Prof|St|No|vs|etc|e\.g|i\.e|[A-Z])\.$")
# What begins so leans on the sentence before it.
_LEANING = re.compile(
    r"(?:he|she|it|they|this|that|these|those|his|her|its|their|such|both|some of them|but|and|or|"
    r"so|then|also|yet|still|however|instead|therefore|since then|until then|on (?:that|those)|"
    r"for example|the (?:rest|others?|same|former|latter))\b",
    re.IGNORECASE,
)


def paragraphs(text: str) -> list[list[str]]:
    """Return the sentences of each paragraph or item; headings, rules and tables are left out."""
    found = []
    for block in _BLOCK.split(text):
        lines = [line.strip() for line in _BULLET.sub("", block).splitlines()]
        prose = " ".join(line for line in lines if line and line[0] not in "#|=`~")
        if sentences := _sentences(prose):
            found.append(sentences)
    return found


def first_sentences(text: str, most: int) -> str:
    """Return the text up to the end of its sentence number `most`; all of it if it has fewer."""
    ends = _ends(text)
    return text[: ends[most - 1]].rstrip() if len(ends) >= most else text.strip()


def whole_sentences(text: str) -> str:
    """Return the text without a last sentence that has no end."""
    ends = _ends(text)
    return text[: ends[-1]].rstrip() if ends else ""


def stands_alone(sentence: str) -> bool:
    """Whether a sentence can be understood without the one before it, as far as words tell."""
    return _LEANING.match(sentence) is None


def _sentences(prose: str) -> list[str]:
    starts = [0, *_ends(prose)]
    pieces = [prose[a:b].strip() for a, b in zip(starts, [*starts[1:], len(prose)], strict=True)]
    return [piece for piece in pieces if piece]


def _ends(text: str) -> list[int]:
    """Return where sentences end: behind the mark, and behind the spaces that follow it."""
    inside = [
        found.end()
        for found in _END.finditer(text)
        if not _ABBREVIATION.search(text, max(0, found.start() - 8), found.start())
    ]
    finished = text.rstrip().endswith((".", "!", "?", "…", ".”", '."'))
    return [*inside, len(text)] if finished else inside

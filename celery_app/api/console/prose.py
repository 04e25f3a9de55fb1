"""Documents in Markdown as parts of a page, each with the paragraphs that it consists of.

Invariants
  * Markup that stands in a document is text: it is shown, and does nothing.
  * Nothing is loaded by a document, and a link tells nobody where it was followed.
  * The largest heading of a document stands below that of its page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from workflows.document import Document, Paragraph

__all__ = ["Block", "blocks"]

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


@dataclass(frozen=True)
class Block:
    """A part of a document, and the numbers of its paragraphs, from 1."""

    html: Markup
    paragraphs: tuple[int, ...]


def blocks(document: Document) -> list[Block]:
    """Return a document as parts, from its first line to the last."""
    tokens = [_tame(token) for token in _markdown.parse(document.content)]
    return [_block(group, document.metadata.paragraphs) for group in _groups(tokens)]


def _block(group: list[Token], paragraphs: Sequence[Paragraph]) -> Block:
    begin, end = group[0].map or (0, 0)
    numbers = (
        number
        for number, each in enumerate(paragraphs, 1)
        if each.lines[0] <= end and begin < each.lines[1]
    )
    # The renderer escapes whatever stands in a text.
    html = Markup(_markdown.renderer.render(group, _markdown.options, {}))  # noqa: S704
    return Block(html, tuple(numbers))


def _groups(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield the tokens of each part: from where it opens to where it closes."""
    group: list[Token] = []
    depth = 0
    for token in tokens:
        group.append(token)
        depth += token.nesting
        if depth == 0:
            yield group
            group = []


def _tame(token: Token) -> Token:
    """Return a token as a page may have it."""
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(6, int(token.tag[1:]) + 1)}"
    if token.type in ("th_open", "td_open") and "right" in str(token.attrs.pop("style", "")):
        # Styles in attributes are what the page's policy forbids.
        token.attrSet("class", "num")
    if token.type == "link_open":
        token.attrSet("rel", "noreferrer nofollow")
    for child in token.children or ():
        _tame(child)
    return token

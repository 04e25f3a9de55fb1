"""docs/canvas.md shows programs and what they print; here they are run and compared."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "canvas.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    return BLOCK.findall(DOCUMENT.read_text(encoding="utf-8"))


def printed(programs: list[str]) -> list[str]:
    names: dict[str, Any] = {}
    outputs = []
    for program in programs:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(program, names)
        outputs.append(output.getvalue())
    return outputs


def test_the_document_shows_what_its_programs_print() -> None:
    programs = [text for kind, text in blocks() if kind == "python"]
    shown = [text for kind, text in blocks() if kind == "text"]

    # The first block only defines what the others use.
    assert ["", *shown] == printed(programs)


def test_every_output_follows_its_program() -> None:
    kinds = [kind for kind, _ in blocks()]

    assert kinds == ["python"] + ["python", "text"] * 4

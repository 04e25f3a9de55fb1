"""docs/reference is what the code says today."""

from __future__ import annotations

import pytest

from celery_app.settings import SystemSettings
from docs.reference.write import HERE, pages


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_reference_is_up_to_date(name: str) -> None:
    assert (HERE / name).read_text(encoding="utf-8") == pages()[name], "`make docs` writes it anew"


def test_nothing_else_is_in_the_folder() -> None:
    made = {path.name for path in HERE.iterdir() if path.suffix in (".md", ".json")}
    assert made == pages().keys()


def test_every_section_of_the_settings_is_told() -> None:
    text = pages()["settings.md"]
    for name in SystemSettings.model_fields:
        assert f"\n## {name}\n" in text or f"| `{name}` |" in text, name
    assert "| `limits.*.concurrency` |" in text
    assert "| `components.ollama.models.*.tags` |" in text

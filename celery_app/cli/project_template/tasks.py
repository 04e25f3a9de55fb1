"""Celery tasks of your own: plain Celery, nothing of it is special to this system."""

from __future__ import annotations

from celery import shared_task


@shared_task
def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text."""
    return [part.strip() for part in text.split("\n\n") if part.strip()]


@shared_task
def bullets(lines: list[str]) -> str:
    """Return lines as one text with a bullet for each."""
    return "\n".join(f"- {line.strip()}" for line in lines)

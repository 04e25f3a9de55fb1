"""/console/approvals: what waits for a person's answer, and the answers."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import Form, Request
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.console.rendering import page, see
from celery_app.api.console.runs import run_page
from celery_app.api.papers import Identified, Words
from celery_app.orchestrator.questions import Questions
from workflows.errors import InvalidInputs
from workflows.json_text import read_json

__all__ = ["read_answer"]


def listed(request: Request, desk: Asking) -> Response:
    """Show all open questions of the runs that whoever asks may see."""
    return page(request, "approvals.html", questions=Questions(desk.permissions).open())


def answer(
    request: Request,
    desk: Asking,
    run_id: Identified,
    step: Words,
    decision: Annotated[Literal["approve", "reject"], Form()],
    form: Annotated[Literal["choice", "text", "json", "none"], Form()] = "none",
    answer: Annotated[str, Form(max_length=100_000)] = "",
    back: Annotated[Literal["run", "approvals"], Form()] = "run",
) -> Response:
    """Answer a question with yes or no."""
    try:
        value = read_answer(form, answer)
        desk.answer(run_id, step, approved=decision == "approve", answer=value, by=None)
    except InvalidInputs as error:
        return run_page(request, desk, run_id, str(error))
    address = f"/console/runs/{run_id}" if back == "run" else "/console/approvals"
    return see(address, "answered")


def read_answer(form: str, text: str) -> Any:
    """Return an answer as the value that it is; nothing written is no answer.

    Args:
        form: `choice` (the JSON of an option), `json`, or `text`.
        text: What was written or chosen.

    Raises:
        InvalidInputs: It is no JSON where JSON was asked for.
    """
    if form == "none" or not text.strip():
        return None
    if form == "text":
        return text
    try:
        return read_json(text)
    except (json.JSONDecodeError, ValueError) as error:
        raise InvalidInputs(f"the answer is no JSON: {error}") from error

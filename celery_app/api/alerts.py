"""/alerts: what is firing, by which rules, and what is done about it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.papers import Limit, Numbered, Place, Silence, Words
from celery_app.api.route import document
from celery_app.observe.alert_desk import AlertDesk
from celery_app.store.pages import numbered


def listed(
    desk: Asking,
    resolved: Annotated[bool, Query(description="Also those that are over.")] = False,
    limit: Limit = 50,
    cursor: Place = None,
) -> Response:
    """List the alerts that are firing, the newest first."""
    alerts = AlertDesk(desk.permissions)
    found = alerts.alerts(open_only=not resolved, limit=limit + 1, before=cursor)
    return document(numbered([each.as_json() for each in found], limit).as_json())


def rules(desk: Asking) -> Response:
    """List the rules in force."""
    return document(AlertDesk(desk.permissions).rules())


def resolve(desk: Asking, alert: Numbered) -> Response:
    """Close an alert; what made it opens another one if it happens again."""
    AlertDesk(desk.permissions).resolve(alert)
    return Response(status_code=204)


def silences(desk: Asking) -> Response:
    """List the silences in force."""
    return document(AlertDesk(desk.permissions).silences())


def silence(desk: Asking, silence: Silence) -> Response:
    """Tell nobody of alerts of a rule for a time; they are kept, and told afterwards."""
    number = AlertDesk(desk.permissions).silence(silence.rule, silence.seconds, silence.about)
    return document({"id": number}, 201)


def end_silence(desk: Asking, silence: Numbered) -> Response:
    """End a silence."""
    AlertDesk(desk.permissions).end_silence(silence)
    return Response(status_code=204)


def told(desk: Asking, limit: Limit = 50) -> Response:
    """List what notifiers were told, or are to be told, and why not yet."""
    return document(AlertDesk(desk.permissions).told(limit))


def try_notifier(desk: Asking, notifier: Words) -> Response:
    """Let a notifier tell somebody that it works."""
    AlertDesk(desk.permissions).try_notifier(notifier)
    return Response(status_code=204)

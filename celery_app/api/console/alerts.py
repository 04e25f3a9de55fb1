"""/console/alerts: what is firing, what is silenced, by which rules, and whom it was told."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Form, Query, Request
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.console.rendering import page, see
from celery_app.api.papers import Numbered, Place
from celery_app.observe.alert_desk import AlertDesk

__all__: list[str] = []

_HERE = "/console/alerts"
_AT_ONCE = 50
_TOLD = 20


def listed(
    request: Request,
    desk: Asking,
    show: Annotated[str, Query(pattern="^(firing|all)$")] = "firing",
    cursor: Place = None,
) -> Response:
    """Show the alerts that are firing, or all."""
    alerts = AlertDesk(desk.permissions)
    found = alerts.alerts(open_only=show == "firing", limit=_AT_ONCE + 1, before=cursor)
    return page(
        request,
        "alerts.html",
        alerts=[each.as_json() for each in found[:_AT_ONCE]],
        behind=found[_AT_ONCE - 1].id if len(found) > _AT_ONCE else None,
        first=cursor is None,
        show=show,
        silences=alerts.silences(),
        rules=[_rule(each) for each in alerts.rules()],
        told=alerts.told(_TOLD),
    )


def resolve(desk: Asking, alert: Numbered) -> Response:
    """Close an alert."""
    AlertDesk(desk.permissions).resolve(alert)
    return see(_HERE, "resolved")


def silence(
    desk: Asking,
    rule: Annotated[str, Form(pattern=r"^[a-zA-Z0-9_.*-]+$", max_length=500)],
    hours: Annotated[float, Form(gt=0, le=10_000, allow_inf_nan=False)] = 1.0,
    about: Annotated[str, Form(max_length=500)] = "*",
) -> Response:
    """Tell nobody of a rule's alerts for a time."""
    AlertDesk(desk.permissions).silence(rule, hours * 3600, about or "*")
    return see(_HERE, "silenced")


def end_silence(desk: Asking, silence: Numbered) -> Response:
    """End a silence."""
    AlertDesk(desk.permissions).end_silence(silence)
    return see(_HERE, "heard-again")


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule with what it says besides its name, as pairs."""
    apart = ("name", "severity", "notify")
    says = {name: value for name, value in rule.items() if name not in apart}
    return {**{name: rule.get(name) for name in apart}, "says": says}

"""/tokens, /policy and /audit: who may come in, what they may do, and whether the journals are whole."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from celery_app import celery
from celery_app.api.asking import Asking
from celery_app.api.papers import TokenWish, Words
from celery_app.api.route import document
from celery_app.errors import ConfigurationError
from celery_app.orchestrator.audit_check import Verifier
from celery_app.security.policy import ACTIONS, request
from celery_app.security.signer import Signer
from celery_app.store.audit import AuditStore
from workflows.task import SecurityLevel

_LISTED = Query(max_length=20)


def tokens(desk: Asking) -> Response:
    """List the tokens, without their secrets."""
    desk.permissions.require("token.change", "token:*")
    return document([each.as_json() for each in celery.access.tokens()])


def make_token(desk: Asking, wish: TokenWish) -> Response:
    """Make a token and show it, this once. A limited token makes none that may do more."""
    desk.permissions.require("token.change", f"token:{wish.name}")
    desk.permissions.require_scopes(wish.scopes)
    made, text = celery.access.create(wish.name, wish.scopes, wish.seconds)
    return document({**made.as_json(), "token": text}, 201)


def revoke_token(desk: Asking, name: Words) -> Response:
    """Make a token useless, within seconds."""
    desk.permissions.require("token.change", f"token:{name}")
    return document(celery.access.revoke(name).as_json())


def actions(desk: Asking) -> Response:
    """List what rules can be about: all actions, with the resources of each."""
    desk.permissions.require("system.read", "system:policy")
    return document(ACTIONS)


def explain(
    desk: Asking,
    subject: Annotated[Words, Query(examples=["user:ann"])],
    action: Annotated[Words, Query(examples=["task.submit"])],
    resource: Annotated[Words, Query(examples=["agent:writer"])],
    capability: Annotated[list[Words] | None, _LISTED] = None,
    level: SecurityLevel = SecurityLevel.INTERNAL,
) -> Response:
    """Say whether a subject may do something, which rule decides, and why none before it did."""
    desk.permissions.require("system.read", "system:policy")
    wanted = request(action, resource, capability or (), level)
    return document(celery.policy().explain(subject, wanted))


def denials(desk: Asking, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
    """List what was denied last, the newest first."""
    desk.permissions.require("system.read", "system:audit")
    return document(celery.access.denials(limit))


def verify(
    desk: Asking, head: Annotated[list[str] | None, Query(max_length=20)] = None
) -> Response:
    """Name each row of the journals that is not as it was sealed."""
    desk.permissions.require("system.read", "system:audit")
    heads = tuple(head or ())
    for each in heads:
        if len(each) != 64 or set(each.lower()) - set("0123456789abcdef"):
            raise ConfigurationError("head: a digest has 64 hexadecimal digits")
    reports = Verifier(AuditStore(celery.database), Signer(celery.vault.ring)).verify(heads)
    return document([asdict(report) for report in reports])

"""How people and other systems are told: a line of the log, a signed web call, or mail.

Invariant: a call returns once the other side has taken what it was told, and raises otherwise.
"""

from __future__ import annotations

import hmac
import json
import logging
import smtplib
import ssl
import time
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import httpx

from celery_app.errors import ConfigurationError
from celery_app.observe.alert_rules import (
    ALERTS_LOGGER,
    EmailNotifier,
    LogNotifier,
    Notifier,
    WebhookNotifier,
)

__all__ = ["SIGNATURE", "send", "subject_of"]

logger = logging.getLogger(ALERTS_LOGGER)

#: The header of a signature: `t=SECONDS,v1=HEX`, as webhooks that come in have it.
SIGNATURE = "X-AI-Agent-Signature"
#: The header of a number by which a repeated call is known.
NUMBER = "X-AI-Agent-Notification"
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}


def send(notifier: Notifier, number: int, body: dict[str, Any]) -> None:
    """Tell one thing.

    Args:
        notifier: Who is told.
        number: By which it is known when it is told again.
        body: What is told.

    Raises:
        Exception: It was not taken: of httpx, smtplib, or the system.
        ConfigurationError: Something is missing in config/alerts.yaml.
    """
    match notifier:
        case LogNotifier():
            _log(body)
        case WebhookNotifier():
            _post(notifier, number, body)
        case EmailNotifier():
            _mail(notifier, number, body)


def subject_of(body: dict[str, Any]) -> str:
    """Return what is told, in one line."""
    if body["kind"] == "run-failed":
        return f"run {body['run_id']} of {body['workflow']} failed: {body['error']['message']}"
    alerts = body["alerts"]
    more = f" and {len(alerts) - 1} more" if len(alerts) > 1 else ""
    about = f" ({alerts[0]['about']})" if alerts[0]["about"] else ""
    return f"{body['rule']} {body['kind']}{about}: {alerts[0]['message']}{more}"


def _log(body: dict[str, Any]) -> None:
    level = logging.INFO if body["kind"] == "resolved" else _LEVELS[body["severity"]]
    logger.log(level, "%s", subject_of(body))


def _post(notifier: WebhookNotifier, number: int, body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", NUMBER: str(number)}
    if notifier.secret:
        now = str(int(time.time()))
        sum_ = hmac.new(notifier.secret.encode(), f"{now}.".encode() + content, "sha256")
        headers[SIGNATURE] = f"t={now},v1={sum_.hexdigest()}"
    reply = httpx.post(notifier.url, content=content, headers=headers, timeout=notifier.timeout)
    reply.raise_for_status()


def _mail(notifier: EmailNotifier, number: int, body: dict[str, Any]) -> None:
    message = EmailMessage()
    # A line break would begin another header.
    message["Subject"] = " ".join(f"[{body['system']}] {subject_of(body)}".split())[:200]
    message["From"] = notifier.sender
    message["To"] = ", ".join(notifier.to)
    message[NUMBER] = str(number)
    message.set_content("\n".join(_lines(body)))
    if notifier.user and not notifier.secret:
        raise ConfigurationError(
            f"{notifier.user} has no password for {notifier.host}: name its password_file"
        )
    kind = smtplib.SMTP_SSL if notifier.tls == "tls" else smtplib.SMTP
    with kind(notifier.host, notifier.port, timeout=notifier.timeout) as server:
        if notifier.tls == "starttls":
            server.starttls(context=ssl.create_default_context())
        if notifier.user:
            server.login(notifier.user, notifier.secret or "")
        server.send_message(message)


def _lines(body: dict[str, Any]) -> Iterator[str]:
    yield f"{body['system']}, {body['at']}"
    yield ""
    if body["kind"] == "run-failed":
        yield f"Run {body['run_id']} of the workflow {body['workflow']} failed."
        yield f"{body['error']['type']}: {body['error']['message']}"
        return
    yield f"Rule {body['rule']} ({body['severity']}): {body['kind']}"
    for alert in body["alerts"]:
        yield ""
        yield f"alert {alert['id']} {alert['about']}".rstrip()
        yield f"  {alert['message']}"
        yield f"  {alert['hits']} times since {alert['fired_at']}"
        if alert["run_id"]:
            yield f"  run {alert['run_id']}"

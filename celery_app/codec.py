"""Messages of tasks, sealed; and events that show nothing of what tasks are about.

Celery copies arguments, results and errors in clear into headers, events and what it tells inspectors.
Where messages are sealed, all of these name ids and types only.

Invariants
  * Where there are keys no message of a task is believed that was not sealed with one of them.
  * A sealed message is one task's: its id travels inside, with a digest of the headers that decide
    what is run, and both must be what the message says outside.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from functools import cached_property
from json import JSONEncoder
from typing import Any

from celery.app.amqp import AMQP
from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher
from celery.worker.request import Request
from kombu.serialization import register

from celery_app.errors import Unsealed
from celery_app.redaction import redacted_values
from celery_app.security.vault import Vault, decode, encode

__all__ = ["SEALED", "ClosedEvents", "ClosedMessages", "ClosedRequest", "check", "use"]

#: The content type of sealed messages.
SEALED = "application/x-ai-agent-sealed"
_SERIALIZER = "ai-agent-sealed"
_PLACE = "message"
#: Headers that decide what is run, when, and whose part it is.
_BOUND = (
    "id", "task", "root_id", "parent_id", "group", "group_index", "retries", "eta", "expires",
    "timelimit", "ignore_result", "ai_agent",
)  # fmt: skip
#: Writes headers the same way before they are sent and when they have come.
_in_order = JSONEncoder(sort_keys=True, default=str).encode
#: Where the id and the digest travel: beside what Celery embeds in a body.
_STAMP = "sealed_for"


def use(vault: Vault) -> None:
    """Let kombu seal and open messages with these keys, in this process."""
    register(
        _SERIALIZER,
        lambda body: vault.seal(encode(body), _PLACE),
        lambda stored: decode(vault.open(stored, _PLACE)),
        content_type=SEALED,
        content_encoding="binary",
    )


def check(message: Any, vault: Vault) -> None:
    """Make sure that a message of a task was sealed as what it says it is.

    Raises:
        Unsealed: It was not; it must not run.
    """
    if not vault.is_closed:
        return
    task_id = message.headers.get("id")
    if message.content_type != SEALED:
        raise Unsealed(
            f"the message of task {task_id} is not sealed: whoever sent it needs our keys"
        )
    _, _, embedded = message.payload
    told: list[Any] = list(embedded.get(_STAMP) or ())
    if len(told) != 2 or told[0] != task_id:
        raise Unsealed(f"the message of task {task_id} was sealed for task {told[:1]}")
    if not hmac.compare_digest(str(told[1]), _digest(message.headers)):
        raise Unsealed(f"the headers of the message of task {task_id} were altered")


def _digest(headers: Mapping[str, Any]) -> str:
    bound = {name: headers[name] for name in _BOUND if headers.get(name) is not None}
    return hashlib.sha256(_in_order(bound).encode()).hexdigest()


class ClosedMessages(AMQP):
    """Celery's way of making and sending messages, which seals them where the app has keys."""

    def as_task_v2(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        *rest: Any,
        **options: Any,
    ) -> Any:
        """Return a message; unless they are given, sealed arguments are shown by their number."""
        if self.app.vault.is_closed:
            if options.get("argsrepr") is None:
                options["argsrepr"] = f"({len(args or ())} sealed)"
            if options.get("kwargsrepr") is None:
                options["kwargsrepr"] = f"{{{len(kwargs or ())} sealed}}"
        return super().as_task_v2(task_id, name, args, kwargs, *rest, **options)

    @cached_property
    def send_task_message(self) -> Any:
        """Return what sends a message."""
        send = self._create_task_sender()

        def send_closed(
            producer: Any, name: str, message: Any, headers: Any = None, **options: Any
        ) -> Any:
            if self.app.vault.is_closed:
                message.headers.update(headers or {})
                bound = message.headers
                message.body[2][_STAMP] = [bound["id"], _digest(bound)]
                options["serializer"] = _SERIALIZER
            return send(producer, name, message, headers=headers, **options)

        return send_closed


class ClosedDispatcher(EventDispatcher):
    """Sends events; where messages are sealed, without what tasks were given and what came of them."""

    def send(self, type: str, *args: Any, **fields: Any) -> Any:  # noqa: A002 - Celery's name
        """Send an event."""
        if self.app.vault.is_closed and type.startswith("task-"):
            fields = _closed(fields)
        return super().send(type, *args, **redacted_values(fields))


def _closed(fields: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in fields.items() if name != "traceback"}
    if "result" in kept:
        kept["result"] = repr(kept.get("uuid"))
    if "exception" in kept:
        kept["exception"] = _type_of(str(kept["exception"]))
    return kept


def _type_of(shown: str) -> str:
    """Return the name of an exception's class, of its repr."""
    found = re.match(r"<?([\w.]+)", shown)
    return found[1] if found else "Exception"


class ClosedEvents(Events):
    """Celery's events, with our dispatcher."""

    dispatcher_cls = f"{__name__}:{ClosedDispatcher.__name__}"


class ClosedRequest(Request):
    """What a worker is asked to do; inspectors are shown arguments only where messages are in clear."""

    def info(self, safe: bool = False) -> dict[str, Any]:
        """Return what ``celery inspect active`` and others show."""
        shown: dict[str, Any] = super().info(safe=safe or self.app.vault.is_closed)
        return {name: redacted_values(value) for name, value in shown.items()}

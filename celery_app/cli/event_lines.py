"""The events of a run, as lines, while they happen."""

from __future__ import annotations

import click

from celery_app.cli.options import JsonObject

__all__ = ["EventLines"]

#: Events whose cause says which one it is.
_OF_THEIR_OWN = ("planned", "called", "used-tool", "alerted", "alert-resolved")


class EventLines:
    """Prints events one on a line; what models say stands in lines of its own."""

    def __init__(self) -> None:
        self._speaker: str | None = None

    def print(self, event: JsonObject) -> None:
        """Print one event."""
        if event["kind"] == "text":
            self._say(event)
            return
        self.end()
        click.echo(f"{event['at']}  {event['kind']:<10} {event['task_id']}{_why(event)}")

    def end(self) -> None:
        """End the line of whoever speaks."""
        if self._speaker is not None:
            click.echo()
            self._speaker = None

    def _say(self, event: JsonObject) -> None:
        if event["task_id"] != self._speaker:
            self.end()
            self._speaker = event["task_id"]
            click.echo(f"{event['at']}  {'text':<10} {event['task_id']}  ", nl=False)
        click.echo(event["text"].replace("\n", " "), nl=False)


def _why(event: JsonObject) -> str:
    """Return what an event came from: another task, a person, or the plan, call or alert that it is."""
    if not event["cause"]:
        return ""
    before = {"answered": "by ", **dict.fromkeys(_OF_THEIR_OWN, "")}
    return f"  {before.get(event['kind'], 'because of ')}{event['cause']}"

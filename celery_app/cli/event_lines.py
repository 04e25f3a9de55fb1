"""The events of a run, as lines, while they happen."""

from __future__ import annotations

import click

from celery_app.cli.options import JsonObject

__all__ = ["EventLines"]


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
        cause = f"  because of {event['cause']}" if event["cause"] else ""
        click.echo(f"{event['at']}  {event['kind']:<10} {event['task_id']}{cause}")

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

"""What several commands take: durations, moments, JSON values and the options made of them.

Invariant: what cannot be understood is refused while the command line is read, with the value and
an example of a good one; nothing has been started by then.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = [
    "JSON",
    "MOMENT",
    "PAST",
    "PRIORITIES",
    "SECONDS",
    "SIZE",
    "STATES",
    "JsonObject",
    "as_json",
    "deadline",
    "inputs",
    "output",
    "priority",
    "resources",
    "resources_of",
    "tools",
]

Command = TypeVar("Command", bound=Callable[..., Any])

#: As in workflows.task.Priority and workflows.state.TaskState: to import those costs more than help
#: may.
PRIORITIES = ("low", "normal", "high", "critical")
STATES = (
    "pending", "queued", "running", "waiting", "expanded",
    "succeeded", "failed", "cancelled", "skipped",
)  # fmt: skip

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_ID_PART = re.compile(r"[0-9a-f-]+")
_SIZE = re.compile(r"[1-9]\d*(?:\.\d+)?(?:[KMGT]i?)?")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

JsonObject = dict[str, Any]


def _duration(text: str) -> float | None:
    match = _DURATION.fullmatch(text.strip().lower())
    return float(match[1]) * _UNITS[match[2]] if match else None


class Seconds(click.ParamType[float]):
    """A duration above zero: `30`, `90s`, `15m`, `2h` or `1d`."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        seconds = value if isinstance(value, float) else _duration(str(value))
        if not seconds or not math.isfinite(seconds):
            self.fail(f"{value!r} is not a duration; write 30, 90s, 15m, 2h or 1d", param, ctx)
        return seconds


class Moment(click.ParamType[datetime]):
    """A moment: ISO 8601 with a time zone, or how long from now."""

    name = "moment"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the moment, with its time zone."""
        if isinstance(value, datetime):
            return value
        seconds = _duration(str(value))
        try:
            if seconds is not None:
                return datetime.now(UTC) + timedelta(seconds=seconds)
            moment = datetime.fromisoformat(str(value))
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is not a moment; write 15m, 2h, 1d or 2030-01-31T12:00:00Z", param, ctx
            )
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no time zone; end it with Z or +02:00", param, ctx)
        return moment


class Past(Moment):
    """A moment: ISO 8601 with a time zone, or how long ago."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the moment, with its time zone."""
        moment = super().convert(value, param, ctx)
        if _duration(str(value)) is None:
            return moment
        now = datetime.now(UTC)
        return now - (moment - now)


def _content(
    kind: click.ParamType[Any],
    text: str,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> str:
    """Return the text, or for `@FILE` what stands in that file."""
    from workflows.text_file import read_text

    if not text.startswith("@"):
        return text
    try:
        return read_text(Path(text[1:]))
    except ValueError as error:
        kind.fail(f"{text[1:]} {error}", param, ctx)


class JsonValue(click.ParamType[Any]):
    """A value written as JSON."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value."""
        from workflows.json_text import read_json
        from workflows.problem import shown

        try:
            return read_json(str(value))
        except ValueError as error:
            self.fail(
                f"""{shown(value)} is not JSON ({error}); write 5, '"text"' or '{{"a": [1]}}'""",
                param,
                ctx,
            )


class InputValue(click.ParamType[Any]):
    """A value written as JSON, or as plain text; `@FILE` is what stands in a file."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value."""
        from workflows.json_text import read_json
        from workflows.problem import shown

        text = _content(self, str(value), param, ctx)
        try:
            return read_json(text)
        except json.JSONDecodeError:
            return text
        except ValueError as error:
            self.fail(f"{shown(text)}: {error}", param, ctx)


class Named(click.ParamType[tuple[str, Any]]):
    """`NAME=VALUE`, as a pair.

    Args:
        kind: What the value is.
        example: What is shown to whoever writes something else.
        fits: Tells whether a name may be one.
    """

    def __init__(
        self, kind: click.ParamType[Any], example: str, fits: Callable[[str], bool] = bool
    ) -> None:
        self.name = f"name={kind.name}"
        self._kind = kind
        self._example = example
        self._fits = fits

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """Return the name and the value."""
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not (self._fits(name) and equals):
            form = self.name.upper()
            self.fail(f"{value!r} is not {form}; write {self._example}", param, ctx)
        return name, self._kind.convert(text, param, ctx)


class Schema(JsonValue):
    """A JSON schema, or `@FILE` with one."""

    name = "schema"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> JsonObject:
        """Return the schema, once it is found sound."""
        from workflows.schemas import schema_fault

        schema: JsonObject = super().convert(_content(self, str(value), param, ctx), param, ctx)
        if fault := schema_fault(schema):
            self.fail(fault, param, ctx)
        return schema


class SizeText(click.ParamType[str]):
    """An amount of memory: `512Mi`, `2Gi`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text as it is, once it is understood."""
        if not _SIZE.fullmatch(str(value)):
            self.fail(f"{value!r} is not a size; write 512Mi or 2Gi", param, ctx)
        return str(value)


def is_id(text: str) -> bool:
    """Say whether a text may be an id, or the beginning of one."""
    return _ID_PART.fullmatch(text) is not None


SECONDS = Seconds()
SIZE = SizeText()
MOMENT = Moment()
PAST = Past()
JSON = JsonValue()
INPUT = InputValue()
NAMED_INPUT = Named(INPUT, "topic=bicycles")
NAMED_JSON = Named(JSON, "count=3", str.isidentifier)
SCHEMA = Schema()


def as_json(command: Command) -> Command:
    """Give a command the option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def inputs(command: Command) -> Command:
    """Give a command the option `--input FILE ...`."""
    return click.option(
        "--input",
        "inputs",
        metavar="FILE",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A text file to work on; may be given several times.",
    )(command)


def output(command: Command) -> Command:
    """Give a command the option `--output SCHEMA`."""
    return click.option(
        "--output",
        type=SCHEMA,
        metavar="SCHEMA",
        help="The result as JSON of this schema, given as JSON or as @FILE.",
    )(command)


def tools(command: Command) -> Command:
    """Give a command the options `--tool NAME ...` and `--network`."""
    command = click.option(
        "--network", is_flag=True, help="Tools that need the network may be used as well."
    )(command)
    return click.option(
        "--tool",
        "tools",
        metavar="NAME",
        multiple=True,
        help="A tool that its agents may use; may be given several times.",
    )(command)


def priority(command: Command) -> Command:
    """Give a command the option `--priority`."""
    return click.option(
        "--priority", type=click.Choice(PRIORITIES), default="normal", show_default=True
    )(command)


def deadline(command: Command) -> Command:
    """Give a command the option `--deadline`."""
    return click.option(
        "--deadline",
        type=MOMENT,
        metavar="WHEN",
        help="When it must be over: 90s, 15m, 2h, 1d from now, or 2030-01-31T12:00:00Z.",
    )(command)


_RESOURCES: tuple[tuple[str, Any, str], ...] = (
    ("tokens", click.IntRange(min=1), "The most tokens that it may use up with all its subtasks."),
    ("model-calls", click.IntRange(min=1), "The most model calls, likewise."),
    ("seconds", SECONDS, "The most time at work, likewise."),
    ("cpu", click.FloatRange(min=0, min_open=True), "Processors that it needs."),
    ("memory", SIZE, "Memory that it needs, as 512Mi."),
)


def resources(command: Command) -> Command:
    """Give a command options for what a task may use, and the project that it belongs to."""
    for name, kind, words in reversed(_RESOURCES):
        command = click.option(
            f"--{name}", f"resource_{name.replace('-', '_')}", type=kind, help=words
        )(command)
    return click.option("--project", metavar="NAME", help="What it belongs to.")(command)


def resources_of(given: JsonObject) -> JsonObject:
    """Return the values of the options of `resources` that were given, by field of a task."""
    found = {name.removeprefix("resource_"): value for name, value in given.items()}
    return {name: value for name, value in found.items() if value is not None}

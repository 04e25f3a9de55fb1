"""Write the reference from the code: the commands, the settings, the workflow file, the API and the metrics.

    python -m docs.reference.write

Invariant: what stands in docs/reference/*.md and *.json is what `pages` returns; a test says so.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
from pydantic import BaseModel

from celery_app.cli.main import cli
from celery_app.settings import SystemSettings
from docs.reference.served import api, metrics
from docs.reference.tables import MADE, Schema, cell, keys, type_of
from workflows.definitions import schema

__all__ = ["pages"]

HERE = Path(__file__).parent


def pages() -> dict[str, str]:
    """Return each file of the reference by its name."""
    return {
        "cli.md": "".join(_cli()),
        "settings.md": "".join(_settings()),
        "workflow-file.md": "".join(_workflow_file()),
        "api.md": "".join(api()),
        "metrics.md": "".join(metrics()),
        "workflow.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
    }


def main() -> None:
    """Write the files."""
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")


def _cli() -> Iterator[str]:
    yield f"# Commands\n\n{MADE}\n"
    yield "`ai-agent COMMAND --help` says the same. Exit codes: 0 well, 1 the work failed or is not\n"
    yield "over in time, 2 usage or configuration, 3 denied, 4 a service does not answer.\n"
    for context in _contexts(click.Context(cli, info_name="ai-agent", color=False)):
        yield from _command(context)


def _contexts(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None and not command.hidden:
                yield from _contexts(click.Context(command, info_name=name, parent=context))


def _command(context: click.Context) -> Iterator[str]:
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"\n{'#' * min(4, context.command_path.count(' ') + 2)} {context.command_path}\n\n"
    yield f"```text\n{usage}\n```\n"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield "\n" + _paragraph(paragraph)
    records = [
        record
        for param in command.get_params(context)
        if "--help" not in param.opts and (record := param.get_help_record(context)) is not None
    ]
    if records:
        yield "\n| option | |\n|---|---|\n"
        yield from (f"| `{cell(option)}` | {cell(words)} |\n" for option, words in records)


def _paragraph(text: str) -> str:
    if not text.startswith("\b"):
        return text + "\n"
    lines = text.splitlines()[1:]
    if re.match(r"Examples?:", lines[0]):
        return "```sh\n" + inspect.cleandoc("\n".join(["", *lines[1:]])) + "\n```\n"
    return "```text\n" + "\n".join(lines) + "\n```\n"


def _settings() -> Iterator[str]:
    yield f"# Settings\n\n{MADE}\n"
    yield "Every key of `system.yaml` with its default. Relative paths are meant from the file's folder.\n"
    yield "The environment goes before the file: `AI_AGENT__`, then the key's parts in capitals, joined\n"
    yield "by `__`, as in `AI_AGENT__COMPONENTS__DATABASE__HOST=db.example.org`; values are YAML.\n"
    yield "\nWith `CONFIG_PATH` the file of that folder is read. Without it the embedded servers are used,\n"
    yield "and a `config/system.yaml` in the working directory is read if it has no `components`.\n"
    whole = SystemSettings.model_json_schema()
    yield from _section("", SystemSettings, whole, whole)


def _section(path: str, model: type[BaseModel], described: Schema, whole: Schema) -> Iterator[str]:
    if path:
        yield f"\n## {path}\n"
    yield f"\n{inspect.getdoc(model)}\n"
    inner = {name: found for name in model.model_fields if (found := _model_of(model, name))}
    values = {name: each for name, each in described["properties"].items() if name not in inner}
    if values:
        yield "\n| key | type | default |\n|---|---|---|\n"
        for name, each in values.items():
            key = f"{path}.{name}" if path else name
            yield f"| `{key}` | {cell(type_of(each, whole))} | {cell(_default(model, name))} |\n"
    entries = {f"{name}.*": found for name in values if (found := _model_inside(model, name))}
    for name, each in {**inner, **entries}.items():
        definition = whole["$defs"][each.__name__]
        yield from _section(f"{path}.{name}" if path else name, each, definition, whole)


def _model_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    kind = model.model_fields[name].annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _model_inside(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return what the entries of a list or of named values are, if they are keys themselves."""
    kinds = get_args(model.model_fields[name].annotation)
    models = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return next(models, None)


def _default(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return ""
    return f"`{json.dumps(default, default=str, ensure_ascii=False)}`"


def _workflow_file() -> Iterator[str]:
    yield f"# The workflow file\n\n{MADE}\n"
    yield "What each key means is told in [workflows.md](../workflows.md); the JSON schema for editors is\n"
    yield "[workflow.schema.json](workflow.schema.json), which `ai-agent workflow schema` prints.\n"
    whole = {**schema(), "linked": True}
    yield from keys("The file", whole, whole)
    for name, each in whole["$defs"].items():
        if "properties" in each:
            yield from keys(name, each, whole)


if __name__ == "__main__":
    main()

"""The commands among each other: what prints data prints it as JSON too."""

from __future__ import annotations

from collections.abc import Iterator

import click

from celery_app.cli.main import cli

#: They run processes, or say one line that it is done, or print something that is a format already.
WITHOUT_JSON = {
    "alerts resolve", "alerts test", "alerts unsilence", "project artifact",
    "api", "up", "down", "worker", "beat", "flower", "completion", "config check", "policy check",
    "test schema", "token revoke", "workflow graph", "workflow schema", "workflow triggers add",
    "workflow triggers pause", "workflow triggers remove", "workflow triggers resume",
}  # fmt: skip


def commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def test_what_prints_data_prints_json_too() -> None:
    found = {
        name
        for name, command in commands(cli)
        if not any("--json" in option.opts for option in command.params)
    }
    assert found - WITHOUT_JSON == set()


def test_options_that_several_commands_have_mean_the_same() -> None:
    meanings: dict[str, set[str]] = {}
    for _, command in commands(cli):
        for option in command.params:
            if isinstance(option, click.Option) and "--json" in option.opts:
                meanings.setdefault("--json", set()).add(str(option.help))
    assert meanings == {"--json": {"Print JSON."}}

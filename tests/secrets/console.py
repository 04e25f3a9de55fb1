"""Everything that can be asked of a running system, in one process: prints what it is told.

usage: console.py TASK_ID
"""

from __future__ import annotations

import sys

from click.testing import CliRunner

from celery_app.cli.main import cli
from celery_app.redaction import guard_logs

#: Of Celery's remote control, all that only look.
INSPECTED = ("conf", "report", "stats", "active", "reserved", "scheduled", "registered", "revoked",
             "active_queues", "clock", "models")  # fmt: skip


def commands(task_id: str) -> list[list[str]]:
    """Return the commands that only look."""
    both = [
        ["status"], ["doctor"], ["config", "show"], ["task", "list"], ["task", "show", task_id],
        ["task", "events", task_id], ["workflow", "list"], ["workflow", "runs"],
        ["workflow", "triggers"],
    ]  # fmt: skip
    return [
        *both,
        *([*command, "--json"] for command in both),
        ["config", "check"],
        ["--debug", "task", "show", "nothing"],
        ["task", "wait", task_id],
        ["--debug", "task", "wait", task_id],
    ]


def main(task_id: str) -> None:
    guard_logs()
    runner = CliRunner()
    for command in commands(task_id):
        done = runner.invoke(cli, command)
        print(f"$ ai-agent {' '.join(command)}\n{done.output}")
        assert done.exit_code != 2 or "nothing" in command, done.output
    from celery_app.celery import app, database, settings

    inspect = app.control.inspect(timeout=5, limit=1)
    for name in INSPECTED:
        print(f"$ inspect {name}\n{inspect._request(name) or ''}")
    print(inspect.query_task([task_id]))
    for thing in (settings, settings.components, app.conf, app, app.backend, database, app.vault):
        print(repr(thing), str(thing))
    print(app.bugreport(), app.conf.humanize(with_defaults=False), app.backend.as_uri())
    print(dict(app.conf), app.connection(), app.connection().as_uri(), app.amqp.queues)


if __name__ == "__main__":
    main(sys.argv[1])

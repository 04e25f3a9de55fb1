"""`up`, `down` and `status`, and the three processes of Celery: `worker`, `beat`, `flower`.

Invariant: what `up` starts it ends, and what was there before it leaves alone.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from celery_app.cli import options

__all__ = ["beat", "down", "flower", "status", "up", "worker"]

API_PORT = 8000

_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command()
@click.option("--detach", is_flag=True, help="In the background; return when a worker answers.")
@click.option("--flower/--no-flower", "with_flower", default=True, help="Run Flower as well.")
@click.option("--flower-port", type=click.IntRange(1, 65535), default=5555, show_default=True)
@click.option("--api/--no-api", "with_api", default=True, help="Serve the HTTP API as well.")
@click.option("--api-port", type=click.IntRange(1, 65535), default=API_PORT, show_default=True)
@click.option("--in-background", is_flag=True, hidden=True)
def up(
    detach: bool,
    with_flower: bool,
    flower_port: int,
    with_api: bool,
    api_port: int,
    in_background: bool,
) -> None:
    """Run everything until interrupted.

    That is the embedded servers, a worker, beat, the HTTP API and Flower.
    With configured services (--config or CONFIG_PATH) only the processes are run. A process that
    ends is started again. The first Ctrl-C lets running tasks end, the second stops at once.

    \b
    Examples:
      ai-agent up
      ai-agent up --detach --no-flower --api-port 8080 && ai-agent status
    """
    from celery_app.cli.process_tree import asked_again, children, run_tree
    from celery_app.cli.record import Record, already_up
    from celery_app.cli.system import note, prepare, this_home

    ports = {"flower": flower_port if with_flower else None, "api": api_port if with_api else None}
    home = this_home()
    record = Record(home)
    standing = record.read()
    if standing is not None and standing.supervisor is not None:
        raise already_up(standing, home)
    if detach:
        from celery_app.cli.background import start

        prepare()
        start(*asked_again(ports))
        note(f"up in the background: log in {record.log}; `ai-agent down` ends it")
        return
    with record.held(detached=in_background):
        run_tree(children(ports), record, detached=in_background)


@click.command()
def down() -> None:
    """End what runs in the background.

    That is what `up --detach` started here, or another command when it needed it.
    The embedded servers of AI_AGENT_HOME are stopped too; their data stays.

    \b
    Example:
      ai-agent down
    """
    from celery_app.cli.background import end
    from celery_app.cli.system import note, this_home
    from celery_app.stack.profile import embedded_stack, is_embedded

    home = this_home()
    ended = end(home)
    if is_embedded():
        stack = embedded_stack()
        ended += [server["name"] for server in stack.status() if server["pid"] is not None]
        stack.stop()
    note(f"ended: {', '.join(ended)}" if ended else f"nothing was running for {home.path}")


@click.command()
@options.as_json
def status(as_json: bool) -> None:
    """Tell what answers, and how tasks stand.

    Shows the servers, the workers, and how many tasks are in which state.
    Nothing is started. The exit code is 4 when a server does not answer.

    \b
    Example:
      ai-agent status --json | jq .tasks
    """
    from celery_app.cli.overview import look, print_overview
    from celery_app.cli.screen import print_json

    overview = look()
    (print_json if as_json else print_overview)(overview)
    if any(server["state"] != "running" for server in overview["servers"]):
        sys.exit(4)


@click.command(context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def worker(arguments: tuple[str, ...]) -> None:
    """Run a Celery worker of this system.

    ARGUMENTS are those of `celery worker`.

    \b
    Examples:
      ai-agent worker --concurrency 4
      ai-agent worker -Q agent.writer,agent.reviewer -n writers@%h
      ai-agent worker -- --help
    """
    _become_celery("worker", arguments)


@click.command(context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def beat(arguments: tuple[str, ...]) -> None:
    """Run Celery beat, which sends what is due.

    ARGUMENTS are those of `celery beat`.

    \b
    Example:
      ai-agent beat --loglevel DEBUG
    """
    _become_celery("beat", arguments)


@click.command(context_settings=_PASS_ON)
@click.option("--no-auth", is_flag=True, help="Let in whoever reaches it.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def flower(no_auth: bool, arguments: tuple[str, ...]) -> None:
    """Run Flower, the monitor of Celery, on port 5555.

    It asks for a user and a password, which it keeps in AI_AGENT_HOME unless they are configured;
    its first lines say where. ARGUMENTS are those of `celery flower`, and go before the settings.

    \b
    Examples:
      ai-agent flower --port=5566
      ai-agent flower --basic_auth=ann:secret --address=0.0.0.0
      curl -u "$(cat ~/.ai-agent/flower)" http://127.0.0.1:5555/api/tasks
    """
    if no_auth:
        os.environ["AI_AGENT__MONITORING__FLOWER__AUTH"] = "false"
    _become_celery("flower", arguments)


def _become_celery(command: str, arguments: tuple[str, ...]) -> NoReturn:
    from celery_app.cli.process_tree import celery_command
    from celery_app.cli.system import prepare

    prepare()
    argv = celery_command(command, *arguments)
    sys.stdout.flush()
    os.execv(argv[0], argv)  # noqa: S606 - the interpreter that runs this program

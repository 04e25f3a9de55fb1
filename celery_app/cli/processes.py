"""`up`, `down` and `status`, and the three processes of Celery: `worker`, `beat`, `flower`.

Invariant: what `up` starts it ends, and what was there before it leaves alone.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

import click

from celery_app.cli import options

if TYPE_CHECKING:
    from celery_app.cli.supervisor import Child

__all__ = ["beat", "down", "flower", "status", "up", "worker"]

FLOWER_PORT = 5555
_COLOURS = {"worker": "cyan", "beat": "magenta", "flower": "yellow", "up": "green"}

_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command()
@click.option("--detach", is_flag=True, help="In the background; return when a worker answers.")
@click.option("--flower/--no-flower", "with_flower", default=True, help="Run Flower as well.")
@click.option(
    "--flower-port", type=click.IntRange(1, 65535), default=FLOWER_PORT, show_default=True
)
@click.option("--in-background", is_flag=True, hidden=True)
def up(detach: bool, with_flower: bool, flower_port: int, in_background: bool) -> None:
    """Run everything until interrupted.

    That is the embedded servers, a worker, beat and Flower.
    With configured services (--config or CONFIG_PATH) only the processes are run. A process that
    ends is started again. The first Ctrl-C lets running tasks end, the second stops at once.

    \b
    Examples:
      ai-agent up
      ai-agent up --detach --no-flower && ai-agent status
    """
    from celery_app.cli.record import Record, already_up
    from celery_app.cli.system import note, prepare, this_home

    home = this_home()
    record = Record(home)
    standing = record.read()
    if standing is not None and standing.supervisor is not None:
        raise already_up(standing, home)
    if detach:
        from celery_app.cli.background import start

        prepare()
        start("--flower" if with_flower else "--no-flower", f"--flower-port={flower_port}")
        note(f"up in the background: log in {record.log}; `ai-agent down` ends it")
        return
    with record.held(detached=in_background):
        _run_tree(_children(with_flower, flower_port), record.write, detached=in_background)


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
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def flower(arguments: tuple[str, ...]) -> None:
    """Run Flower, the monitor of Celery.

    ARGUMENTS are those of `celery flower`.

    \b
    Example:
      ai-agent flower --port=5566
    """
    _become_celery("flower", arguments)


def _become_celery(command: str, arguments: tuple[str, ...]) -> NoReturn:
    from celery_app.cli.system import prepare

    prepare()
    argv = _celery(command, *arguments)
    sys.stdout.flush()
    os.execv(argv[0], argv)  # noqa: S606 - the interpreter that runs this program


def _celery(command: str, *arguments: str) -> list[str]:
    given = {argument.partition("=")[0] for argument in arguments}
    defaults: list[str] = []
    if command == "beat" and given.isdisjoint({"-s", "--schedule", "--help"}):
        from celery_app.cli.system import this_home

        defaults.append(f"--schedule={this_home().folder('run') / 'beat-schedule'}")
    if command == "flower" and given.isdisjoint({"--address", "--help"}):
        # Flower asks nobody for a password unless told to: it is for this machine alone.
        defaults.append("--address=127.0.0.1")
    if command != "flower" and not any(a.startswith(("-l", "--loglevel")) for a in arguments):
        defaults.append("--loglevel=INFO")
    return [sys.executable, "-m", "celery", "-A", "celery_app", command, *defaults, *arguments]


def _children(with_flower: bool, flower_port: int) -> list[Child]:
    """Return what `up` runs, one line a process."""
    from celery_app.cli.supervisor import Child

    children = [
        # Alone on its broker as a rule: it need not look for neighbours first.
        Child("worker", _celery("worker", "-n", "up@%h", "--without-mingle", "--without-gossip")),
        Child("beat", _celery("beat")),
    ]
    if with_flower and _is_free(flower_port):
        children.append(Child("flower", _celery("flower", f"--port={flower_port}")))
    elif with_flower:
        _say("up", f"port {flower_port} is taken: no Flower (--flower-port chooses another)")
    return children


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _run_tree(children: list[Child], write: Callable[..., None], *, detached: bool) -> None:
    from celery_app.cli.supervisor import Supervisor
    from celery_app.cli.system import prepare
    from celery_app.stack.profile import embedded_stack, is_embedded

    stack = embedded_stack() if is_embedded() else None
    ours = stack is not None and not stack.running()

    def changed(pids: Mapping[str, int]) -> None:
        write(pids, detached=detached)

    try:
        prepare()
        threading.Thread(target=_tell_when_ready, args=(children,), daemon=True).start()
        Supervisor(children, _say, changed).run()
    finally:
        if stack is not None and ours:
            stack.stop()
            _say("up", "the embedded servers are stopped")


def _tell_when_ready(children: list[Child]) -> None:
    from celery_app.cli.system import workers
    from celery_app.errors import AgentSystemError

    try:
        while not workers(1.0, any_one=True):
            continue
    except AgentSystemError as error:
        _say("up", str(error))
        return
    names = ", ".join(child.name for child in children)
    _say("up", f"ready: {names}; Ctrl-C ends it")


def _say(name: str, line: str) -> None:
    prefix = click.style(f"{name:<6} |", fg=_COLOURS.get(name))
    try:
        click.echo(f"{prefix} {line}")
    except OSError:
        # Nobody reads any more; the children are to go on until they are told to end.
        return

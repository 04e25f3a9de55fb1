"""What `up` runs: the command lines of its children, and the life of their tree.

Invariant: servers that ran before the tree run after it.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence

import click

from celery_app.cli.record import Record
from celery_app.cli.supervisor import Child, Supervisor
from celery_app.cli.system import prepare, this_home, workers
from celery_app.errors import AgentSystemError
from celery_app.flower_door import FLOWER_PORT, password_place
from celery_app.stack.profile import current_settings, embedded_stack, is_embedded

__all__ = [
    "asked_again",
    "celery_command",
    "children",
    "flower_address",
    "flower_words",
    "run_tree",
]

_COLOURS = {"worker": "cyan", "beat": "magenta", "flower": "yellow", "api": "blue", "up": "green"}


def celery_command(command: str, *arguments: str) -> list[str]:
    """Return the command line of a Celery process of this system, with its defaults."""
    given = {argument.partition("=")[0] for argument in arguments}
    defaults: list[str] = []
    if command == "beat" and given.isdisjoint({"-s", "--schedule", "--help"}):
        defaults.append(f"--schedule={this_home().folder('run') / 'beat-schedule'}")
    if command == "flower" and given.isdisjoint({"--address", "--help"}):
        # Its own default is every address; whoever wants that says so.
        defaults.append("--address=127.0.0.1")
    return [sys.executable, "-m", "celery", "-A", "celery_app", command, *defaults, *arguments]


def children(ports: Mapping[str, int | None]) -> list[Child]:
    """Return what `up` runs, one line a process.

    Args:
        ports: That of Flower and that of the API, by name; None: it is not wanted.
    """
    found = [
        # Alone on its broker as a rule: it need not look for neighbours first.
        Child(
            "worker",
            celery_command("worker", "-n", "up@%h", "--without-mingle", "--without-gossip"),
        ),
        Child("beat", celery_command("beat")),
    ]
    for name, port in ports.items():
        if port is not None and _is_free(port):
            found.append(Child(name, _serving(name, port)))
        elif port is not None:
            _say("up", f"port {port} is taken: no {name} (--{name}-port chooses another)")
    return found


def asked_again(ports: Mapping[str, int | None]) -> list[str]:
    """Return the options of `up` that ask for these ports."""
    return [
        f"--no-{name}" if port is None else f"--{name}-port={port}" for name, port in ports.items()
    ]


def _serving(name: str, port: int) -> list[str]:
    if name == "flower":
        return celery_command(name, f"--port={port}")
    return [sys.executable, "-m", "celery_app", name, f"--port={port}"]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def run_tree(wanted: Sequence[Child], record: Record, *, detached: bool) -> None:
    """Run the processes until a signal comes; the embedded servers too, unless they ran before.

    Raises:
        ServiceUnavailable: A configured server does not answer; nothing was run.
    """
    stack = embedded_stack() if is_embedded() else None
    ours = stack is not None and not stack.running()

    def changed(pids: Mapping[str, int]) -> None:
        record.write(pids, detached=detached)

    try:
        # In the background all is prepared: whoever started this did so, and waits for the worker.
        if not detached:
            prepare()
            threading.Thread(target=_tell_when_ready, args=(wanted,), daemon=True).start()
        Supervisor(wanted, _say, changed).run()
    finally:
        if stack is not None and ours:
            stack.stop()
            _say("up", "the embedded servers are stopped")


def _tell_when_ready(wanted: Sequence[Child]) -> None:
    try:
        while not workers(1.0, any_one=True):
            continue
    except AgentSystemError as error:
        _say("up", str(error))
        return
    names = ", ".join(child.name for child in wanted)
    _say("up", f"ready: {names}; Ctrl-C ends it")
    for child in wanted:
        if child.name == "flower":
            _say("flower", flower_words(flower_address(child.argv)))


def flower_address(argv: Sequence[str]) -> str:
    """Return where the Flower of a command line of ours answers."""
    told = dict(argument.partition("=")[::2] for argument in argv)
    port = told.get("--port", str(FLOWER_PORT))
    return f"http://{told.get('--address', '127.0.0.1')}:{port}"


def flower_words(address: str) -> str:
    """Return what a person must know to look at Flower."""
    section = current_settings().monitoring.flower
    if not section.auth:
        return address
    return f"{address} (its user and password stand in {password_place(section, os.environ)})"


def _say(name: str, line: str) -> None:
    prefix = click.style(f"{name:<6} |", fg=_COLOURS.get(name))
    try:
        click.echo(f"{prefix} {line}")
    except OSError:
        # Nobody reads any more; the children are to go on until they are told to end.
        return

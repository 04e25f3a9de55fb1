"""The process from which those of the cases are forked, so that each begins with all libraries loaded.

    python -m celery_app.testing.nursery SOCKET

Whoever connects sends one line of JSON, `{environ, log, order}`, and is sent lines back: the process id
of the case, and what came of it. A case that dies says nothing more.

Invariant: nothing that reads settings is imported here; a case reads them in an environment of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path

from celery_app.testing.lane import run

__all__ = ["main"]

#: What takes long to import and knows no settings.
LIBRARIES = (
    "agents.agent_manager", "agents.ollama", "agents.planner", "agents.presence",
    "agents.readiness", "agents.tools.catalogue", "celery.apps.worker", "celery.bin.worker",
    "celery.concurrency.thread", "celery.fixups.django", "celery.worker.control",
    "celery_app.broker", "celery_app.postgres.backend", "celery_app.stack.profile",
    "celery_app.store.tasks", "celery_app.testing.model",
    "kombu.transport.redis", "sqlalchemy.dialects.postgresql.psycopg2", "workflows.canvas",
    "workflows.definitions", "workflows.inside", "workflows.rerun",
)  # fmt: skip


def main() -> None:
    """Fork a process for each connection, until this one is killed."""
    address = Path(sys.argv[1])
    # At the end of the path, so that a folder of the user's cannot hide one of our packages.
    sys.path.append(os.getcwd())
    for library in LIBRARIES:
        import_module(library)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(address.with_suffix(".new")))
        door.listen()
        # It is there under its name when it can be used.
        address.with_suffix(".new").rename(address)
        # Children that have ended are nobody's business.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            caller, _ = door.accept()
            if os.fork() == 0:
                door.close()
                _live(caller)
            caller.close()


def _live(caller: socket.socket) -> None:
    """Be the process of one case, to its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    with caller.makefile("rw") as line:
        asked = json.loads(line.readline())
        line.write(f"{os.getpid()}\n")
        line.flush()
        os.environ.clear()
        os.environ.update(asked["environ"])
        tempfile.tempdir = None
        log = os.open(asked["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            run(asked["order"], line)
        except Exception:  # noqa: BLE001, RUF100 - nobody else would tell of it
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(0)


if __name__ == "__main__":
    main()

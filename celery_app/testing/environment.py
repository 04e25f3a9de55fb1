"""`TestEnvironment`: the place in which a suite runs, made before it and gone after it.

Invariant: however the run ends, nothing of it is left: whoever ran it cleans up; if it was killed its
watchdog does; and if that was killed too, the next run does.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from celery_app.errors import ServiceUnavailable
from celery_app.stack.home import Home
from celery_app.stack.llama import LlamaServer
from celery_app.stack.profile import current_settings, is_embedded
from celery_app.stack.stack import Stack
from celery_app.testing.leftovers import MODEL, ROOT, hold, make_root, remove, remove_orphans
from celery_app.testing.places import Place, SharedServers, own_servers
from celery_app.testing.processes import wait_until

__all__ = ["TestEnvironment"]

_START_SECONDS = 120.0
SHARED = "shared"


class TestEnvironment:
    """Servers, folders and processes for one run of tests. It may be set up again after its end.

    Attributes:
        root: The folder of everything; None while it is not set up.
    """

    __test__ = False

    def __init__(self) -> None:
        self.root: Path | None = None
        self._names = itertools.count(1)
        self._model: LlamaServer | None = None
        self._servers: SharedServers | None = None
        self._making = threading.Lock()
        self._held: IO[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._nursery: subprocess.Popen[bytes] | None = None

    async def setup(self) -> None:
        """Make the place; see `start`."""
        await asyncio.to_thread(self.start)

    async def cleanup(self) -> None:
        """Remove everything; see `stop`."""
        await asyncio.to_thread(self.stop)

    def start(self) -> None:
        """Make the folder, after removing what killed runs have left."""
        remove_orphans()
        self.root = make_root()
        self._held = hold(self.root)
        self._servers = SharedServers(self.root / SHARED)
        self._watchdog = subprocess.Popen(
            [sys.executable, "-P", "-m", "celery_app.testing.watchdog", str(self.root)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            # It outlives the folder's processes, which are ended by this variable.
            env={name: value for name, value in os.environ.items() if name != ROOT},
        )
        with (self.root / "nursery.log").open("wb") as log:
            self._nursery = subprocess.Popen(
                # -P: a file that lies about where tests are run is no module.
                [sys.executable, "-P", "-m", "celery_app.testing.nursery", str(self.door)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, ROOT: str(self.root)},
            )

    @property
    def door(self) -> Path:
        """The socket of the process from which those of the cases are forked."""
        assert self.root is not None, "the environment is set up"
        return self.root / "nursery.sock"

    def wait_for_nursery(self) -> None:
        """Return when cases can be forked. Raises ServiceUnavailable."""
        process, door = self._nursery, self.door
        assert process is not None, "the environment is set up"
        try:
            wait_until(lambda: door.exists() or process.poll() is not None, _START_SECONDS)
        except AssertionError:
            process.kill()
        if process.poll() is not None:
            words = (door.parent / "nursery.log").read_text(errors="replace").strip()[-300:]
            raise ServiceUnavailable(f"the process of the tests did not start: {words}")

    def stop(self) -> None:
        """End every process and remove every file; does nothing where nothing is."""
        with ExitStack() as stack:
            if self._nursery is not None:
                stack.callback(self._nursery.wait)
            if self._watchdog is not None:
                stack.callback(self._watchdog.wait)
                if self._watchdog.stdin is not None:
                    stack.callback(self._watchdog.stdin.close)
            if self._held is not None:
                stack.callback(self._held.close)
            if self._servers is not None:
                self._servers.stop()
            if self.root is not None:
                remove(self.root)
        self.root = self._model = self._servers = None
        self._held = self._watchdog = self._nursery = None

    @contextmanager
    def place(self, *, alone: bool) -> Iterator[tuple[Path, Place]]:
        """Give a case a home, and a place for its data: `alone` on servers of its own."""
        assert self.root is not None, "the environment is set up"
        name = f"case_{next(self._names)}"
        home = self.root / name
        assert self._servers is not None, "the environment is set up"
        try:
            with own_servers(home) if alone else self._servers.place(name) as place:
                yield home, place
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def real_model(self) -> str:
        """Return the URL of the model server of the settings; the embedded one is started once."""
        urls = current_settings().ollama_hosts
        if not is_embedded() or LlamaServer(Home.of(os.environ).path).address not in urls:
            return urls[0]
        assert self.root is not None, "the environment is set up"
        with self._making:
            if self._model is None:
                model = LlamaServer(self.root / MODEL)
                Stack(self.root / MODEL, [model]).start()
                self._model = model
            return self._model.address

"""Embedded PostgreSQL, the database of a machine without one.

Invariant: it is reached through a socket inside the private home and nowhere else, so it needs no
password; it writes to disk before it says "committed" (fsync stays on).

PostgreSQL refuses to run as root. For root it runs as a system user, which needs no right to enter
root's home: the process is started inside its data folder and calls it `/proc/self/cwd`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg2
from psycopg2 import sql

from celery_app.errors import ServiceUnavailable
from celery_app.stack.installation import Installation
from celery_app.stack.processes import wait_until
from celery_app.stack.server import Command, LocalServer

__all__ = ["DATABASE", "PORT", "USER", "PostgresServer"]

DATABASE = "ai_agent_db"
USER = "postgres"
PORT = 5432  # names the socket's file; nothing listens on a port

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "fsync": "on",
    # After a crash one call writes all that is pending, instead of one for each of 1,000 files.
    "recovery_init_sync_method": "syncfs" if sys.platform == "linux" else "fsync",
    # A container's /dev/shm is often 64 MB, and a small box gains nothing from parallel queries.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    # Tables grow from nothing to thousands of rows within seconds: plans made without statistics read all.
    "autovacuum_naptime": "5s",
    # No replicas: the log need hold no more than a restart reads.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_checkpoints": "off",
}
INITDB = [
    "--username",
    USER,
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
]


class PostgresServer(LocalServer):
    """PostgreSQL on a unix socket inside the home, with the database `ai_agent_db`."""

    name = "postgres"
    # Fast shutdown (end the sessions), immediate shutdown (recover at the next start), kill.
    stop_signals = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))

    @property
    def socket(self) -> Path:
        """The path of its unix socket; clients are told the folder that holds it."""
        return self.home.socket(self.name, f".s.PGSQL.{PORT}")

    @property
    def address(self) -> str:
        """The path of its unix socket."""
        return str(self.socket)

    @property
    def is_new(self) -> bool:
        """Whether its data folder is still to be made."""
        return not (self.home.path / self.name / "PG_VERSION").exists()

    def command(self) -> Command:
        """Make the data folder when there is none; see `LocalServer.command`."""
        installation = Installation.find()
        data = self.home.path / self.name
        if self.is_new:
            self._initialize(installation, data)
        installation.check_data(data)
        self._clear_after_crash(data)
        options = SETTINGS | {"cluster_name": self.mark}
        argv = [str(installation.program("postgres")), "-D", _as_seen_from_inside(data)]
        argv += [f"--{name}={value}" for name, value in options.items()]
        return Command(argv, data, installation.as_user())

    def answers(self) -> bool:
        """Whether it lets a client in (it does not while it recovers)."""
        if not self._says_ready():
            return False  # asking now would only fill its log with refusals
        try:
            self._connect("postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    def finish(self) -> None:
        """Create the database unless it exists."""
        connection = self._connect("postgres")
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        finally:
            connection.close()

    def _says_ready(self) -> bool:
        try:
            lines = (self.home.path / self.name / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        # The file is empty for a moment while the server writes it.
        return bool(lines) and lines[-1].strip() == "ready"

    def _connect(self, database: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(
            host=str(self.socket.parent), port=PORT, user=USER, dbname=database, connect_timeout=5
        )

    def _initialize(self, installation: Installation, data: Path) -> None:
        # A start that is cut short leaves the new folder behind, never a half-made data folder.
        new = self.home.folder(f"{self.name}.new")
        shutil.rmtree(new)
        new = self.home.folder(f"{self.name}.new")
        installation.give(new)
        program = str(installation.program("initdb"))
        try:
            subprocess.run(
                [program, *INITDB, "--pgdata", _as_seen_from_inside(new)],
                cwd=new,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                umask=0o077,
                check=True,
                **installation.as_user(),
            )
            new.rename(data)
        except (OSError, subprocess.CalledProcessError) as error:
            output = getattr(error, "stderr", None) or str(error)
            raise ServiceUnavailable(
                f"{new} cannot become a database: {output.strip().splitlines()[-1]}"
            ) from error

    def _clear_after_crash(self, data: Path) -> None:
        # After a kill the postmaster may still be a zombie, which its lock files count as alive;
        # its children end by themselves, and nothing may start while one of them still writes.
        lock_files = [data / "postmaster.pid", data / f".s.PGSQL.{PORT}.lock"]
        if not any(path.exists() for path in lock_files):
            return
        if not wait_until(lambda: not self._leftovers(), 10.0):
            for process in self._leftovers():
                process.kill()
            wait_until(lambda: not self._leftovers(), 5.0)
        for path in lock_files:
            path.unlink(missing_ok=True)

    def _leftovers(self) -> list[psutil.Process]:
        title = f"postgres: {self.mark}:"
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if (process.info["cmdline"] or [""])[0].startswith(title)
        ]


def _as_seen_from_inside(data: Path) -> str:
    return "/proc/self/cwd" if os.geteuid() == 0 else str(data)

"""The embedded servers, started for real in homes of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis
from kombu import Connection
from sqlalchemy import create_engine, text

import celery_app
from celery_app.errors import ConfigurationError
from celery_app.stack.home import Home
from celery_app.stack.postgres import DATABASE, USER, PostgresServer
from celery_app.stack.profile import current_settings, embedded_stack, ensure_stack, is_embedded
from celery_app.stack.stack import Stack
from celery_app.stack.valkey import ValkeyServer
from tests.celery_app.conftest import data_servers

PROJECT = Path(celery_app.__path__[0]).parent
START = """
import sys
from pathlib import Path
from celery_app.stack.postgres import PostgresServer
from celery_app.stack.stack import Stack
from celery_app.stack.valkey import ValkeyServer
home = Path(sys.argv[1])
stack = Stack(home, [PostgresServer(home), ValkeyServer(home)])
stack.start()
print(*(status["pid"] for status in stack.status()))
"""


def database(home: Path) -> psycopg2.extensions.connection:
    connection = psycopg2.connect(
        host=str(PostgresServer(home).socket.parent), port=5432, user=USER, dbname=DATABASE
    )
    connection.autocommit = True
    return connection


def ask(home: Path, statement: str) -> object:
    connection = database(home)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None
    finally:
        connection.close()


def bus(home: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=ValkeyServer(home).address, decode_responses=True)


def processes_of(home: Path) -> list[list[str]]:
    key = Home(home).key
    found = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [line for line in found if any(key in argument for argument in line)]


def pids(stack: Stack) -> list[int]:
    return [status["pid"] for status in stack.status() if status["pid"] is not None]


def become(name: str, act: Callable[[], None]) -> str:
    """Run `act` as another user, in a child that has all modules; return "done" or its error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            user = pwd.getpwnam(name)
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            act()
            os.write(writer, b"done")
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(child, 0)
    return told


def test_status_tells_what_runs_where_and_since_when(stack: Stack, embedded_home: Path) -> None:
    postgres, valkey = stack.status()
    assert (postgres["name"], valkey["name"]) == ("postgres", "valkey")
    assert postgres["state"] == valkey["state"] == "running"
    assert postgres["address"] == str(embedded_home / "postgres" / ".s.PGSQL.5432")
    assert postgres["since"] is not None
    assert postgres["since"].endswith("+00:00")


def test_nothing_listens_on_a_port_and_the_home_is_private(
    stack: Stack, embedded_home: Path
) -> None:
    for pid in pids(stack):
        kinds = {connection.family for connection in psutil.Process(pid).net_connections("all")}
        assert kinds <= {socket.AF_UNIX}
    assert stat.S_IMODE(embedded_home.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in embedded_home.iterdir())


def test_the_servers_are_set_up_to_keep_what_they_accept(stack: Stack, embedded_home: Path) -> None:
    expected = {"fsync": "on", "max_connections": "200", "shared_buffers": "64MB"}
    assert {name: ask(embedded_home, f"SHOW {name}") for name in expected} == expected
    assert ask(embedded_home, "SELECT lower('ÄÖ')") == "äö"
    client = bus(embedded_home)
    config = client.config_get("append*", "maxmemory-policy")
    client.close()
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "everysec"
    assert config["maxmemory-policy"] == "noeviction"


def test_starting_again_leaves_running_servers_alone(stack: Stack) -> None:
    before = pids(stack)
    stack.start()
    assert pids(stack) == before


def test_the_embedded_settings_lead_to_the_running_servers(
    stack: Stack, embedded_home: Path
) -> None:
    environ = {"AI_AGENT_HOME": str(embedded_home)}
    ensure_stack(environ)
    settings = current_settings(environ)
    parts = settings.components
    assert is_embedded(environ)
    assert parts.database.host == str(embedded_home / "postgres")
    assert settings.database_url.startswith("postgresql+psycopg2://postgres@/ai_agent_db?host=/")
    assert settings.broker_url.startswith("redis+socket:///")
    engine = create_engine(settings.database_url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_database()")) == "ai_agent_db"
    engine.dispose()
    with Connection(settings.broker_url) as broker:
        queue = broker.SimpleQueue("here")
        queue.put({"id": 1})
        assert queue.get(timeout=5).payload == {"id": 1}
        queue.close()


def test_asking_for_the_embedded_settings_touches_no_disk(tmp_path: Path) -> None:
    home = tmp_path / "none"
    environ = {
        "AI_AGENT_HOME": str(home),
        "AI_AGENT__WORKER__CONCURRENCY": "3",
        "AI_AGENT__COMPONENTS__MESSAGE_BUS__HOST": "bus.example.org",
    }
    settings = current_settings(environ)
    assert settings.worker.concurrency == 3
    assert settings.broker_url == "redis://bus.example.org:6379/0"
    assert embedded_stack(environ).status()[0]["state"] == "stopped"
    embedded_stack(environ).stop()
    assert not home.exists()


def test_two_homes_at_once_and_stopping_one_leaves_the_other(
    stack: Stack, embedded_home: Path, other: Stack
) -> None:
    other.start()
    ask(other.home.path, "CREATE TABLE here (id int)")
    assert ask(embedded_home, "SELECT to_regclass('here')") is None
    before = pids(stack)
    other.stop()
    assert processes_of(other.home.path) == []
    assert [status["state"] for status in other.status()] == ["stopped", "stopped"]
    assert pids(stack) == before
    assert stack.running()


def test_killed_servers_start_again_with_their_data(other: Stack) -> None:
    other.start()
    home = other.home.path
    ask(home, "CREATE TABLE kept (word text)")
    ask(home, "INSERT INTO kept VALUES ('row')")
    client = bus(home)
    client.set("kept", "value")
    client.config_set("appendfsync", "always")  # so that the next write is on disk when it returns
    client.set("again", "value")
    client.close()
    busy = database(home)
    killed = pids(other)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    busy.close()
    other.start()
    assert set(pids(other)).isdisjoint(killed)
    assert ask(home, "SELECT word FROM kept") == "row"
    client = bus(home)
    assert client.mget("kept", "again") == ["value", "value"]
    client.close()


def test_servers_outlive_the_process_that_started_them_and_a_race_starts_one_set(
    other: Stack,
) -> None:
    command = [sys.executable, "-c", START, str(other.home.path)]
    starters = [
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    told = [starter.communicate(timeout=60)[0].split() for starter in starters]
    assert [starter.returncode for starter in starters] == [0, 0, 0]
    assert told == [[str(pid) for pid in pids(other)]] * 3
    assert other.running()
    for pid in pids(other):
        assert os.getsid(pid) != os.getsid(0)


def test_a_long_home_is_reached_through_a_short_private_path(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30)
    stack = Stack(home, data_servers(home))
    link = stack.home.link
    try:
        stack.start()
        assert len(stack.status()[0]["address"]) <= 100
        assert stat.S_IMODE(link.parent.lstat().st_mode) == 0o700
        assert ask(stack.home.path, "SELECT 1") == 1
        client = bus(stack.home.path)
        assert client.ping()
        client.close()
    finally:
        stack.stop()
    assert not link.parent.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_an_ordinary_user_runs_its_own_stack(stack: Stack) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ordinary-", dir="/tmp"))
    shutil.chown(folder, "nobody")
    home = folder / "home"

    def as_nobody() -> None:
        mine = Stack(home, data_servers(home))
        try:
            mine.start()
            assert ask(home, "SELECT 1") == 1
            assert {psutil.Process(pid).username() for pid in pids(mine)} == {"nobody"}
            os.kill(pids(mine)[0], signal.SIGKILL)
            mine.start()
            assert mine.running()
            with pytest.raises(ConfigurationError, match="set AI_AGENT_HOME"):
                Stack(stack.home.path.parent).start()
        finally:
            mine.stop()

    try:
        assert become("nobody", as_nobody) == "done"
        assert processes_of(home) == []
        with pytest.raises(ConfigurationError, match="belongs to user"):
            Stack(home).start()
    finally:
        shutil.rmtree(folder)


def test_a_postgres_that_has_just_begun_to_write_its_pid_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "postmaster.pid").write_text("")
    assert PostgresServer(tmp_path).answers() is False

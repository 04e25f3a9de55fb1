"""The tables: made and upgraded by one command, from any earlier version, and refused if they differ."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from celery import Celery
from sqlalchemy import Connection, make_url, text

from celery_app.errors import ConfigurationError
from celery_app.postgres.connection import Database
from celery_app.postgres.migrate import check_schema, migrate, pending, schema_files
from tests.backend.project import make_project

NAMES = [name for name, _ in schema_files()]


@pytest.fixture
def empty(database: Database, urls: tuple[str, str]) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    name = f"empty_{uuid4().hex[:8]}"
    database.rows(f"CREATE DATABASE {name}")
    url = make_url(urls[1].removeprefix("agentpg+")).set(database=name)
    shown = url.render_as_string(hide_password=False)
    yield shown
    Database(shown).dispose()
    database.rows(f"DROP DATABASE {name} WITH (FORCE)")


def celery(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a celery command for the project on a database."""
    environment = {
        **os.environ,
        "FOREIGN_BROKER": "memory://",
        "FOREIGN_BACKEND": f"agentpg+{url}",
        "FOREIGN_QUEUE": "unused",
    }
    command = [sys.executable, "-m", "celery", "-A", "tests.backend.project_app", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def apply_first(url: str, count: int) -> None:
    """Bring a database to an earlier version."""

    def apply(connection: Connection) -> None:
        connection.exec_driver_sql(
            "CREATE TABLE schema_migration (name text PRIMARY KEY, applied_at timestamptz)"
        )
        for name, sql in schema_files()[:count]:
            connection.exec_driver_sql(sql.replace("%", "%%"))
            connection.execute(
                text("INSERT INTO schema_migration VALUES (:name, now())"), {"name": name}
            )

    Database(url).transaction(apply)


def test_one_command_makes_the_tables(empty: str) -> None:
    first = celery(empty, "agentpg", "migrate")
    assert first.stdout.splitlines() == [f"applied {name}" for name in NAMES]
    assert celery(empty, "agentpg", "migrate").stdout == "the schema is the newest\n"
    assert celery(empty, "agentpg", "check").returncode == 0


def test_many_at_the_same_moment_apply_each_step_once(empty: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        applied = list(pool.map(lambda _: migrate(Database(empty)), range(8)))
    assert sorted(name for names in applied for name in names) == NAMES


@pytest.mark.parametrize("count", range(1, len(NAMES)))
def test_every_earlier_version_is_upgraded(empty: str, count: int) -> None:
    apply_first(empty, count)
    database = Database(empty)
    if count >= 2:
        database.rows("INSERT INTO result (task_id, status, meta) VALUES ('old', 'SUCCESS', '{}')")
    assert pending(database) == NAMES[count:]
    assert migrate(database) == NAMES[count:]
    app = make_project("memory://", f"agentpg+{empty}", "unused")
    app.backend.store_result("new", 1, "SUCCESS")
    assert app.AsyncResult("new").get(timeout=5) == 1
    if count >= 2:
        assert database.row("SELECT status FROM result WHERE task_id = 'old'").status == "SUCCESS"
    app.backend.result_consumer.stop()
    app.close()


def test_a_worker_with_older_tables_says_so_and_stops(empty: str) -> None:
    apply_first(empty, 2)
    worker = celery(empty, "worker", "-P", "solo")
    assert worker.returncode == 2
    assert f"the database lacks {NAMES[2]}" in worker.stderr
    assert "agentpg migrate" in worker.stderr


def test_a_worker_older_than_the_tables_says_so_and_stops(empty: str) -> None:
    migrate(Database(empty))
    Database(empty).rows("INSERT INTO schema_migration (name) VALUES ('9999_later.sql')")
    worker = celery(empty, "worker", "-P", "solo")
    assert worker.returncode == 2
    assert "9999_later.sql, which this version does not know" in worker.stderr
    for command in ("migrate", "check"):
        refused = celery(empty, "agentpg", command)
        assert refused.returncode == 2
        assert "install the version that made it" in refused.stderr
    with pytest.raises(ConfigurationError, match="9999_later"):
        check_schema(Database(empty))


def test_a_client_without_tables_says_what_to_do(empty: str) -> None:
    app: Celery = make_project("memory://", f"agentpg+{empty}", "unused")
    with pytest.raises(ConfigurationError, match="agentpg migrate"):
        _ = app.AsyncResult("x").state
    app.close()


def test_the_command_names_another_backend() -> None:
    environment = {**os.environ, "FOREIGN_BROKER": "memory://", "FOREIGN_QUEUE": "unused"}
    refused = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tests.backend.project_app", "agentpg", "check"],
        env={**environment, "FOREIGN_BACKEND": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 2
    assert "set result_backend to agentpg://" in refused.stderr

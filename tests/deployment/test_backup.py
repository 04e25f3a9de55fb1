"""A backup as docs/operations.md makes it, and what is there once it was restored."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from celery_app.client import Client
from celery_app.stack.installation import Installation
from celery_app.stack.profile import current_settings
from tests.deployment.composition import ROOT
from tests.worker_process import WorkerProcess

TEXT = (ROOT / "docs/operations.md").read_text()


def of_document(program: str) -> list[str]:
    """The options that the document gives to a program, without the server and the database."""
    line = re.compile(rf"{program} -U postgres (.*?)(?: -d)? ?ai_agent_db [<>] \S+$", re.MULTILINE)
    found = line.search(TEXT)
    assert found is not None
    return found[1].split()


def run(program: str, *options: str, **streams: Any) -> bytes:
    database = current_settings().components.database
    command = [
        str(Installation.find().program(program)), "-h", database.host, "-U", database.user,
        "-p", str(database.port), *options,
    ]  # fmt: skip
    done: subprocess.CompletedProcess[bytes]
    done = subprocess.run(command, capture_output=True, check=False, **streams)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def ask(name: str, *arguments: str) -> Any:
    """What a command says of the database of that name."""
    environ: Mapping[str, str] = {**os.environ, "AI_AGENT__COMPONENTS__DATABASE__NAME": name}
    command = [sys.executable, "-m", "celery_app", *arguments, "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def empty(client: Client) -> str:
    database = current_settings().components.database
    connection = psycopg2.connect(
        host=database.host, port=database.port, user=database.user, dbname=database.name
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier("restored")))
    connection.close()
    return "restored"


@pytest.mark.timeout(400)
def test_what_was_backed_up_is_there_again(
    client: Client, worker: WorkerProcess, empty: str
) -> None:
    words = "Nobody reads this without the key."
    job = client.submit_graph(
        [{"id": "00000000-0000-4000-8000-0000000000b1", "task": "chore.echo", "args": [words]}]
    )
    job.result(timeout=60)
    ours = current_settings().components.database.name

    assert of_document("pg_dump") == ["-Fc"]
    dump = run("pg_dump", "-Fc", ours)
    assert words.encode() not in dump
    restore = of_document("pg_restore")
    assert restore == ["--clean", "--if-exists"]
    run("pg_restore", *restore, "-d", empty, input=dump)

    before, after = (ask(name, "task", "show", str(job.id)) for name in (ours, empty))
    assert words in json.dumps(after)
    assert after == before
    assert ask(empty, "audit", "verify") is not None

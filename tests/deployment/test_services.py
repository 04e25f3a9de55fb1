"""Each container of ours as a plain process: the image's entry script, the service's command, variables
and health check, against servers that run already. Only the addresses are those of this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.security.guard import local_user
from celery_app.security.keys import KeyRing
from celery_app.stack.profile import current_settings
from tests.deployment.composition import ROOT, environment, read_compose

SERVICES = read_compose()["services"]
PASSWORD = "once upon a time"


@pytest.fixture(scope="module")
def places(client: Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a container mounts, by the path inside."""
    folder = tmp_path_factory.mktemp("container")
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "secrets").mkdir()
    for name in ("db_password", "flower_password"):
        (folder / "secrets" / name).write_text(PASSWORD)
    (folder / "keys").mkdir(mode=0o700)
    ring = KeyRing(folder / "keys")
    ring.appoint(ring.add())
    policies = (ROOT / "config/policies.yaml").read_text()
    user = f'"{local_user()}": [operator]'
    (folder / "policies.yaml").write_text(policies.replace('"user:ai-agent": [operator]', user))
    return {
        "/etc/ai-agent/config": folder / "config",
        "/etc/ai-agent/security/policies.yaml": folder / "policies.yaml",
        "/etc/ai-agent/keys": folder / "keys",
        "/run/secrets": folder / "secrets",
    }


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def variables(name: str, places: Mapping[str, Path], home: Path) -> dict[str, str]:
    """The variables of a service here: its own, then the addresses of this machine's servers."""
    components = current_settings().components
    bus, database = components.message_bus, components.database
    system = ("PATH", "HOME", "LANG", "PYTHONPATH")
    kept = {name: os.environ[name] for name in system if name in os.environ}
    bin_folder = str(Path(sys.executable).parent)
    return {
        **kept,
        **environment(SERVICES[name], places),
        "PATH": f"{bin_folder}:{kept['PATH']}",
        "AI_AGENT_HOME": str(home),
        "REMAP_SIGTERM": "SIGQUIT",
        "API_PORT": _free_port(),
        "FLOWER_PORT": _free_port(),
        "AI_AGENT__SECURITY__ENCRYPTION__KEY_PATH": str(places["/etc/ai-agent/keys"]),
        "AI_AGENT__SECURITY__PERMISSIONS__POLICY_FILE": str(
            places["/etc/ai-agent/security/policies.yaml"]
        ),
        "AI_AGENT__COMPONENTS__MESSAGE_BUS__UNIX_SOCKET": str(bus.unix_socket),
        "AI_AGENT__COMPONENTS__MESSAGE_BUS__DB": "7",
        "AI_AGENT__COMPONENTS__DATABASE__HOST": database.host,
        "AI_AGENT__COMPONENTS__DATABASE__NAME": "containers",
        "AI_AGENT__COMPONENTS__OLLAMA__HOST": components.ollama.urls[0],
    }


@pytest.fixture(scope="module", autouse=True)
def database_of_its_own(client: Client) -> None:
    """An empty database: whichever service starts first makes the tables."""
    found = current_settings().components.database
    connection = psycopg2.connect(
        host=found.host, port=found.port, user=found.user, password=found.secret, dbname=found.name
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE containers")
    connection.close()


@contextmanager
def running(name: str, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = ["sh", str(ROOT / "docker/entry.sh"), *SERVICES[name].get("command", [])]
    log = Path(environ["AI_AGENT_HOME"]) / f"{name}.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            command, env=dict(environ), cwd=environ["AI_AGENT_HOME"],
            stdout=written, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            finally:
                process.kill()
                print(log.read_text(errors="replace")[-5000:])


def is_healthy(name: str, environ: Mapping[str, str]) -> bool:
    check: list[Any] = SERVICES[name]["healthcheck"]["test"]
    assert check[:2] == ["CMD", "entry.sh"]
    command = ["sh", str(ROOT / "docker/entry.sh"), *check[2:]]
    asked = subprocess.run(command, env=dict(environ), capture_output=True, timeout=60, check=False)
    return asked.returncode == 0


@pytest.mark.parametrize("name", ["orchestrator", "agent_pool", "beat", "flower"])
def test_it_becomes_healthy_and_ends_when_told(
    name: str, places: dict[str, Path], tmp_path: Path
) -> None:
    if name == "orchestrator" and "api" not in cli.commands:
        pytest.skip("this build has no HTTP API")
    environ = variables(name, places, tmp_path)
    assert not is_healthy(name, environ)
    with running(name, environ) as process:
        deadline = time.monotonic() + 90
        while not is_healthy(name, environ):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
    assert process.poll() is not None


def test_the_role_is_chosen_by_the_environment(tmp_path: Path) -> None:
    (tmp_path / "ai-agent").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "ai-agent").chmod(0o755)

    def started(*arguments: str, **environ: str) -> str:
        command = ["sh", str(ROOT / "docker/entry.sh"), *arguments]
        variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", **environ}
        return subprocess.run(
            command, env=variables, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert started() == "api --host 0.0.0.0 --port 8000"
    assert started(AGENT_POOL="true") == "worker -n agent_pool@%h"
    assert started("beat", AGENT_POOL="true") == "beat"
    assert started("flower") == "flower --address=0.0.0.0 --port=5555"
    assert started("ai-agent", "keys", "list") == "keys list"

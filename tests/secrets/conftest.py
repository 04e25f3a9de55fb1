"""A system whose servers ask for passwords, with everything that it says collected."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
import redis

from celery_app.security.keys import Key, KeyRing
from celery_app.settings import SystemSettings, load_settings
from celery_app.stack.postgres import PORT, PostgresServer
from celery_app.stack.stack import Stack
from celery_app.stack.valkey import ValkeyServer

#: Each has a letter that a URL, a repr or JSON writes in another way.
DATABASE, BROKER, WEBHOOK = "pg-pl@nted/1%", "red:is-pl'anted\\2", 'hook-"planted"-3'


@dataclass
class Guarded:
    """A stack of its own behind passwords, and the folder of its settings."""

    config: Path
    postgres: PostgresServer
    valkey: ValkeyServer

    @property
    def environ(self) -> dict[str, str]:
        return {
            "CONFIG_PATH": str(self.config),
            "AI_AGENT_HOME": str(self.postgres.home.path),
            "AI_AGENT__IMPORTS": "[tests.secrets.user_tasks]",
        }

    @property
    def settings(self) -> SystemSettings:
        return load_settings(self.config, {})

    @property
    def secrets(self) -> list[str]:
        """Everything that nobody may be shown, in clear."""
        ring = KeyRing(self.config / "keys")
        planted = [DATABASE, BROKER, WEBHOOK]
        if self.flower_file.exists():
            planted.append(self.flower_password)
        return [*planted, *(form for key in ring.all() for form in _forms_of(key))]

    @property
    def flower_file(self) -> Path:
        """Where the user and the password stand that Flower has made for itself."""
        return self.postgres.home.path / "flower"

    @property
    def flower_password(self) -> str:
        return self.flower_file.read_text().strip().partition(":")[2]

    def run(self, *args: str, environ: Mapping[str, str] | None = None) -> str:
        """Run a Python program to its end; return all that it prints."""
        done = subprocess.run(
            [sys.executable, *args],
            env={**os.environ, **self.environ, **(environ or {})},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100, check=False,
        )  # fmt: skip
        return done.stdout

    def write(self, name: str, **passwords: str) -> Path:
        """Write a folder of settings; return it."""
        folder = self.config.parent / name
        folder.mkdir()
        for of, password in passwords.items():
            (folder / of).write_text(password)
        (folder / "policies.yaml").write_text("rules: [{effect: allow, who: ['*'], may: ['*']}]\n")
        ring = KeyRing(folder / "keys")
        ring.appoint(ring.add())
        (folder / "system.yaml").write_text(f"""
components:
  database: {{host: {self.postgres.socket.parent}, port: {PORT}, user: agent, password_file: database}}
  message_bus: {{unix_socket: {self.valkey.socket}, password_file: broker}}
  ollama: {{host: "127.0.0.1:9"}}
security:
  encryption: {{enabled: false, key_path: keys}}
  permissions: {{policy_file: policies.yaml}}
webhooks: {{shop: {{password_file: webhook}}}}
""")
        return folder


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Servers that want passwords; messages and rows are in clear, so that anything in them is seen."""
    folder = tmp_path_factory.mktemp("guarded")
    made = Guarded(folder / "config", PostgresServer(folder), ValkeyServer(folder))
    stack = Stack(folder, [made.postgres, made.valkey])
    stack.start()
    connection = psycopg2.connect(
        host=str(made.postgres.socket.parent), port=PORT, user="postgres", dbname="postgres"
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE agent SUPERUSER LOGIN PASSWORD %s", (DATABASE,))
        rules = made.postgres.home.path / "postgres" / "pg_hba.conf"
        rules.write_text("local all agent scram-sha-256\n" + rules.read_text())
        cursor.execute("SELECT pg_reload_conf()")
    connection.close()
    made.write("config", database=DATABASE, broker=BROKER, webhook=WEBHOOK)
    broker = client_of(made, None)
    broker.config_set("requirepass", BROKER)
    broker.close()
    yield made
    broker = client_of(made, BROKER)
    broker.config_set("requirepass", "")
    broker.close()
    stack.stop()


def _forms_of(key: Key) -> tuple[str, str]:
    return key.secret.hex(), base64.b64encode(key.secret).decode()


def client_of(guarded: Guarded, password: str | None) -> redis.Redis:
    """Return a client of the broker."""
    return redis.Redis(unix_socket_path=guarded.valkey.address, password=password)

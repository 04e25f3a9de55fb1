"""The folder in which one embedded stack lives, and the short paths that lead into it.

Invariant: whatever lives here can be read by the owner alone (mode 0700), and two homes share
nothing: every name that leaves the folder carries the folder's own key.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from celery_app.errors import ConfigurationError

__all__ = ["Home", "is_project"]

# The kernel takes 107 bytes for a socket's path (103 on macOS): stay below both.
LONGEST_SOCKET_PATH = 100

#: The home of a folder that `ai-agent init` made, seen from there.
_HERE = Path(".ai-agent")


def is_project() -> bool:
    """Whether the working directory is one that `ai-agent init` made, for this user.

    What somebody else has put there, as into a folder that all may write to, is not followed.
    """
    return _HERE.is_dir() and _HERE.stat().st_uid == os.geteuid()


class Home:
    """The data folder of one embedded stack: `AI_AGENT_HOME`, else `.ai-agent` here, else `~/.ai-agent`.

    `key` is a short name for the folder: it marks the folder's processes and its link in the
    system's temporary folder. Making a `Home` touches no disk; `prepare` does.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.path = path.expanduser().resolve()
        except RuntimeError as error:  # a user without a home folder
            raise ConfigurationError(
                f"{path} leads nowhere ({error}): set AI_AGENT_HOME"
            ) from error
        self.key = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Home:
        """Return the home that the environment names, or else that of the working directory."""
        named = environ.get("AI_AGENT_HOME")
        return cls(Path(named or (_HERE if is_project() else "~/.ai-agent")))

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    @property
    def link(self) -> Path:
        """A short path that leads to this folder (made by `prepare` when it is needed)."""
        return _temporary_folder() / f"ai-agent-{os.geteuid()}-{self.key}" / "home"

    def socket(self, folder: str, name: str) -> Path:
        """Return a path short enough to connect to for the socket `name` in `folder`."""
        direct = self.path / folder / name
        if len(os.fsencode(direct)) <= LONGEST_SOCKET_PATH:
            return direct
        return self.link / folder / name

    def prepare(self) -> None:
        """Make the folder, private to its owner. Raises ConfigurationError when that fails."""
        if self.path in (Path("/"), Path(os.path.expanduser("~")).resolve()):
            raise ConfigurationError(
                f"AI_AGENT_HOME={self.path} would make that whole folder private:"
                f" name a folder of its own, such as {self.path / '.ai-agent'}"
            )
        self.folder()
        for name in ("log", "run"):
            self.folder(name)
        longest = self.path / "postgres" / ".s.PGSQL.5432"
        if len(os.fsencode(longest)) > LONGEST_SOCKET_PATH:
            self._make_link()

    def remove_link(self) -> None:
        """Remove the short path to this folder; the next `prepare` makes it again."""
        with suppress(OSError):  # not there, or not ours
            self.link.unlink(missing_ok=True)
            self.link.parent.rmdir()

    def folder(self, name: str = "") -> Path:
        """Make the private folder `name` inside the home, and return its path."""
        path = self.path / name
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_owner(path)
            path.chmod(0o700)
        except OSError as error:
            raise ConfigurationError(
                f"{path} cannot be used for data ({error.strerror}):"
                " set AI_AGENT_HOME to a folder that you may write to"
            ) from error
        return path

    def check(self) -> None:
        """Raise ConfigurationError when the folder exists and belongs to somebody else."""
        try:
            self._check_owner(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigurationError(
                f"{self.path} cannot be read ({error.strerror}): set AI_AGENT_HOME to your folder"
            ) from error

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock `name` of this home; another thread or process waits its turn."""
        path = self.folder("run") / f"{name}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # flock, not lockf: the latter does not keep two threads of one process apart.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _check_owner(self, path: Path) -> None:
        owner = path.stat().st_uid
        if path == self.path and owner != os.geteuid():
            raise ConfigurationError(
                f"{path} belongs to user {owner}, and you are user {os.geteuid()}:"
                " set AI_AGENT_HOME to a folder of your own"
            )

    def _make_link(self) -> None:
        folder = self.link.parent
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700
            if not private or found.st_uid != os.geteuid():
                raise ConfigurationError(
                    f"{folder} was made by somebody else: remove it, or choose an AI_AGENT_HOME"
                    f" with a shorter path than {self.path}"
                )
            if not (self.link.is_symlink() and self.link.readlink() == self.path):
                self.link.unlink(missing_ok=True)
                self.link.symlink_to(self.path)
        except FileExistsError:
            return  # another process of ours made the same link a moment ago
        except OSError as error:
            raise ConfigurationError(
                f"{folder} cannot be made ({error.strerror}): choose an AI_AGENT_HOME"
                f" with a shorter path than {self.path}"
            ) from error


def _temporary_folder() -> Path:
    folder = Path(tempfile.gettempdir())
    return folder if len(os.fsencode(folder)) <= 40 else Path("/tmp")  # noqa: S108 - checked above

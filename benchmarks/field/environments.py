"""Scratch environments: each peer is installed apart from us and from the others.

Invariant: a finished environment is named after all that was asked for, so other versions make another one.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.field.peers import Peer

__all__ = ["SCRATCH", "python_of"]

SCRATCH = Path.home() / ".cache" / "ai-agent-benchmarks"


def python_of(peer: Peer, scratch: Path = SCRATCH) -> Path:
    """Return the interpreter that has what a peer needs, which is installed if it is not yet.

    Raises:
        subprocess.CalledProcessError: pip cannot install them; it has said why.
    """
    if not peer.needs:
        return Path(sys.executable)
    mark = hashlib.sha256("\n".join([sys.version, *peer.needs]).encode()).hexdigest()[:12]
    folder = scratch / f"{peer.module}-{mark}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *peer.needs], check=True, stdout=sys.stderr)
        (folder / "installed").write_text("\n".join(peer.needs), encoding="utf-8")
    return python

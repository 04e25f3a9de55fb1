"""Scratch environments: each peer is installed apart from us and from the others.

Invariant: a finished environment is named after all that was asked for, so other versions make another one.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["SCRATCH", "python_of"]

SCRATCH = Path.home() / ".cache" / "ai-agent-benchmarks"


def python_of(name: str, needs: Sequence[str], scratch: Path) -> Path:
    """Return the interpreter with these packages, which are installed if they are not yet.

    Raises:
        subprocess.CalledProcessError: pip cannot install them; it has said why.
    """
    if not needs:
        return Path(sys.executable)
    mark = hashlib.sha256("\n".join([sys.version, *needs]).encode()).hexdigest()[:12]
    folder = scratch / f"{name}-{mark}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *needs], check=True, stdout=sys.stderr)
        (folder / "installed").write_text("\n".join(needs), encoding="utf-8")
    return python

"""The process that cleans up when the one that runs the tests is no more.

    python -m celery_app.testing.watchdog FOLDER

Invariant: it acts when its standard input ends, which happens however that process ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Wait, and remove what is left."""
    sys.stdin.read()
    root = Path(sys.argv[1])
    if not root.exists():
        return
    from celery_app.testing.leftovers import hold, remove

    lock = hold(root)
    if lock is not None:
        remove(root)
        lock.close()


if __name__ == "__main__":
    main()

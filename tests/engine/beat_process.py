"""What beat does, on a clock that stands in a file: `python -m tests.engine.beat_process FILE`.

It looks at the triggers again and again, until the file is gone.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path

from celery_app.orchestrator.triggers import Triggers


def main() -> None:
    file = Path(sys.argv[1])
    triggers = Triggers(clock=lambda: datetime.fromisoformat(file.read_text()))
    try:
        while True:
            triggers.start_due()
            time.sleep(0.01)
    except FileNotFoundError:
        return


if __name__ == "__main__":
    main()

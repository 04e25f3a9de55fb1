"""Celery beat starts scheduled workflows.

    celery -A celery_app beat

Invariants
  * The user's own `beat_schedule` runs as Celery's default scheduler runs it.
  * Any number of beats may run: what one has started, no other one starts again.
  * Whoever watches beat sees it alive by the file `SCHEDULE.tick`, touched at least every five seconds.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery.beat import PersistentScheduler

from celery_app.orchestrator.triggers import Triggers
from celery_app.orchestrator.workflow_files import WorkflowFiles

logger = logging.getLogger(__name__)

#: Most seconds between two looks at the triggers and the files.
LONGEST_PAUSE = 5.0


class TriggerScheduler(PersistentScheduler):
    """Celery's own scheduler, which also starts the workflows that are due."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.triggers = Triggers(WorkflowFiles())

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Start what is due; return the seconds until something is due next."""
        Path(f"{self.schedule_filename}.tick").touch()
        pause = float(super().tick(*args, **kwargs))
        try:
            self.triggers.refresh()
            following = self.triggers.start_due()
        except Exception:
            # Whatever it was: nobody else would start what is due next.
            logger.exception("workflows are looked at again in %g s", LONGEST_PAUSE)
            following = None
        if following is not None:
            pause = min(pause, (following - datetime.now(UTC)).total_seconds())
        return max(0.0, min(pause, LONGEST_PAUSE))

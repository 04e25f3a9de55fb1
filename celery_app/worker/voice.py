"""What a model says, told to those who follow the run while it is said.

It costs nothing unless somebody does: they make themselves known again and again, and are forgotten
when they fall silent. A piece that is lost is not told again; the whole answer is recorded.
"""

from __future__ import annotations

import logging
import time

from kombu.utils.json import dumps

from celery_app.errors import AgentSystemError
from celery_app.postgres.connection import Database
from celery_app.worker.leases import Lease

logger = logging.getLogger(__name__)

#: Seconds between two pieces; a message to everybody for each token would be too much.
_PAUSE = 0.1
#: Letters in a notification, of which Postgres takes 8000 bytes.
_LONGEST = 1500


class Voice:
    """The voice of one model call.

    Args:
        database: Carries what is said.
        lease: Of the task that asks; it knows whether somebody follows.
    """

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease
        self._said: list[str] = []
        self._told_at = 0.0

    def say(self, text: str) -> None:
        """Take in what the model has just said, and tell it soon."""
        if not self._lease.followed:
            return
        self._said.append(text)
        if time.monotonic() >= self._told_at + _PAUSE:
            self.tell()

    def tell(self) -> None:
        """Tell what has been said and not been told."""
        text, self._said = "".join(self._said), []
        claim = self._lease.claim
        pieces = [text[start : start + _LONGEST] for start in range(0, len(text), _LONGEST)]
        if not pieces:
            return
        self._told_at = time.monotonic()
        try:
            self._database.rows(
                "SELECT pg_notify(:channel, piece) FROM unnest(CAST(:pieces AS text[])) AS piece",
                channel=f"said_{claim.root_id}",
                pieces=[
                    dumps(
                        {
                            "root_id": claim.root_id,
                            "task_id": claim.id,
                            "attempt": claim.attempt,
                            "text": piece,
                        }
                    )
                    for piece in pieces
                ],
            )
        except AgentSystemError:
            logger.debug("nobody can be told what task %s says", claim.id, exc_info=True)

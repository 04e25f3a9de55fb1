"""Tasks that say something, and a program that says much: python -m tests.observe.talking NAME COUNT."""

from __future__ import annotations

import logging
import os
import sys

import structlog
from celery import shared_task
from celery.utils.log import get_task_logger

from celery_app.records import EnrichedLogEvent

task_logger = get_task_logger("talking.task")


@shared_task(name="talking.say")
def say(words: str) -> int:
    logging.getLogger("talking").info("plain %s", words)
    task_logger.warning("by the task logger %s", words)
    structlog.get_logger("talking").info("structured", words=words, count=3)
    logging.getLogger("talking").debug("not kept %s", words)
    return os.getpid()


@shared_task(name="talking.fail")
def fail(words: str) -> None:
    try:
        int(words)
    except ValueError:
        logging.getLogger("talking").exception("it went wrong", extra={"words": words})


def shout(event: EnrichedLogEvent) -> EnrichedLogEvent | None:
    """A processor of the user's own."""
    if event.event.message == "hush":
        return None
    if event.event.message == "boom":
        raise RuntimeError("the processor fails")
    told = event.event.model_copy(update={"message": event.event.message.upper()})
    return event.model_copy(update={"event": told})


def main(name: str, number: int) -> None:
    from celery_app import LogContext, LogEvent, LogManager

    manager = LogManager()
    for each in range(number):
        event = LogEvent(message=f"{name} {each}", logger=f"talking.{name}")
        manager.log(event, LogContext(task_id=name))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

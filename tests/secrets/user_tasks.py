"""Tasks of a careless user, who reads a password and tells everybody."""

from __future__ import annotations

import logging

from celery import shared_task

from celery_app.celery import settings

#: Stands beside each secret, so that whoever looks for secrets can show that he sees what is told.
MARKER = "marker-of-the-careless"


def _words() -> str:
    database = settings.components.database.secret
    return f"{MARKER}: database {database!r}, broker {settings.broker_url}"


@shared_task(name="careless.fail")
def fail() -> None:
    raise RuntimeError(_words())


@shared_task(name="careless.tell", ignore_result=True)
def tell(secret: str = "") -> None:
    print(_words(), secret)
    logging.getLogger("careless").warning("%s", _words())
    logging.getLogger("careless").error(
        "%s %s", MARKER, {"password": settings.webhooks["shop"].secret}
    )
    try:
        int(_words())
    except ValueError:
        logging.getLogger("careless").exception("it went wrong")

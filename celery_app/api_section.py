"""The section `api` of system.yaml: where the HTTP API listens, and how much it takes.

Invariant: the defaults serve one machine: nobody else's requests arrive, and no single subject can take
all of it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from celery_app.sections import Port, Section
from celery_app.sizes import Size

__all__ = ["Api"]


class Api(Section):
    """The HTTP API.

    `workers` are processes, each with `threads` for requests (few are quicker than many, for Python runs
    one at a time; those that wait for models have others) and room for `streams` that are open.
    `rate` is what one subject may ask for (`300/s`, `1000/m`); `largest_body` what one request may bring.
    `url` is where people find the console, for the link in Flower; by default `port` of the same host.
    A request that is running when the API ends is given `grace` seconds.
    """

    host: str = "127.0.0.1"
    port: Port = 8000
    url: str | None = Field(None, pattern=r"^https?://\S+$")
    workers: PositiveInt = 1
    threads: PositiveInt = 10
    streams: PositiveInt = 2000
    rate: Annotated[str, Field(pattern=r"^[1-9]\d{0,8}/[smh]$")] = "300/s"
    largest_body: Size = 16 * 2**20
    grace: PositiveFloat = 10

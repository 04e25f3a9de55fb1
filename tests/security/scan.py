"""Everything that Postgres and Redis hold, in clear bytes, as somebody with both dumps would read it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from redis import Redis
from sqlalchemy import text

from celery_app.postgres.connection import Database


def dump(database: Database, broker: Redis) -> bytes:
    """Return all values of all tables and all keys; what is packed in base64 once more, unpacked."""
    return b"\n".join([*_postgres(database), *_redis(broker)])


def _postgres(database: Database) -> Iterator[bytes]:
    tables = database.rows(
        """
        SELECT quote_ident(table_name) AS name FROM information_schema.tables
         WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
        """
    )
    assert len(tables) > 10
    with database.session() as connection:
        for table in tables:
            for row in connection.execute(text(f"SELECT * FROM {table.name}")):
                yield from map(_as_bytes, row)


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, memoryview | bytes):
        return bytes(value)
    return str(value).encode()


def _redis(broker: Redis) -> Iterator[bytes]:
    read: dict[Any, Any] = {
        b"string": broker.get,
        b"list": lambda key: broker.lrange(key, 0, -1),
        b"set": broker.smembers,
        b"zset": lambda key: broker.zrange(key, 0, -1),
        b"hash": lambda key: [text for pair in broker.hgetall(key).items() for text in pair],
    }
    for key in broker.scan_iter():
        yield key
        found = read[broker.type(key)](key)
        for value in [found] if isinstance(found, bytes) else found or ():
            yield value
            yield from _bodies(value)


def _bodies(value: bytes) -> Iterator[bytes]:
    """Yield the body of a message, and of one that a worker holds."""
    try:
        told = json.loads(value)
    except ValueError:
        return
    for part in told if isinstance(told, list) else [told]:
        if isinstance(part, dict) and isinstance(part.get("body"), str):
            try:
                yield base64.b64decode(part["body"], validate=True)
            except binascii.Error:
                yield part["body"].encode()

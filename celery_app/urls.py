"""Addresses put together from their parts, each part escaped.

Invariant: a name, password or path with any character in it comes out of the URL as it went in.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

__all__ = ["database_url", "http_url", "redis_url", "socket_url"]


def database_url(user: str, password: str | None, host: str, port: int, name: str) -> str:
    """Return a SQLAlchemy URL; a host that starts with `/` is the folder of a unix socket."""
    start = f"postgresql+psycopg2://{_login(user, password)}"
    database = quote(name, safe="")
    if host.startswith("/"):
        return f"{start}@/{database}?{urlencode({'host': host, 'port': port}, safe='/')}"
    return f"{start}@{_bracketed(host)}:{port}/{database}"


def redis_url(password: str | None, host: str, port: int, db: int) -> str:
    """Return a kombu URL of Redis on a port."""
    login = f"{_login('', password)}@" if password else ""
    return f"redis://{login}{_bracketed(host)}:{port}/{db}"


def socket_url(password: str | None, path: Path, db: int) -> str:
    """Return a kombu URL of Redis on a unix socket."""
    login = f"{_login('', password)}@" if password else ""
    return f"redis+socket://{login}{quote(str(path))}?virtual_host={db}"


def http_url(host: str, protocol: str, port: int) -> str:
    """Complete `gpu1`, `gpu1:11434`, `::1` or a whole URL; raises ValueError when it is none."""
    if "://" in host:
        parts = urlsplit(host)
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"{host} is not an http or https address")
    else:
        parts = urlsplit(f"//{host if host.count(':') < 2 or '[' in host else f'[{host}]'}")
    if not parts.hostname:
        raise ValueError(f"{host!r} names no host")
    if "@" in parts.netloc:
        raise ValueError("a host may not carry a user or password, since settings are shown")
    default = None if parts.scheme else port
    number = parts.port or default
    suffix = f":{number}" if number else ""
    address = f"{_bracketed(parts.hostname)}{suffix}{parts.path.rstrip('/')}"
    return f"{parts.scheme or protocol}://{address}"


def _login(user: str, password: str | None) -> str:
    secret = f":{quote(password, safe='')}" if password else ""
    return quote(user, safe="") + secret


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

"""What a project's Celery configuration tells the result backend."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from celery.exceptions import ImproperlyConfigured

from celery_app.security.keys import KeyRing
from celery_app.security.vault import Vault

#: When waiting clients are told of a result: in its commit, in one of its own after that (quicker for
#: floods, and lost with a crash in between), or never (they look every few seconds).
NOTIFY_MODES = ("inline", "after", "off")


def seconds(expires: float | timedelta | None) -> float | None:
    """Return a setting of Celery's in seconds; None for "never", which is None or 0 there."""
    seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
    return float(seconds) if seconds else None


def vault_of(app: Any) -> Vault:
    """Return what seals results: the keys in the folder that the options name, if they name one."""
    vault: Vault | None = getattr(app, "vault", None)
    if vault is not None:
        return vault
    folder = (app.conf.result_backend_transport_options or {}).get("key_path")
    return Vault(None if folder is None else KeyRing(Path(folder)))


def notify_mode(app: Any) -> str:
    """Return when waiting clients are told of a result. Raises `ImproperlyConfigured`."""
    options = app.conf.result_backend_transport_options or {}
    mode = str(options.get("notify", "inline"))
    if mode not in NOTIFY_MODES:
        raise ImproperlyConfigured(
            f"result_backend_transport_options: notify is {mode!r}, not one of "
            + ", ".join(NOTIFY_MODES)
        )
    return mode

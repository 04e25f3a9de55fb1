"""Which settings hold here: those of a configured folder, or those of the embedded servers.

Invariants
  * Asking for the settings starts nothing. The embedded addresses follow from the home's path alone,
    so two processes agree on them without talking to each other.
  * A `config/system.yaml` in the working directory holds only where `ai-agent init` made that folder, and
    if it names no servers itself (`components`): those are asked for by `CONFIG_PATH` alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celery_app.security.keys import KeyRing
from celery_app.settings import SystemSettings, load_settings, make_settings
from celery_app.sources import Source
from celery_app.stack.home import Home, is_project
from celery_app.stack.llama import LlamaServer
from celery_app.stack.postgres import DATABASE, PORT, USER, PostgresServer
from celery_app.stack.server import Server
from celery_app.stack.stack import Stack
from celery_app.stack.valkey import ValkeyServer

__all__ = [
    "PROJECT",
    "current_settings",
    "embedded_stack",
    "ensure_stack",
    "has_data",
    "is_embedded",
    "of_folder",
]

#: The settings of a folder that `ai-agent init` made, seen from there.
PROJECT = Path("config/system.yaml")


def is_embedded(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the embedded servers are used: `CONFIG_PATH` names no folder."""
    return not environ.get("CONFIG_PATH")


def current_settings(
    environ: Mapping[str, str] = os.environ, *, check_files: bool = True
) -> SystemSettings:
    """Return the settings that hold in this environment. Raises ConfigurationError.

    See `load_settings` for `check_files`; the embedded profile needs no keys and no policy.
    """
    if not is_embedded(environ):
        return load_settings(Path(environ["CONFIG_PATH"]), environ, check_files=check_files)
    home = Home.of(environ)
    source = of_folder() or Source(name="the embedded settings")
    folder = PROJECT.parent if source.places else home.path
    source.values = _laid_over(_embedded(home.path), source.values)
    source.override(environ)
    bus = ("components", "message_bus")
    if (*bus, "host") in source.places and (*bus, "unix_socket") not in source.places:
        # The user's own bus: the embedded socket would go before its host and port.
        source.values["components"]["message_bus"]["unix_socket"] = None
    return make_settings(source, folder)


def of_folder() -> Source | None:
    """Return the settings of the working directory for the embedded servers, if it has any.

    Raises:
        ConfigurationError: Its file cannot be read.
    """
    if not is_project() or not PROJECT.is_file():
        return None
    source = Source.read(PROJECT)
    return None if "components" in source.values else source


def embedded_stack(environ: Mapping[str, str] = os.environ) -> Stack:
    """Return the stack of the home that the environment names, started or not.

    Servers that the environment replaces by others are left out.
    """
    home = Home.of(environ).path
    settings = current_settings(environ)
    components, encryption = settings.components, settings.security.encryption
    postgres, valkey, model = PostgresServer(home), ValkeyServer(home), LlamaServer(home)
    used: list[Server] = []
    if components.database.host == str(postgres.socket.parent):
        used.append(postgres)
    if str(components.message_bus.unix_socket) == str(valkey.socket):
        used.append(valkey)
    if model.address in components.ollama.urls:
        used.append(model)
    return Stack(home, used, KeyRing(encryption.key_path) if encryption.enabled else None)


def ensure_stack(environ: Mapping[str, str] = os.environ) -> None:
    """Start the embedded servers when they are the ones in use; else do nothing."""
    if is_embedded(environ):
        embedded_stack(environ).start()


def has_data(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether anything may be stored already: not before the embedded database is made."""
    home = Home.of(environ).path
    return not is_embedded(environ) or not PostgresServer(home).is_new


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return nested values, those of `above` going first."""
    both = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            both[key] = _laid_over(below[key], above[key])
    return both


def _embedded(home: Path) -> dict[str, Any]:
    postgres, valkey, model = PostgresServer(home), ValkeyServer(home), LlamaServer(home)
    return {
        "components": {
            "message_bus": {"unix_socket": str(valkey.socket)},
            "database": {
                "host": str(postgres.socket.parent),
                "port": PORT,
                "name": DATABASE,
                "user": USER,
            },
            "ollama": {"hosts": [model.address]},
        },
        "artifacts": {"folder": str(home / "artifacts")},
        "security": {
            "encryption": {"key_path": str(home / "keys")},
            "permissions": {"policy_file": str(home / "policies.yaml")},
        },
    }

"""What `ai-agent status` knows: servers, workers and tasks, without starting anything."""

from __future__ import annotations

import os
from typing import Any

import httpx
import psutil

from celery_app.celery import database, guard, queue, store
from celery_app.cli.options import JsonObject
from celery_app.cli.process_tree import flower_address, flower_words
from celery_app.cli.record import Record, Standing
from celery_app.cli.screen import print_pairs
from celery_app.cli.system import this_home, workers
from celery_app.errors import AgentSystemError, ConfigurationError
from celery_app.flower_door import password_place
from celery_app.settings import SystemSettings
from celery_app.stack.profile import current_settings, embedded_stack, is_embedded

__all__ = ["look", "model_host_answers", "print_overview", "servers"]


def look() -> JsonObject:
    """Return the state of everything as one JSON document.

    Raises ConfigurationError and PermissionDenied.
    """
    guard().require("system.read", "system:status")
    settings = current_settings()
    home = this_home()
    found = servers(settings)
    running = {server["name"] for server in found if server["state"] == "running"}
    standing = Record(home).read()
    process = standing.supervisor if standing else None
    return {
        "profile": "embedded" if is_embedded() else "configured",
        "home": str(home.path),
        "config": os.environ.get("CONFIG_PATH"),
        "servers": found,
        "flower": _flower(standing),
        "up": {"pid": process.pid, "detached": standing.detached} if standing and process else None,
        "workers": _workers() if running & {"valkey", "message_bus"} else [],
        "tasks": _counts() if running & {"postgres", "database"} else {},
    }


def servers(settings: SystemSettings) -> list[JsonObject]:
    """Return each server with its name, state, address and error (None when it answers)."""
    if is_embedded():
        return [{**server, "error": None} for server in embedded_stack().status()]
    components = settings.components
    bus, database = components.message_bus, components.database
    return [
        _server("database", f"{database.host}:{database.port}", _database_error()),
        _server("message_bus", str(bus.unix_socket or f"{bus.host}:{bus.port}"), _bus_error()),
        *(_server("ollama", url, model_host_answers(url)) for url in settings.ollama_hosts),
    ]


def model_host_answers(url: str, seconds: float = 2.0) -> str | None:
    """Return why the model server at `url` does not answer, or None when it does."""
    try:
        httpx.get(f"{url}/api/version", timeout=seconds).raise_for_status()
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
    return None


def print_overview(overview: JsonObject) -> None:
    """Print it for a person."""
    pairs: list[tuple[str, Any]] = [("home", overview["home"]), ("config", overview["config"])]
    for server in overview["servers"]:
        pid = f"  process {server['pid']}" if server.get("pid") else ""
        error = f"  {server['error']}" if server["error"] else ""
        pairs.append((server["name"], f"{server['state']:<8} {server['address']}{pid}{error}"))
    up = overview["up"]
    if up:
        pairs.append(
            ("up", f"process {up['pid']}, {'background' if up['detached'] else 'terminal'}")
        )
    if overview["flower"]:
        pairs.append(("flower", flower_words(overview["flower"]["address"])))
    pairs.append(("workers", ", ".join(overview["workers"]) or "none answers"))
    counts = ", ".join(f"{number} {state}" for state, number in sorted(overview["tasks"].items()))
    pairs.append(("tasks", counts or "none"))
    print_pairs(pairs)


def _flower(standing: Standing | None) -> JsonObject | None:
    """Where the Flower of `up` answers, and in which file its user and password stand."""
    process = standing.children.get("flower") if standing else None
    if process is None:
        return None
    try:
        address = flower_address(process.cmdline())
    except psutil.Error:
        return None
    section = current_settings().monitoring.flower
    place = str(password_place(section, os.environ)) if section.auth else None
    return {"address": address, "password_file": place}


def _server(name: str, address: str, error: str | None) -> JsonObject:
    state = "running" if error is None else "silent"
    return {"name": name, "state": state, "pid": None, "address": address, "error": error}


def _database_error() -> str | None:
    try:
        database.impatient().row("SELECT 1")
    except AgentSystemError as error:
        return str(error)
    return None


def _bus_error() -> str | None:
    try:
        queue.ensure_reachable()
    except AgentSystemError as error:
        return str(error)
    return None


def _workers() -> list[str]:
    try:
        return workers()
    except AgentSystemError:
        return []


def _counts() -> dict[str, int]:
    try:
        return store.counts()
    except ConfigurationError:
        # A server that was started and never used has no tables yet.
        return {}

"""What `ai-agent doctor` examines of servers, their models, and the ports of our own doors.

Invariant: nothing is started or changed, and one finding never keeps another from being made.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import psutil

from celery_app.cli.finding import UNREACHABLE, WRONG, Finding
from celery_app.cli.record import Record
from celery_app.cli.system import this_home
from celery_app.errors import AgentSystemError
from celery_app.settings import SystemSettings
from celery_app.stack.profile import is_embedded

__all__ = ["examine_ports", "examine_servers"]

OLDEST_POSTGRES = 14
OLDEST_REDIS = 6
#: What `up` listens on, unless its options say otherwise.
PORTS = {"the API": 8000, "Flower": 5555}


def examine_servers(settings: SystemSettings) -> Iterator[Finding]:
    """Look at each server: does it answer, is it new enough, has it what is needed?"""
    try:
        from celery_app.cli.overview import model_host_answers, servers

        found = servers(settings)
    except AgentSystemError as error:
        yield Finding("fail", "servers", str(error), exit_code=error.exit_code)
        return
    for server in found:
        yield _server(server)
    running = {server["name"] for server in found if server["state"] == "running"}
    if running & {"postgres", "database"}:
        yield _database_version()
    if running & {"valkey", "message_bus"}:
        yield _bus_version()
    if all(server["state"] == "running" for server in found):
        yield _tables()
        yield _worker()
    told = {server["address"] for server in found}
    for url in settings.ollama_hosts:
        if url not in told:
            yield _model_host(url, model_host_answers(url))
    if running & {"model", "ollama"} or not told & set(settings.ollama_hosts):
        yield from _models(settings)


def _server(server: dict[str, Any]) -> Finding:
    fact = f"{server['state']} at {server['address']}"
    if server["state"] == "running":
        return Finding("ok", server["name"], fact)
    if is_embedded() and server["state"] == "stopped":
        return Finding("warn", server["name"], fact, "it is started when needed: `ai-agent up`")
    advice = server["error"] or f"see {this_home().path / 'log'}"
    return Finding("fail", server["name"], fact, advice, UNREACHABLE)


def _tables() -> Finding:
    from celery_app.celery import database
    from celery_app.postgres.migrate import pending

    missing = pending(database.impatient())
    if missing:
        advice = "the next command that needs them makes them: `ai-agent task list`"
        return Finding("warn", "tables", f"not there yet: {', '.join(missing)}", advice)
    return Finding("ok", "tables", "up to date")


def _worker() -> Finding:
    from celery_app.cli.system import workers

    found = workers()
    if found:
        return Finding("ok", "worker", ", ".join(found))
    return Finding("warn", "worker", "none answers", "start one: `ai-agent up --detach`")


def _model_host(url: str, error: str | None) -> Finding:
    if error is None:
        return Finding("ok", "models", f"{url} answers")
    return Finding(
        "warn", "models", f"{url} does not answer ({error})", "agents cannot work without"
    )


def _database_version() -> Finding:
    from celery_app.celery import database

    text = str(database.impatient().row("SHOW server_version").server_version)
    return _version("postgres", "PostgreSQL", text, OLDEST_POSTGRES)


def _bus_version() -> Finding:
    from celery_app.celery import app

    with app.connection_for_read() as connection:
        told = connection.default_channel.client.info("server")
    name = "Valkey" if "valkey_version" in told else "Redis"
    # Valkey says which Redis it is like, too.
    return _version("bus", name, str(told["redis_version"]), OLDEST_REDIS)


def _version(subject: str, name: str, text: str, oldest: int) -> Finding:
    if int(text.split(".")[0]) >= oldest:
        return Finding("ok", subject, f"{name} speaks version {text.split()[0]}")
    return Finding("fail", subject, f"{name} is {text}", f"install {oldest} or newer", WRONG)


def _models(settings: SystemSettings) -> Iterator[Finding]:
    """Every model of the roster: has any of the hosts got it?"""
    from agents.presence import check_presence
    from celery_app.celery import agent_manager

    try:
        wanted = sorted({profile.model for profile in agent_manager().profiles})
    except AgentSystemError as error:
        yield Finding("fail", "agents", str(error), exit_code=WRONG)
        return
    for model in wanted:
        try:
            check_presence(settings.ollama_hosts, model)
        except AgentSystemError as error:
            advice = "workers fetch it" if settings.components.ollama.pull else ""
            yield Finding("warn", "models", str(error), advice)
        else:
            yield Finding("ok", "models", f"{model} is there")


def examine_ports() -> Iterator[Finding]:
    """Look at the ports of the doors that `up` opens: are they free, or taken by `up` itself?"""
    standing = Record(this_home()).read()
    ours = {child.pid for child in standing.children.values()} if standing else set()
    for name, port in PORTS.items():
        with socket.socket() as probe:
            taken = probe.connect_ex(("127.0.0.1", port)) == 0
        if not taken:
            yield Finding("ok", "ports", f"{port} is free for {name}")
        elif ours & _listeners(port):
            yield Finding("ok", "ports", f"{port} is {name}")
        else:
            advice = f"choose another one for {name}: `ai-agent up --help`"
            yield Finding("warn", "ports", f"{port} is taken by another program", advice)


def _listeners(port: int) -> set[int]:
    """Return the processes of this user that listen on a port, as far as the system tells."""
    found = set()
    for process in psutil.process_iter():
        try:
            connections = process.net_connections("tcp")
        except psutil.Error:
            continue
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections):
            found.add(process.pid)
    return found

"""The process of the embedded model server: a small Ollama on 127.0.0.1 with one model.

Invariant: the port is taken before the model is loaded and answered only after, so a client is
either refused or served; and the process listens on the loopback address alone.

Run as `python -m celery_app.stack.gateway --port P --model FILE --name NAME`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from celery_app.errors import AgentSystemError
from celery_app.stack.catalogue import ModelCard
from celery_app.stack.engine import Engine
from celery_app.stack.routes import Gateway

__all__ = ["main"]

HOST = "127.0.0.1"
HOME_CHECK_SECONDS = 1.0

log = logging.getLogger("celery_app.stack.gateway")


def main(arguments: Sequence[str] | None = None) -> None:
    """Load the model, then serve it until a signal comes."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with socket.socket() as listener:
        # Taken before the model is loaded, but listening only after: who connects is answered.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, options.port))
            gateway = _load(options)
        except (OSError, AgentSystemError) as error:
            sys.exit(f"the embedded model does not start on port {options.port}: {error}")
        listener.listen()
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        log.info("%s at %s, context %d", gateway.card.name, address, gateway.engine.context)
        config = uvicorn.Config(
            gateway.app(_watching(options.home)),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _load(options: argparse.Namespace) -> Gateway:
    digest = options.digest
    if digest is None:
        with options.model.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    card = ModelCard.of(options.model, options.name, digest)
    engine = Engine(
        options.model,
        slots=options.slots,
        queue=options.queue,
        context=options.context,
        threads=options.threads,
        prompt_threads=_cores(),
    )
    return Gateway(engine, card)


def _cores() -> int:
    # The cores that this process may use, where the system can tell.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m celery_app.stack.gateway",
        description="Serve one GGUF model on 127.0.0.1 as Ollama would.",
    )
    parser.add_argument("--port", type=int, required=True, help="0 takes any free port")
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--name", required=True, help="the name that clients use: smollm2:135m")
    parser.add_argument("--slots", type=int, default=2, help="calls at once (default 2)")
    parser.add_argument("--queue", type=int, default=64, help="calls that may wait (default 64)")
    parser.add_argument("--context", type=int, default=4096, help="tokens a slot (default 4096)")
    parser.add_argument(
        "--threads",
        type=int,
        # Generating threads spin while they wait for each other: on a busy machine the last core
        # costs more than it brings. Reading a prompt gains from all cores.
        default=max(1, _cores() - 1),
        help="threads that generate (default: one less than cores)",
    )
    parser.add_argument("--home", type=Path, help="end when this folder goes away")
    parser.add_argument("--digest", help="the file's sha256, when it is known already")
    parser.add_argument("--mark", help="any word, by which the process can be told from others")
    return parser


def _watching(
    home: Path | None,
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return a lifespan that ends the process once its home is gone."""

    async def watch(folder: Path) -> None:
        while folder.exists():
            await asyncio.sleep(HOME_CHECK_SECONDS)
        log.warning("%s is gone: good bye", folder)
        signal.raise_signal(signal.SIGTERM)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        watcher = asyncio.ensure_future(watch(home)) if home else None
        yield
        if watcher is not None:
            watcher.cancel()

    return lifespan


if __name__ == "__main__":
    main()

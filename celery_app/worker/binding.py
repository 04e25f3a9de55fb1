"""What a worker process is bound to: its executor and its model servers, made once a process.

Invariants
  * Nothing here survives a fork; a prefork child makes its own keeper and connections.
  * The way to models is imported by whoever goes it: a client that hands in work does not.
"""

from __future__ import annotations

import functools
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from celery_app.celery import executions, queue, settings
from celery_app.stack.profile import current_settings
from celery_app.worker.execution import Executor
from celery_app.worker.leases import LeaseKeeper
from celery_app.worker.limits import Limits
from celery_app.worker.memory import ceiling_for

if TYPE_CHECKING:
    from agents.hosts import HostPool
    from agents.ollama import OllamaModel

_making = threading.Lock()

#: For how long what a host had loaded is believed.
_LOOK_SECONDS = 5.0


@functools.cache
def _executor_of(pid: int) -> Executor:
    keeper = LeaseKeeper(executions, settings.leases.seconds, settings.leases.renew_seconds)
    return Executor(executions, queue, keeper, ceiling_for)


def executor() -> Executor:
    """Return the executor of this process."""
    with _making:
        return _executor_of(os.getpid())


def limits() -> Limits:
    """Return the limits that all workers share, as they are configured."""
    return Limits(settings.resources, settings.limits)


@functools.cache
def _host_pool_of(pid: int) -> HostPool:
    from agents.hosts import HostPool
    from agents.slots import Slots

    # Read anew: the embedded model may have had to move to another port when it was started.
    ollama = current_settings().components.ollama
    folder = Path(tempfile.gettempdir()) / f"ai-agent-slots-{os.getuid()}"
    return HostPool(
        ollama.urls,
        slots=Slots(ollama.slots, folder),
        look_every=_LOOK_SECONDS if len(ollama.urls) > 1 else None,
    )


def host_pool() -> HostPool:
    """Return the model servers as this process knows them; their slots are those of the machine."""
    with _making:
        return _host_pool_of(os.getpid())


@functools.cache
def _chat_model_of(pid: int) -> OllamaModel:
    from agents.ollama import Limits as CallLimits
    from agents.ollama import OllamaModel

    ollama = settings.components.ollama
    patience = CallLimits(first=ollama.first_word, silence=ollama.silence)
    return OllamaModel(_host_pool_of(pid), limits=patience)


def chat_model() -> OllamaModel:
    """Return the door to the model servers of this process."""
    with _making:
        return _chat_model_of(os.getpid())

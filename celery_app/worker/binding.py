"""What a worker process is bound to: its executor and its model servers, made once a process.

Invariant: nothing here survives a fork; a prefork child makes its own keeper and connections.
"""

from __future__ import annotations

import functools
import os
import threading

from agents.model import ChatModel
from agents.ollama import OllamaModel
from celery_app.celery import executions, queue, settings
from celery_app.stack.profile import current_settings
from celery_app.worker.execution import Executor
from celery_app.worker.leases import LeaseKeeper

_making = threading.Lock()


@functools.cache
def _executor_of(pid: int) -> Executor:
    keeper = LeaseKeeper(executions, settings.leases.seconds, settings.leases.renew_seconds)
    return Executor(executions, queue, keeper)


def executor() -> Executor:
    """Return the executor of this process."""
    with _making:
        return _executor_of(os.getpid())


@functools.cache
def _chat_model_of(pid: int) -> ChatModel:
    # Read anew: the embedded model may have had to move to another port when it was started.
    return OllamaModel(current_settings().ollama_hosts)


def chat_model() -> ChatModel:
    """Return the door to the model servers of this process."""
    with _making:
        return _chat_model_of(os.getpid())

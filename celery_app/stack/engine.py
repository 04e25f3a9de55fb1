"""The model itself: llama.cpp inside this process, one thread for each running call.

Invariant: a slot is given back only when llama.cpp has really left the call, so no more than
`slots` calls ever run at once, and a cancelled call stops at its next token or prompt batch.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from celery_app.stack.generation import Generation, RefusalError

__all__ = ["Engine"]

BUSY = "server busy, please try again.  maximum pending requests exceeded"
# Prompts are read in batches of this many tokens. Twice as many would be 5 % faster; but only
# between batches do cancelled calls end and others go on. An embedded text must fit into one.
BATCH = 256
# Memory for prompts that lost their slot: enough for the system prompts of a few agents.
PROMPT_CACHE_MIB = 128
TOO_LARGE = re.compile(r"\((\d+) tokens\) is too large to process")


class Engine:
    """A loaded model with `slots` places; further calls wait, up to `queue` of them.

    `context` is the number of tokens of each slot. Text is generated with `threads` threads and
    prompts are read with `prompt_threads`. Loading blocks; raises RefusalError when the file is no
    model.
    """

    def __init__(
        self,
        model: Path,
        *,
        slots: int,
        queue: int,
        context: int,
        threads: int,
        prompt_threads: int,
    ) -> None:
        self.context = context
        self._capacity = slots + queue
        self._inside = 0
        self._free = asyncio.Semaphore(slots)
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="call")
        self._llama = _load(model, slots, context, threads, prompt_threads)

    async def start(self, body: dict[str, Any]) -> Generation:
        """Wait for a slot and begin; return once the model has accepted the call.

        `body` is a chat completion of llama.cpp, or a plain completion when it has no messages.
        Raises RefusalError: 503 when too many wait already, 400 when the prompt does not fit.
        """
        chat = "messages" in body
        handler = self._llama.handle_chat_completions if chat else self._llama.handle_completions
        generation = Generation()
        # Progress events are the moments at which the reading of a long prompt can be cancelled.
        body = {**body, "stream": True, "return_progress": True}
        await self._enter()
        self._submit(generation.run, handler, body)
        try:
            await generation.accepted()
        except BaseException:
            generation.cancel()
            raise
        return generation

    async def embed(self, texts: list[str], *, truncate: bool) -> tuple[list[list[float]], int]:
        """Return a unit vector for each text, and the number of tokens read.

        A text longer than a batch is cut when `truncate` is set, else refused (400).
        """
        stop = threading.Event()
        await self._enter()
        work = self._submit(self._embed_all, texts, truncate, stop)
        try:
            # Shielded: the slot is busy until the thread has ended, whatever became of the caller.
            return await asyncio.shield(work)
        finally:
            stop.set()

    async def _enter(self) -> None:
        if self._inside >= self._capacity:
            raise RefusalError(503, BUSY)
        self._inside += 1
        try:
            await self._free.acquire()
        except BaseException:
            self._inside -= 1
            raise

    def _submit(self, work: Callable[..., Any], *args: object) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        future.add_done_callback(self._leave)
        return future

    def _leave(self, future: asyncio.Future[Any]) -> None:
        self._inside -= 1
        self._free.release()
        if not future.cancelled():
            future.exception()  # whoever waited has seen it: nothing to warn about

    def _embed_all(
        self, texts: list[str], truncate: bool, stop: threading.Event
    ) -> tuple[list[list[float]], int]:
        vectors: list[list[float]] = []
        tokens = 0
        for text in texts:
            if stop.is_set():
                break
            vector, count = self._embed(text, truncate)
            vectors.append(vector)
            tokens += count
        return vectors, tokens

    def _embed(self, text: str, truncate: bool) -> tuple[list[float], int]:
        while True:
            reply = self._llama.handle_embeddings({"input": [text]})
            if "error" not in reply:
                return reply["data"][0]["embedding"], reply["usage"]["prompt_tokens"]
            message = str(reply["error"]["message"])
            too_large = TOO_LARGE.search(message)
            if too_large is None:
                raise RefusalError(400, message)
            if not truncate:
                raise RefusalError(
                    400, f"the input length ({too_large[1]} tokens) exceeds the limit of {BATCH}"
                )
            text = text[: int(len(text) * 0.95 * BATCH / int(too_large[1]))]


def _load(model: Path, slots: int, context: int, threads: int, prompt_threads: int) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_parallel = slots
    params.n_ctx = slots * context
    params.n_batch = params.n_ubatch = BATCH
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = prompt_threads
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.verbosity = -1  # its log would hold prompts
    # llama.cpp opens an HTTP server of its own on a loopback port: nobody gets the key to it.
    params.ui = False
    params.api_keys = [secrets.token_hex(32)]
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise RefusalError(
            500, f"{model} cannot be loaded as a model: is it a complete GGUF?"
        ) from error

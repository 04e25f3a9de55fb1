"""Many streamed answers at once: one worker process beside the bare client of Ollama.

    python -m benchmarks.streaming [--calls 256] [--at-once 64] [--words 200] [--pause 0.05]

The model is a script in a process of its own that says so many words with such a pause; both sides
ask it at the same concurrency. The worker claims, leases, records and commits every answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import click
import httpx
import ollama
import psutil

ROOT = Path(__file__).parents[1]
MODEL = "scripted"
ROSTER = f"""
defaults: {{model: {MODEL}}}
agents:
  planner: {{capabilities: [planning], plan_form: keyed, options: {{num_predict: 900}}}}
  writer: {{capabilities: [writing], joins: rewrite}}
"""


class Script:
    """Ollama's protocol, as cheaply as it can be spoken: words with pauses."""

    def __init__(self, words: int, pause: float) -> None:
        self._words, self._pause = words, pause
        self._now = self._most = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = [line for line in head.splitlines() if line.startswith("content-length:")]
        body = json.loads(
            await reader.readexactly(int(length[0].split(":")[1])) if length else "{}"
        )
        writer.write(b"HTTP/1.0 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n")
        if body.get("messages"):
            await self._speak(writer)
        else:
            facts = {"version": "0", "models": [{"model": f"{MODEL}:latest"}], "most": self._most}
            writer.write(json.dumps({**facts, "done": True, "message": {"role": "a"}}).encode())
            if head.startswith("get /most"):
                self._most = self._now
        await writer.drain()
        writer.close()

    async def _speak(self, writer: asyncio.StreamWriter) -> None:
        self._now += 1
        self._most = max(self._most, self._now)
        for _ in range(self._words):
            await asyncio.sleep(self._pause)
            writer.write(b'{"message": {"role": "assistant", "content": "word "}, "done": false}\n')
        writer.write(
            b'{"message": {"role": "assistant", "content": ""}, "done": true, '
            b'"done_reason": "stop", "prompt_eval_count": 9, "eval_count": 9}\n'
        )
        self._now -= 1


async def serve(words: int, pause: float) -> None:
    server = await asyncio.start_server(Script(words, pause).answer, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def script(words: int, pause: float) -> Iterator[str]:
    """Run the script in a process of its own; give its address."""
    command = [sys.executable, "-m", "benchmarks.streaming", "serve", str(words), str(pause)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def bare(address: str, calls: int, at_once: int) -> tuple[float, float]:
    """Ask by the official client alone; return seconds, and MiB that the calls took at most."""
    clients = [ollama.Client(address) for _ in range(at_once)]
    before, most = psutil.Process().memory_info().rss, 0

    def ask(number: int) -> None:
        nonlocal most
        question = [{"role": "user", "content": f"Say {number}"}]
        for _ in clients[number % at_once].chat(MODEL, question, stream=True):
            pass
        most = max(most, psutil.Process().memory_info().rss)

    begun = time.monotonic()
    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(ask, range(calls)))
    return time.monotonic() - begun, (most - before) / 2**20


@contextmanager
def worker(address: str, at_once: int) -> Iterator[psutil.Process]:
    """Start servers of our own and a worker with so many threads."""
    home = Path(tempfile.mkdtemp(prefix="agent-bench-"))
    (home / "roster.yaml").write_text(ROSTER, encoding="utf-8")
    ours = "AI_AGENT__COMPONENTS__OLLAMA__"
    os.environ.update(
        {
            "AI_AGENT_HOME": str(home),
            "AI_AGENT__AGENTS_FILE": str(home / "roster.yaml"),
            f"{ours}HOSTS": f"[{address}]",
            f"{ours}SLOTS": str(at_once),
        }
    )
    from celery_app.celery import app, prepare
    from celery_app.stack.profile import embedded_stack

    prepare()
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-P", "threads"]
    with (home / "worker.log").open("w") as log:
        process = psutil.Popen(
            [*command, "-c", str(at_once), "--loglevel", "WARNING"],
            stdout=log, stderr=log, cwd=ROOT,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)
            app.backend.result_consumer.stop()
            embedded_stack().stop()
            shutil.rmtree(home, ignore_errors=True)


def ours(process: psutil.Process, calls: int) -> tuple[float, float]:
    """Hand the questions in as tasks; return seconds, and MiB that the worker grew by at most."""
    from celery_app.client import Client

    client = Client()
    client.submit_graph([{"id": str(uuid4()), "description": "Say 0"}]).result(timeout=60)
    before, most = process.memory_info().rss, 0
    tasks = [{"id": str(uuid4()), "description": f"Say {n}"} for n in range(calls)]
    begun = time.monotonic()
    handle = client.submit_graph(tasks)
    while handle.state not in {"succeeded", "failed"}:
        most = max(most, process.memory_info().rss)
        time.sleep(0.05)
    seconds = time.monotonic() - begun
    assert handle.state == "succeeded"
    return seconds, (most - before) / 2**20


def most_at_once(address: str) -> int:
    return int(httpx.get(f"http://{address}/most").json()["most"])


@click.group(invoke_without_command=True)
@click.option("--calls", default=256, help="How many questions each side asks.")
@click.option("--at-once", default=64, help="How many of them at once.")
@click.option("--words", default=200, help="Words of each answer.")
@click.option("--pause", default=0.05, help="Seconds before each word.")
@click.pass_context
def main(context: click.Context, calls: int, at_once: int, words: int, pause: float) -> None:
    """Compare a worker with the bare client."""
    if context.invoked_subcommand:
        return
    ideal = calls / at_once * words * pause
    print(f"{calls} answers of {words} words, {at_once} at once; the script alone: {ideal:.1f} s")
    with script(words, pause) as address:
        found = [("bare client", *bare(address, calls, at_once), most_at_once(address))]
        with worker(address, at_once) as process:
            found.append(("one worker", *ours(process, calls), most_at_once(address)))
    for name, seconds, memory, most in found:
        print(
            f"{name}: {seconds:.1f} s, {calls / seconds:.1f} answers a second, up to {most} at "
            f"once, {memory / at_once:.2f} MiB for each"
        )
    print(f"throughput of the worker / of the bare client: {found[0][1] / found[1][1]:.2f}")


@main.command("serve", hidden=True)
@click.argument("words", type=int)
@click.argument("pause", type=float)
def serve_command(words: int, pause: float) -> None:
    """Be the model."""
    asyncio.run(serve(words, pause))


if __name__ == "__main__":
    main()

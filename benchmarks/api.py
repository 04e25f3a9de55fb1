"""The HTTP API under load: reads and submits at a fixed rate, with streams open meanwhile.

    python -m benchmarks.api [--rate 200] [--seconds 60] [--streams 500] [--workers 1]

Requests are sent when they are due, whether those before them were answered or not, and a latency counts
from that moment: a server that falls behind cannot hide it. Embedded servers, the API and this program
share the processors.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import click
import psutil

from benchmarks.servers import processor_seconds
from benchmarks.waiting import wait_for_answer

STREAM = {"Accept": "text/event-stream"}
ECHO = {"task": "chore.echo", "args": [1]}


@dataclass
class Load:
    """What is asked, and how it was answered."""

    asking: aiohttp.ClientSession
    ids: list[str]
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[int] = field(default_factory=Counter)

    async def ask(self, due: float) -> None:
        name, method, path = self._choose()
        body = ECHO if method == "POST" else None
        try:
            async with self.asking.request(method, path, json=body) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError):
            self.statuses[0] += 1
            return
        self.statuses[response.status] += 1
        self.seconds[name].append(time.perf_counter() - due)
        if method == "POST" and response.ok:
            self.ids.append(json.loads(answer)["id"])

    def _choose(self) -> tuple[str, str, str]:
        number = self.chance.random()
        if number < 0.25:
            return "submit", "POST", "/tasks"
        one = self.chance.choice(self.ids[-1000:])
        if number < 0.75:
            return "task", "GET", f"/tasks/{one}"
        if number < 0.9:
            return "state", "GET", f"/tasks/{one}/state"
        return "list", "GET", "/tasks?limit=20"


@contextmanager
def serving(workers: int) -> Iterator[tuple[str, psutil.Process]]:
    """Run an API with servers of its own."""
    home = Path(tempfile.mkdtemp(prefix="agent-bench-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {
        **os.environ, "AI_AGENT_HOME": str(home), "AI_AGENT__API__RATE": "1000000/s",
        "AI_AGENT__API__WORKERS": str(workers), "AI_AGENT__MONITORING__LOGGING__LEVEL": "WARNING",
    }  # fmt: skip
    command = [sys.executable, "-m", "celery_app"]
    process = subprocess.Popen([*command, "api", "--port", str(port)], env=environ)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for_answer(f"{url}/healthz", process)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)
        subprocess.run([*command, "down"], env=environ, check=False)
        shutil.rmtree(home, ignore_errors=True)


async def listen(asking: aiohttp.ClientSession, path: str, opened: asyncio.Semaphore) -> None:
    async with asking.get(path, headers=STREAM) as response:
        async for line in response.content:
            if line.strip() == b": following":
                opened.release()


async def hand_in(asking: aiohttp.ClientSession) -> str:
    async with asking.post("/tasks", json=ECHO) as response:
        return str((await response.json())["id"])


async def run(url: str, rate: float, seconds: float, streams: int) -> Load:
    # No limit of time and of connections: an answer that comes late counts as one that is late.
    forever = aiohttp.ClientTimeout(total=None)
    doors = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=doors, timeout=forever) as asking:
        made = [await hand_in(asking) for _ in range(50)]
        load = Load(asking, made)
        opened = asyncio.Semaphore(0)
        listeners = [
            asyncio.create_task(listen(asking, f"/tasks/{made[n % 50]}/events", opened))
            for n in range(streams)
        ]
        for _ in listeners:
            await opened.acquire()
        begun = time.perf_counter()
        asked = []
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            asked.append(asyncio.create_task(load.ask(due)))
        await asyncio.gather(*asked)
        broken = sum(listener.done() for listener in listeners)
        for listener in listeners:
            listener.cancel()
        click.echo(f"{streams} streams open, {broken} of them broken")
    return load


def tell(load: Load, seconds: float, cpu: float) -> None:
    everything = sorted(each for found in load.seconds.values() for each in found)
    for name, found in [*sorted(load.seconds.items()), ("all", everything)]:
        found = sorted(found)
        p50, p95, p99 = (found[int(len(found) * part)] * 1000 for part in (0.5, 0.95, 0.99))
        click.echo(f"{name:<8} {len(found):>7}  p50 {p50:7.1f}  p95 {p95:7.1f}  p99 {p99:7.1f} ms")
    errors = sum(number for status, number in load.statuses.items() if not 200 <= status < 400)
    click.echo(f"statuses {dict(load.statuses)}, errors {errors}")
    click.echo(
        f"{len(everything) / seconds:.0f} a second; the API used {cpu / seconds:.2f} processors"
    )
    click.echo(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


@click.command()
@click.option("--rate", default=200.0, help="Requests a second.")
@click.option("--seconds", default=60.0)
@click.option("--streams", default=500)
@click.option("--workers", default=1, help="Processes of the API.", show_default=True)
def main(rate: float, seconds: float, streams: int, workers: int) -> None:
    with serving(workers) as (url, process):
        before = processor_seconds(process.pid)
        begun = time.perf_counter()
        load = asyncio.run(run(url, rate, seconds, streams))
        used = processor_seconds(process.pid) - before
        tell(load, time.perf_counter() - begun, used)


if __name__ == "__main__":
    main()

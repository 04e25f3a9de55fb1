"""Prefect: a flow whose tasks are submitted to threads, with a server of its own."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.field.side import FOLDER, answer, program
from benchmarks.field.workloads import SLOTS
from benchmarks.shapes import Graph
from benchmarks.waiting import wait_for_answer


def settle_in() -> int:
    """Choose where the server keeps its data and listens; return the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    os.environ.update(
        {
            "PREFECT_HOME": str(FOLDER),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "DO_NOT_TRACK": "1",
        }
    )
    return port


def main() -> None:
    """Be a side."""
    port = settle_in()
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    @task
    def step(needed: list[int], seconds: float) -> int:
        if seconds:
            time.sleep(seconds)
        return 1 + sum(needed)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=SLOTS))
    def whole(seconds: list[float], needs: list[list[int]]) -> int:
        steps: list[Any] = []
        for node, needed in enumerate(needs):
            steps.append(step.submit([steps[one] for one in needed], seconds[node]))
        inner = {one for needed in needs for one in needed}
        return sum(one.result() for node, one in enumerate(steps) if node not in inner)

    server = [str(Path(sys.executable).parent / "prefect"), "server", "start"]
    server += ["--port", str(port), "--no-ui"]

    def run(graph: Graph) -> float:
        return float(whole(graph.seconds, graph.needs))

    with program(server, "API reference"):
        wait_for_answer(f"{os.environ['PREFECT_API_URL']}/health")
        answer(run)


if __name__ == "__main__":
    main()

"""Our side: one worker with eight threads, and a client."""

from __future__ import annotations

import sys

from benchmarks.field.side import answer, program
from benchmarks.field.workloads import SLOTS
from benchmarks.shapes import Graph


def main() -> None:
    """Be our side."""
    from celery_app.celery import app, database
    from celery_app.client import Client
    from celery_app.stack.profile import embedded_stack

    client = Client()
    ran: list[str] = []

    def run(graph: Graph) -> float:
        tasks = graph.tasks()
        handle = client.submit_graph(tasks)
        result = handle.result(timeout=600)
        ran[:] = [task["id"] for task in tasks]
        return float(sum(result[task["id"]] == task["args"][0] for task in tasks))

    def after(graph: Graph) -> None:
        """No task may have begun before what it needs had ended, as the database tells it."""
        rows = database.rows(
            "SELECT id, started_at, finished_at, state FROM task WHERE id = ANY(:ids)", ids=ran
        )
        kept = {row.id: row for row in rows}
        assert [kept[one].state for one in ran] == ["succeeded"] * len(ran)
        for node, needed in enumerate(graph.needs):
            for one in needed:
                assert kept[ran[one]].finished_at <= kept[ran[node]].started_at

    worker = [sys.executable, "-m", "celery", "-A", "celery_app", "worker"]
    worker += ["-P", "threads", "-c", str(SLOTS), "--loglevel", "INFO"]
    with program(worker, " ready."):
        answer(run, after)
    app.backend.result_consumer.stop()
    # The others belong to whoever asks; the model has come along with them.
    for server in embedded_stack().servers:
        if server.name == "model":
            server.stop()


if __name__ == "__main__":
    main()

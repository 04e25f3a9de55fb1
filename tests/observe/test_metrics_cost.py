"""What it costs to read all figures, and that it does not grow with the number of agents or models."""

from __future__ import annotations

import psutil

from celery_app.postgres.connection import Database
from celery_app.store.measuring import FigureStore

_TASKS = 10_000
_MODELS = {f"agent{number}": f"model{number % 5}" for number in range(20)}


def fill(database: Database) -> None:
    """Put in ten thousand tasks with an attempt, a model call and an answer each."""
    database.rows(
        """
        INSERT INTO task (id, root_id, name, type, agent, queue, state, created_at, queued_at, started_at,
                          finished_at, spec, result)
        SELECT 't' || n, 't' || n, 'task.run', 'general', 'agent' || n % 20, 'agent.type' || n % 7,
               (ARRAY['succeeded', 'succeeded', 'failed', 'cancelled'])[1 + n % 4], at, at, at, at,
               convert_to(repeat('x', 600), 'UTF8'), convert_to(repeat('y', 300), 'UTF8')
          FROM generate_series(1, :n) AS n, LATERAL (SELECT now() - n * interval '1 min' AS at) AS moment
        """,
        n=_TASKS,
    )
    database.rows(
        """
        INSERT INTO attempt (task_id, name, agent, queue, outcome, ready_at, started_at, ended_at)
        SELECT id, name, agent, queue, state, started_at - interval '2 s', started_at,
               started_at + random() * interval '40 s' FROM task
        """
    )
    database.rows(
        """
        INSERT INTO model_call (task_id, try, number, digest, model, host, at, seconds, prompt_tokens,
                                generated_tokens, load_seconds, prompt_seconds, generate_seconds, reply)
        SELECT id, 0, 0, '', 'model' || substr(agent, 6)::integer % 5, 'http://gpu', started_at,
               random() * 30, 100, 20, 0.01, 0.2, 1, convert_to(repeat('z', 400), 'UTF8') FROM task
        """
    )
    database.rows(
        """
        INSERT INTO answer (task_id, try, number, model, path)
        SELECT task_id, 0, 0, model, 'direct' FROM model_call
        """
    )


def seconds_of_a_reading(database: Database) -> float:
    """Return how long a processor works at a reading, which other work on the machine does not prolong."""
    server = psutil.Process(database.row("SELECT pg_backend_pid() AS pid").pid)
    taken = []
    for _ in range(5):
        before = server.cpu_times().user
        FigureStore(database).read(_MODELS)
        taken.append(server.cpu_times().user - before)
    return min(taken)


def test_ten_thousand_tasks_are_read_well_under_a_second(empty: Database) -> None:
    fill(empty)
    empty.rows("ANALYZE")
    taken = seconds_of_a_reading(empty)
    print(f"{_TASKS} tasks, attempts, calls and answers are read in {1000 * taken:.0f} ms")
    assert 0 < taken < 0.6
    figures = FigureStore(empty).read(_MODELS)
    assert sum(tasks.count for tasks in figures.tasks) == _TASKS
    assert (
        figures.durations["all", ""].count == sum(calls.count for calls in figures.calls) == _TASKS
    )
    assert len(figures.demands) == 5


def test_one_statement_reads_everything(empty: Database) -> None:
    asked = 0
    rows = empty.rows

    def counted(sql: str, **values: object) -> object:
        nonlocal asked
        asked += 1
        return rows(sql, **values)

    empty.rows = counted  # type: ignore[method-assign, assignment]
    FigureStore(empty).read(_MODELS)
    assert asked == 1


def test_nothing_is_measured_before_anything_happened(empty: Database) -> None:
    figures = FigureStore(empty).read({})
    assert (figures.tasks, figures.calls, figures.demands, figures.queues) == ((), (), (), ())
    assert figures.durations["all", ""].count == 0
    assert figures.durations["all", ""].average is None
    assert figures.now.workers == 0

"""celery-director: workflows of tasks and groups, named in a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from benchmarks.field.side import BROKER, DATABASE, FOLDER, answer, program
from benchmarks.field.workloads import SLOTS, WORKLOADS
from benchmarks.shapes import Graph

BIN = Path(sys.executable).parent
TASKS = '''
import time

from director import task


def value(given):
    """A task is worth one and what it was given: nothing, a value, or a level of values."""
    return 1 + sum(sum(one) if isinstance(one, list) else one or 0 for one in given)


def declare(milliseconds):
    @task(name=f"nap-{milliseconds}")
    def nap(*given, **_):
        if milliseconds:
            time.sleep(milliseconds / 1000)
        return value(given)


for milliseconds in %r:
    declare(milliseconds)


@task(name="join")
def join(*given, **_):
    return value(given) - 1
'''


def task_of(seconds: float) -> str:
    """Return the name of the task that sleeps for so long."""
    return f"nap-{round(seconds * 1000, 1):g}"


def workflow_of(graph: Graph) -> list[object]:
    """Return a graph as the file says it: one task or one group a level, groups with a join between.

    A group right after a group is a chord in a chord, whose messages double from level to level.
    """
    found: list[object] = []
    for number, level in enumerate(graph.levels()):
        tasks = [task_of(graph.seconds[node]) for node in level]
        if len(tasks) == 1:
            found += tasks
            continue
        if found and isinstance(found[-1], dict):
            found.append("join")
        found.append({f"level-{number}": {"type": "group", "tasks": tasks}})
    return found


def settle_in(names: dict[int, str]) -> None:
    """Write the project that director serves, and its tables."""
    sleeps = {one for workload in WORKLOADS.values() for one in workload.graph.seconds}
    milliseconds = sorted(float(task_of(one).removeprefix("nap-")) for one in sleeps)
    whole = [int(one) if one == int(one) else one for one in milliseconds]
    (FOLDER / "tasks").mkdir(exist_ok=True)
    (FOLDER / "tasks" / "naps.py").write_text(TASKS % whole)
    workflows = {
        f"field.{name}": {"tasks": workflow_of(workload.graph)}
        for name, workload in WORKLOADS.items()
    }
    (FOLDER / "workflows.yml").write_text(yaml.safe_dump(workflows))
    names.update({id(workload.graph): name for name, workload in WORKLOADS.items()})
    os.environ.update(
        {
            "DIRECTOR_HOME": str(FOLDER),
            "DIRECTOR_DATABASE_URI": DATABASE,
            "DIRECTOR_BROKER_URI": BROKER,
            "DIRECTOR_RESULT_BACKEND_URI": BROKER,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }
    )
    upgrade = [str(BIN / "director"), "db", "upgrade"]
    subprocess.run(upgrade, check=True, stdout=sys.stderr, cwd=FOLDER)


def main() -> None:
    """Be a side."""
    names: dict[int, str] = {}
    settle_in(names)
    from director._auto import app
    from director.builder import WorkflowBuilder
    from director.models import StatusType
    from director.models.workflows import Workflow

    def run(graph: Graph) -> float:
        workflow = Workflow(project="field", name=names[id(graph)], payload={})
        workflow.save()
        builder = WorkflowBuilder(workflow.id)
        builder.run().get(timeout=600)
        last = set(builder.previous)
        results = [task.result for task in workflow.tasks if str(task.id) in last]
        assert workflow.status == StatusType.success
        return float(sum(results))

    worker = [str(BIN / "director"), "celery", "worker", "--loglevel", "INFO"]
    worker += ["-c", str(SLOTS)]
    with program(worker, " ready."), app.app_context():
        answer(run)


if __name__ == "__main__":
    main()

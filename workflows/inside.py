"""Which workflows a workflow runs as its steps, and those as theirs.

Invariant: what is returned is complete and finite; a workflow that would run itself is refused.
"""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Iterator

from workflows.errors import WorkflowError
from workflows.workflow import Workflow

__all__ = ["workflows_inside"]


def workflows_inside(workflow: Workflow, find: Callable[[str], Workflow]) -> dict[str, Workflow]:
    """Return all workflows inside of one by name; `find` gives them and raises for unknown names.

    Raises `WorkflowError` if one of them contains itself.
    """
    found = {workflow.name: workflow}
    contains: dict[str, set[str]] = {}
    stack = [workflow]
    while stack:
        outer = stack.pop()
        contains[outer.name] = set(_called(outer))
        for name in sorted(contains[outer.name] - found.keys()):
            found[name] = find(name)
            stack.append(found[name])
    try:
        graphlib.TopologicalSorter(contains).prepare()
    except graphlib.CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise WorkflowError(f"{circle} would run itself for ever: break the circle") from error
    return {name: each for name, each in found.items() if name != workflow.name}


def _called(workflow: Workflow) -> Iterator[str]:
    for step in workflow.steps:
        for work in (step, step.compensate):
            if work is not None and work.workflow is not None:
                yield work.workflow

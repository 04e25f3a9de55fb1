"""What documents may say of a project: facts, as JSON texts by topic.

Invariant: a fact is what the database says, and changes only when the project does. No estimate is a fact,
and no moment of telling.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from workflows.document import Source
from workflows.project import GoalStanding, Project, ProjectGoal

__all__ = ["fact", "project_facts", "work_facts"]

_ENDINGS = {"reached": "was reached", "failed": "failed", "to-accept": "waits to be accepted"}


def fact(topic: str, value: Any) -> Source:
    """Return a fact as a source of documents."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1)
    return Source(name=f"facts:{topic}", text=text)


def project_facts(project: Project) -> Iterable[Source]:
    """Yield what is known of a project that was read with its timeline and artifacts."""
    yield fact("project", _project(project))
    yield fact("goals", [_goal(goal, project.standing(goal.name)) for goal in project.goals])
    yield fact("artifacts", [_artifact(each) for each in project.artifacts])
    yield fact("timeline", _timeline(project))
    yield fact("changes", sorted(_changes(project), key=lambda each: (each["at"], each["what"])))
    if project.plan is not None:
        plan = [_plan(project, goal) for goal in project.goals if goal.name in project.plan.goals]
        yield fact("plan", plan)
        yield fact("numbers", {goal["name"]: number for number, goal in enumerate(plan, start=1)})


def work_facts(states: Mapping[str, int], calls: int, tokens: int) -> Source:
    """Return how much work there was: tasks by their states, model calls, and tokens of both kinds."""
    said = {"states": dict(states), "tasks": sum(states.values()), "calls": calls, "tokens": tokens}
    return fact("work", said)


def _project(project: Project) -> dict[str, Any]:
    states = Counter(project.standing(goal.name).state for goal in project.goals)
    return {
        "name": project.name,
        "description": project.description,
        "created": _moment(project.created_at),
        "deadline": _moment(project.deadline),
        "goals": len(project.goals),
        "reached": states["reached"],
        "states": dict(sorted(states.items())),
    }


def _goal(goal: ProjectGoal, standing: GoalStanding) -> dict[str, Any]:
    checks: Mapping[str, bool | None] = {str(check): None for check in goal.acceptance}
    return {
        "name": goal.name,
        "description": goal.description,
        "needs": goal.needs,
        "state": standing.state,
        "checks": {**checks, **standing.checks},
        "accepted_by": standing.accepted_by,
        "deadline": _moment(goal.deadline),
    }


def _artifact(artifact: Any) -> dict[str, Any]:
    return {
        "name": artifact.name,
        "type": artifact.type,
        "size": artifact.size,
        "sha256": artifact.sha256,
        "created": _moment(artifact.created_at),
    }


def _timeline(project: Project) -> list[dict[str, Any]]:
    """Return what is planned, and what has become of it with the moments that are certain."""
    timeline = project.timeline
    if timeline is None:
        return []
    return [
        {
            "goal": item.goal,
            "title": item.title,
            "standing": item.standing,
            "began": _moment(timeline.moment(item.start)) if item.standing != "planned" else None,
            "ended": _moment(timeline.moment(item.finish))
            if item.standing in ("done", "failed")
            else None,
        }
        for item in timeline.items
    ]


def _changes(project: Project) -> Iterable[dict[str, str]]:
    if project.created_at is not None:
        yield _change(project.created_at, f"project {project.name} was created")
    for artifact in project.artifacts:
        brought = "was brought forth" if artifact.task else "was given"
        words = f"{artifact.name} ({artifact.type}, {artifact.size} bytes) {brought}"
        yield _change(artifact.created_at, words)
    for goal, standing in project.standings.items():
        if standing.reached_at is not None:
            ended = _ENDINGS.get(standing.state, "was worked on")
            by = f", accepted by {standing.accepted_by}" if standing.accepted_by else ""
            yield _change(standing.reached_at, f"goal {goal} {ended}{by}")


def _change(moment: datetime, what: str) -> dict[str, str]:
    at = moment.astimezone(UTC)
    return {"at": at.isoformat(), "date": at.date().isoformat(), "what": what}


def _plan(project: Project, goal: ProjectGoal) -> dict[str, Any]:
    assert project.plan is not None
    plan = project.plan.goals[goal.name].plan
    return {
        "name": goal.name,
        "needs": goal.needs,
        "source": plan.source,
        "version": str(plan.version),
        "steps": [
            {"title": step.title, "agent": step.agent, "needs": step.needs} for step in plan.steps
        ],
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")

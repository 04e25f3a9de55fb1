"""The tasks of a run of a project: the steps of its goals, and for each goal the task where they end.

Invariant: ids follow from the run and the plan, so that the timeline finds each task of the plan, and
whoever needs the result of a goal finds what the goal's last task has kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from uuid import UUID, uuid5

from agents.planner import PlannerAgent, goal_task
from celery_app.worker.goals import artifact_id
from workflows.errors import InvalidProject
from workflows.project import Project, ProjectGoal
from workflows.project_plan import ProjectPlan
from workflows.task import Task, TaskInput

__all__ = ["end_of", "names_of", "plan_of", "tasks_of", "wanted"]

#: Gives the text of an artifact.
Read = Callable[[UUID], str]

#: Goals that have a result which holds.
_HAVE_RESULTS = ("reached", "to-accept")


def plan_of(project: Project) -> ProjectPlan:
    """Return the plan of a project. Raises `InvalidProject` while it has none."""
    if project.plan is None:
        raise InvalidProject(
            f"project {project.name} has no plan yet: `ai-agent project plan {project.name}` makes it"
        )
    return project.plan


def wanted(project: Project, goals: Collection[str]) -> list[str]:
    """Return the goals to work on, each after those it needs.

    They are the ones that are named, or all that have no result that holds; and whatever they need
    that has none.

    Raises:
        InvalidProject: A name is no goal, or there is nothing to do.
    """
    for goal in goals:
        project.goal(goal)
    open_ = {g.name for g in project.goals if project.standing(g.name).state not in _HAVE_RESULTS}
    found: set[str] = set(goals or open_)
    order = project.order()
    for name in reversed(order):
        if name in found:
            found.update(set(project.goal(name).needs) & open_)
    if not found:
        raise InvalidProject(
            f"all goals of project {project.name} are reached; --goal works on one again"
        )
    return [name for name in order if name in found]


def end_of(run: UUID, goal: str) -> UUID:
    """Return the id of the task that is the end of a goal in a run."""
    return uuid5(run, f"end:{goal}")


def tasks_of(
    project: Project, goals: Sequence[str], run: UUID, planner: PlannerAgent, read: Read
) -> list[Task]:
    """Return the tasks of a run that works on some goals, given in the order of their needs."""
    drawing = _Drawing(project, goals, run, planner, read)
    return [task for goal in goals for task in drawing.tasks(project.goal(goal))]


def names_of(project: Project) -> dict[str, str]:
    """Return what the tasks of a project's latest runs are called in its plan, by their ids."""
    found: dict[str, str] = {}
    plan = plan_of(project)
    for goal, standing in project.standings.items():
        if standing.run is None or goal not in plan.goals:
            continue
        found[str(end_of(standing.run, goal))] = goal
        steps = plan.goals[goal].plan.ids(_above(standing.run, goal))
        found |= {str(task): f"{goal}/{number}" for number, task in steps.items()}
    return found


def _above(run: UUID, goal: str) -> UUID:
    return uuid5(run, f"goal:{goal}")


class _Drawing:
    def __init__(
        self,
        project: Project,
        goals: Sequence[str],
        run: UUID,
        planner: PlannerAgent,
        read: Read,
    ) -> None:
        self._project = project
        self._plan = plan_of(project)
        self._goals = goals
        self._run = run
        self._planner = planner
        self._read = read

    def tasks(self, goal: ProjectGoal) -> list[Task]:
        """Return the steps of a goal, and its end."""
        plan = self._plan.goals[goal.name].plan
        texts = {
            name: self._read(self._plan.inputs[name]) for name in self._project.inputs_of(goal)
        }
        above = goal_task(self._project, goal, _above(self._run, goal.name), texts)
        steps = self._planner.subtasks(plan, above)
        for number in plan.graph().roots:
            steps[number - 1].dependencies = self._running(goal)
            steps[number - 1].inputs += self._reached(goal)
        for step in steps:
            step.parent_task = None
        ends = [steps[number - 1].id for number in plan.graph().sinks]
        return [*steps, self._end(goal, ends)]

    def _running(self, goal: ProjectGoal) -> list[UUID]:
        return [end_of(self._run, each) for each in goal.needs if each in self._goals]

    def _reached(self, goal: ProjectGoal) -> list[TaskInput]:
        """Return the results of the goals that it needs and that this run does not work on."""
        found = []
        for each in goal.needs:
            run = self._project.standing(each).run
            if each not in self._goals and run is not None:
                text = self._read(artifact_id(end_of(run, each)))
                found.append(TaskInput(name=each, text=text))
        return found

    def _end(self, goal: ProjectGoal, ends: Sequence[UUID]) -> Task:
        return Task(
            id=end_of(self._run, goal.name),
            description=goal.description,
            task="project.goal",
            kwargs={"project": str(self._project.id), "goal": goal.name},
            dependencies=list(ends),
            metadata={"title": goal.name},
        )

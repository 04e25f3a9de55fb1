from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workflows.errors import InvalidPlan
from workflows.plan import MAX_DEPTH, MAX_STEPS, CallEstimate, Plan, PlanStep
from workflows.task import (
    Capability,
    Priority,
    ResourceRequirements,
    RetryPolicy,
    SecurityRequirements,
    Task,
    TaskInput,
)
from workflows.validation import check_task

AGENTS = {"writer", "researcher"}
PARENT = Task(
    id=UUID(int=1),
    description="Report on bees",
    priority=Priority.HIGH,
    deadline=datetime(2030, 1, 1, tzinfo=UTC),
    inputs=[TaskInput(name="notes", text="Bees hum."), TaskInput(name="data", text="1, 2")],
    resource_requirements=ResourceRequirements(tokens=100),
    security_requirements=SecurityRequirements(allowed_tools={"search"}),
    retry=RetryPolicy(max=2),
    timeout=30,
)


def step(*needs: int, agent: str = "writer", inputs: tuple[str, ...] = ()) -> PlanStep:
    return PlanStep(title="Step", description="Do it", agent=agent, needs=needs, input_names=inputs)


def plan(*steps: PlanStep, version: int = 1) -> Plan:
    return Plan(job="Report on bees", steps=steps, source="model", version=version)


@st.composite
def sound_plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, MAX_STEPS))
    needs = [draw(st.sets(st.integers(1, n))) if n else set() for n in range(count)]
    return plan(*(step(*sorted(each)) for each in needs), version=draw(st.integers(1, 9)))


@given(sound_plans())
def test_a_sound_plan_becomes_a_sound_tree(given_plan: Plan) -> None:
    given_plan.check(AGENTS)
    parent = PARENT.model_copy(update={"subtasks": given_plan.tasks(PARENT)})

    now = datetime(2026, 1, 1, tzinfo=UTC)
    check_task(parent, now=now, capabilities=set(), task_names=set())
    assert Plan.model_validate_json(given_plan.model_dump_json()) == given_plan


@given(sound_plans())
def test_the_same_plan_gives_the_same_subtasks(given_plan: Plan) -> None:
    again = Plan.model_validate_json(given_plan.model_dump_json())

    assert again.tasks(PARENT) == given_plan.tasks(PARENT)


@given(sound_plans(), st.integers(1, MAX_STEPS))
def test_the_beginning_of_a_plan_gives_the_same_subtasks(given_plan: Plan, steps: int) -> None:
    begun = given_plan.model_copy(update={"steps": given_plan.steps[:steps]})

    assert begun.tasks(PARENT) == given_plan.tasks(PARENT)[:steps]


@given(sound_plans(), st.integers(0, MAX_STEPS - 1))
def test_what_says_or_needs_something_else_is_another_subtask(given_plan: Plan, at: int) -> None:
    at %= len(given_plan.steps)
    other = given_plan.steps[at].model_copy(update={"description": "Do something else"})
    steps = [other if number == at else step for number, step in enumerate(given_plan.steps)]
    needing = {at + 1}
    for number, one in enumerate(given_plan.steps, start=1):
        needing |= {number} if needing.intersection(one.needs) else set()

    before, after = (
        [task.id for task in each.tasks(PARENT)]
        for each in (given_plan, plan(*steps, version=given_plan.version))
    )
    changed = {number for number, id_ in enumerate(before, start=1) if id_ not in after}
    assert changed == needing


def test_another_version_or_parent_gives_other_ids() -> None:
    other = PARENT.model_copy(update={"id": UUID(int=2)})
    ids = {
        plan(step()).tasks(PARENT)[0].id,
        plan(step(), version=2).tasks(PARENT)[0].id,
        plan(step()).tasks(other)[0].id,
    }

    assert len(ids) == 3


def test_a_subtask_takes_after_its_parent() -> None:
    research = step(agent="researcher", inputs=("data",)).model_copy(
        update={"capabilities": [Capability.RESEARCH], "title": "Read"}
    )
    first, second = plan(research, step(1, 1)).tasks(PARENT)

    assert first.parent_task == second.parent_task == PARENT.id
    assert first.inputs == [TaskInput(name="data", text="1, 2")]
    assert first.required_capabilities == {Capability.RESEARCH}
    assert first.metadata == {"title": "Read", "step": 1}
    assert first.agent == "researcher"
    assert second.dependencies == [first.id]
    assert second.inputs == []
    for task in (first, second):
        assert (task.priority, task.deadline) == (PARENT.priority, PARENT.deadline)
        assert task.resource_requirements == PARENT.resource_requirements
        assert task.security_requirements == PARENT.security_requirements
        assert (task.retry.max, task.timeout) == (2, 30)
        assert task.idempotency_key is None


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (plan(), "the plan has 0 steps: give 1 to 20"),
        (plan(*[step()] * 21), "the plan has 21 steps: give 1 to 20"),
        (plan(step(1)), "step 1 needs step 1: let it need nothing"),
        (plan(step(), step(3), step()), "step 2 needs step 3: let it need a number from 1 to 1"),
        (plan(step(), step(0)), "step 2 needs step 0"),
        (plan(step(agent="poet")), "names the agent 'poet': use one of researcher, writer"),
        (plan(step(inputs=("map",))), "step 1 asks for the input 'map': there is notes, data"),
        (
            plan(step(), step().model_copy(update={"description": " "})),
            "step 2 has no description",
        ),
    ],
)
def test_a_plan_that_breaks_the_rules(bad: Plan, words: str) -> None:
    with pytest.raises(InvalidPlan) as caught:
        bad.check(AGENTS, inputs=["notes", "data"])

    assert words in str(caught.value)


def test_plans_within_plans_have_a_limit() -> None:
    plan(step()).check(AGENTS, depth=MAX_DEPTH)

    with pytest.raises(InvalidPlan, match=f"at most {MAX_DEPTH} are allowed"):
        plan(step()).check(AGENTS, depth=MAX_DEPTH + 1)


@pytest.mark.parametrize("bad", [plan(step(2), step()), plan(step(inputs=("map",)))])
def test_subtasks_are_not_made_of_a_plan_that_was_not_checked(bad: Plan) -> None:
    with pytest.raises(InvalidPlan):
        bad.tasks(PARENT)


def test_only_the_one_last_step_has_the_output_of_its_parent() -> None:
    parent = PARENT.model_copy(update={"output": {"type": "array"}})
    assert [task.output for task in plan(step(), step(1)).tasks(parent)] == [None, parent.output]
    assert [task.output for task in plan(step(), step()).tasks(parent)] == [None, None]


def test_the_price_of_a_plan() -> None:
    estimates = {"researcher": CallEstimate(prompt=100, generated=10, seconds=5, calls=2)}
    cheap = CallEstimate(prompt=10, generated=1, seconds=1)
    price = plan(
        step(agent="researcher"), step(agent="writer"), step(1, 2), step(agent="researcher")
    ).price(estimates, otherwise=cheap)

    assert (price.calls, price.prompt, price.generated, price.tokens) == (6, 220, 22, 242)
    assert (price.seconds, price.critical_seconds, price.critical_steps) == (12, 6, 2)


def test_who_made_a_plan_is_one_of_three() -> None:
    with pytest.raises(ValidationError):
        Plan(job="x", steps=[step()], source="guess")

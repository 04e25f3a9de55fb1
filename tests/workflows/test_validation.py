from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from workflows.errors import CycleError, InvalidTask, UnknownCapability, UnknownDependency
from workflows.task import (
    MAX_NESTING,
    Capability,
    ResourceRequirements,
    SecurityLevel,
    SecurityRequirements,
    Task,
    TaskInput,
)
from workflows.validation import check_task, is_complex, task_graph

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
IDS = [UUID(int=number) for number in range(4)]


def check(
    task: Task,
    *,
    capabilities: set[Capability] | None = None,
    task_names: set[str] | None = None,
) -> None:
    check_task(task, now=NOW, capabilities=capabilities, task_names=task_names)


def part(number: int, *needs: int, **fields: object) -> Task:
    dependencies = [IDS[needed] for needed in needs]
    return Task(id=IDS[number], description="part", dependencies=dependencies, **fields)


def test_a_sound_tree_is_accepted() -> None:
    check(
        Task(
            description="whole",
            deadline=NOW + timedelta(seconds=1),
            dependencies=[uuid4()],
            required_capabilities={Capability.WRITING},
            subtasks=[part(1), part(2, 1), Task(task="chore.echo", args=[1])],
        ),
        capabilities={Capability.WRITING},
        task_names={"chore.echo"},
    )


@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=1)])
def test_a_deadline_must_be_ahead(late: timedelta) -> None:
    with pytest.raises(InvalidTask, match=r"the deadline .* has passed .*2026-06-01T12:00:00"):
        check(Task(description="x", subtasks=[part(1, deadline=NOW - late)]))


def test_a_capability_that_nobody_has_is_told_with_those_that_are_known() -> None:
    task = Task(description="x", required_capabilities={"data", "coding", "writing"})

    with pytest.raises(UnknownCapability, match="of coding, data: the agents know review, writing"):
        check(task, capabilities={Capability.WRITING, Capability.REVIEW})
    with pytest.raises(UnknownCapability, match="the agents know nothing"):
        check(task, capabilities=set())
    check(task)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("chore.ecko", "did you mean 'chore.echo'?"),
        ("zzz", "import its module in the settings"),
    ],
)
def test_an_unregistered_celery_task(name: str, advice: str) -> None:
    with pytest.raises(InvalidTask, match=f"no Celery task is registered as '{name}': ") as caught:
        check(Task(task=name), task_names={"chore.echo", "chore.sleep"})

    assert advice in str(caught.value)


@pytest.mark.parametrize("fields", [{"plan": True}, {"subtasks": [Task(description="y")]}])
def test_a_celery_task_is_neither_planned_nor_a_parent(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidTask, match=r"'chore\.echo' cannot be planned or have subtasks"):
        check(Task(task="chore.echo", **fields))


def test_subtasks_wait_only_for_each_other() -> None:
    outside = uuid4()
    task = Task(description="x", subtasks=[Task(description="y", dependencies=[outside])])

    with pytest.raises(UnknownDependency, match=f"depends on {outside}, which is not among"):
        check(task)


def test_a_circle_among_subtasks_is_named() -> None:
    with pytest.raises(CycleError) as caught:
        check(Task(description="x", subtasks=[part(1, 2), part(2, 3), part(3, 1)]))

    assert all(str(IDS[number]) in str(caught.value) for number in (1, 2, 3))


def test_a_task_cannot_wait_for_itself() -> None:
    with pytest.raises(CycleError, match=f"task {IDS[1]} depends on itself"):
        check(part(1, 1))


def test_an_id_is_used_once_in_the_whole_tree() -> None:
    deep = part(2, subtasks=[part(1)])
    with pytest.raises(InvalidTask, match=f"task {IDS[1]} is there twice"):
        check(Task(description="x", subtasks=[part(1), deep]))
    with pytest.raises(InvalidTask, match=f"task {IDS[1]} is there twice"):
        check(Task(description="x", subtasks=[part(1), part(1)]))


def test_a_task_among_its_own_descendants_is_refused() -> None:
    task = part(1)
    task.subtasks.append(task)

    with pytest.raises(InvalidTask, match="is there twice"):
        check(task)


def test_nesting_has_a_limit_that_json_can_carry() -> None:
    task = Task(description="deepest")
    for _ in range(MAX_NESTING):
        task = Task(description="x", subtasks=[task])
    check(task)
    assert Task.model_validate_json(task.model_dump_json()) == task

    with pytest.raises(InvalidTask, match=f"nested {MAX_NESTING + 1} deep"):
        check(Task(description="x", subtasks=[task]))


def test_a_subtask_stands_under_its_parent() -> None:
    other = uuid4()
    with pytest.raises(InvalidTask, match=f"names {other} as its parent but stands under"):
        check(Task(description="x", subtasks=[Task(description="y", parent_task=other)]))

    task = Task(description="x")
    task.subtasks = [Task(description="y", parent_task=task.id)]
    check(task)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"security_requirements": SecurityRequirements(network=True)}, "network"),
        ({"security_requirements": SecurityRequirements(allowed_tools={"shell"})}, "tool shell"),
        (
            {"security_requirements": SecurityRequirements(level=SecurityLevel.SECRET)},
            "level secret above internal",
        ),
        ({"resource_requirements": ResourceRequirements(cpu=2)}, "cpu 2.0 above 1.0"),
        (
            {"resource_requirements": ResourceRequirements(memory="2Gi", tokens=11)},
            "memory 2147483648 above 1073741824; tokens 11 above 10",
        ),
    ],
)
def test_a_subtask_may_not_do_more_than_its_parent(fields: dict[str, object], words: str) -> None:
    limits = ResourceRequirements(cpu=1, memory="1Gi", tokens=10)
    parent = Task(description="x", resource_requirements=limits, subtasks=[part(1, **fields)])

    with pytest.raises(InvalidTask, match="asks for more than its parent has") as caught:
        check(parent)
    assert words in str(caught.value)


def test_a_subtask_may_do_as_much_as_its_parent() -> None:
    security = SecurityRequirements(level="secret", allowed_tools={"a", "b"}, network=True)
    limits = ResourceRequirements(cpu=1, seconds=5)
    same = {"security_requirements": security, "resource_requirements": limits}

    check(Task(description="x", subtasks=[part(1, **same), part(2)], **same))


def test_a_tool_that_there_is_not_is_told_with_the_nearest() -> None:
    inner = part(1, security_requirements=SecurityRequirements(allowed_tools={"serch"}))
    same = inner.security_requirements
    task = Task(description="x", security_requirements=same, subtasks=[inner])
    known = {"search", "calculate"}
    with pytest.raises(InvalidTask, match=r"allowed_tools names 'serch'.*did you mean 'search'\?"):
        check_task(task, now=NOW, capabilities=None, task_names=None, tools=known)
    check_task(task, now=NOW, capabilities=None, task_names=None)
    check_task(task, now=NOW, capabilities=None, task_names=None, tools={"serch"})


def test_dependencies_known_elsewhere_are_left_out_of_the_graph() -> None:
    graph = task_graph([part(1, 0), part(2, 0, 1)], known={IDS[0]})

    assert list(graph) == IDS[1:3]
    assert graph.edges == ((IDS[1], IDS[2]),)


@pytest.mark.parametrize(
    ("description", "several"),
    [
        ("Summarize this text", False),
        ("Write a review", False),
        ("Write a haiku about rain. Make it sad.", False),
        ("Compare apples and pears", False),
        ("write, and write again", False),
        ("Research the market, compare three vendors and write a report", True),
        ("Find the numbers and then explain them", True),
        ("review: write tests; please check them", True),
        ("Erledige:\n- Recherche\n- Bericht", True),
        ("1. Äpfel\n2. Birnen", True),
    ],
)
def test_a_description_that_asks_for_several_things_is_complex(
    description: str, several: bool
) -> None:
    assert is_complex(Task(description=description)) is several
    assert not is_complex(Task(description=description, agent="writer"))
    assert not is_complex(Task(description=description, plan=False))
    assert not is_complex(Task(description=description, task="chore.echo"))
    assert is_complex(Task(description=description, plan=True, agent="writer"))


def test_inputs_and_subtasks_make_a_task_complex() -> None:
    texts = [TaskInput(name="a", text="b")]

    assert is_complex(Task(description="x", inputs=texts))
    assert not is_complex(Task(description="x", inputs=texts, agent="writer"))
    assert is_complex(Task(description="x", plan=False, subtasks=[Task(description="y")]))

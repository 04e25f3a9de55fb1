from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.conditions import fill
from workflows.error_handling import ErrorHandlingConfig, Fallback
from workflows.progress import failure, names, outlook, seen, why_skipped
from workflows.state import StepStatus, TaskState
from workflows.step import Compensation, WorkflowStep
from workflows.workflow import SkipReason, StepResult, Workflow, WorkflowInstance

CONDITION, FAILURE, UNUSED = SkipReason.CONDITION, SkipReason.FAILURE, SkipReason.UNUSED
Results = dict[str, StepResult]


def step(step_id: str, *needs: str, **fields: Any) -> WorkflowStep:
    return WorkflowStep(id=step_id, task="t", needs=list(needs), **fields)


def flow(*steps: WorkflowStep, strategy: Any = "continue") -> Workflow:
    return Workflow(
        name="x", steps=list(steps), error_handling=ErrorHandlingConfig(strategy=strategy)
    )


def ok(output: Any = None) -> StepResult:
    return StepResult(status=StepStatus.SUCCESS, output=output)


def failed(error: str = "broken") -> StepResult:
    return StepResult(status=StepStatus.ERROR, error=error)


def skip(reason: SkipReason) -> StepResult:
    return StepResult(status=StepStatus.SKIPPED, reason=reason)


RUNNING = StepResult(status=StepStatus.RUNNING)
CANCELLED = StepResult(status=StepStatus.CANCELLED)


@pytest.mark.parametrize(
    ("before", "policy", "success", "on_failure", "always"),
    [
        (ok(), "abort", True, CONDITION, True),
        (skip(CONDITION), "abort", True, CONDITION, True),
        (failed(), "continue", True, CONDITION, True),
        (failed(), "abort", FAILURE, True, True),
        (CANCELLED, "abort", FAILURE, True, True),
        (CANCELLED, "continue", FAILURE, True, True),
        (skip(FAILURE), "abort", FAILURE, True, True),
        (RUNNING, "abort", None, None, None),
        (StepResult(status=StepStatus.WAITING), "abort", None, None, None),
    ],
)
def test_the_table_of_edges(
    before: StepResult, policy: Any, success: object, on_failure: object, always: object
) -> None:
    workflow = flow(
        step("a", on_error=policy),
        step("success", "a"),
        step("failure", "a", run_on="failure"),
        step("always", "a", run_on="always"),
    )

    found = outlook(workflow, {"a": before})

    for name, expected in [("success", success), ("failure", on_failure), ("always", always)]:
        assert (name in found.ready) == (expected is True), name
        assert found.skipped.get(name) == (expected if expected in list(SkipReason) else None), name


@pytest.mark.parametrize(
    ("fallback", "policy", "dependent", "ended"),
    [
        (ok("cached"), "abort", True, TaskState.SUCCEEDED),
        (failed(), "abort", FAILURE, TaskState.FAILED),
        (failed(), "continue", True, TaskState.SUCCEEDED),
        (RUNNING, "abort", None, None),
        (None, "abort", None, None),
    ],
)
def test_a_fallback_stands_in(
    fallback: StepResult | None, policy: Any, dependent: object, ended: TaskState | None
) -> None:
    workflow = flow(
        step("a", on_error=Fallback(fallback="b")),
        WorkflowStep(id="b", task="t", on_error=policy),
        step("c", "a"),
    )
    results = {"a": failed()} | ({"b": fallback} if fallback is not None else {})

    found = outlook(workflow, results)

    assert ("b" in found.ready) == (fallback is None)
    assert ("c" in found.ready) == (dependent is True)
    assert found.skipped == ({"c": FAILURE} if dependent is FAILURE else {})
    assert outlook(workflow, results | ({"c": ok()} if dependent is True else {})).ended is ended


@pytest.mark.parametrize("result", [ok(), CANCELLED, skip(CONDITION), skip(FAILURE)])
def test_a_fallback_that_is_not_needed_is_skipped(result: StepResult) -> None:
    workflow = flow(step("a", on_error=Fallback(fallback="b")), WorkflowStep(id="b", task="t"))

    assert outlook(workflow, {"a": result}).skipped == {"b": UNUSED}
    assert outlook(workflow, {}).ready == ("a",)


def test_the_output_of_a_fallback_is_seen_as_the_failed_steps() -> None:
    workflow = flow(step("a", on_error=Fallback(fallback="b")), WorkflowStep(id="b", task="t"))

    assert seen(workflow, {"a": failed(), "b": ok(5)})["a"] == ok(5)
    assert seen(workflow, {"a": failed(), "b": RUNNING})["a"] == failed()
    assert seen(workflow, {"a": ok(1), "b": skip(UNUSED)})["a"] == ok(1)


def test_skips_spread_downwards_at_once() -> None:
    workflow = flow(step("a"), step("b", "a"), step("c", "b"), step("d", "c", run_on="failure"))

    found = outlook(workflow, {"a": failed()})

    assert found.skipped == {"b": FAILURE, "c": FAILURE}
    assert found.ready == ("d",)


def test_a_body_is_skipped_before_its_other_needs_have_ended() -> None:
    workflow = flow(step("a"), step("b"), step("c", "a", "b"))

    assert outlook(workflow, {"a": failed(), "b": RUNNING}).skipped == {"c": FAILURE}


def test_needs_left_out_follow_the_step_above_that_is_no_fallback() -> None:
    workflow = flow(
        WorkflowStep(id="a", task="t", on_error=Fallback(fallback="b")),
        WorkflowStep(id="b", task="t"),
        WorkflowStep(id="c", task="t"),
        step("d"),
    )

    assert outlook(workflow, {}).ready == ("a", "d")
    assert outlook(workflow, {"a": ok()}).ready == ("c", "d")


@pytest.mark.parametrize(
    ("strategy", "ready", "skipped"),
    [
        ("continue", ("b", "apology"), {"after": FAILURE}),
        ("abort", ("apology",), {"after": FAILURE, "b": FAILURE}),
        ("compensate", ("apology",), {"after": FAILURE, "b": FAILURE}),
    ],
)
def test_the_strategy_decides_about_what_does_not_need_the_failed_step(
    strategy: str, ready: tuple[str, ...], skipped: dict[str, SkipReason]
) -> None:
    workflow = flow(
        step("a"),
        step("after", "a"),
        step("beside"),
        step("b", "beside"),
        step("apology", "after", run_on="failure"),
        step("mail", "apology"),
        strategy=strategy,
    )
    results = {"a": failed(), "beside": ok()}

    found = outlook(workflow, results)

    assert found.ready == ready
    assert found.skipped == skipped
    # What follows a step that runs on failure belongs to it.
    told = {name: skip(reason) for name, reason in found.skipped.items()}
    assert "mail" in outlook(workflow, results | told | {"apology": ok()}).ready


def test_what_is_running_ends_before_the_run_does() -> None:
    workflow = flow(step("a"), step("b"), strategy="abort")

    assert outlook(workflow, {"a": failed(), "b": RUNNING}).ended is None
    assert outlook(workflow, {"a": failed(), "b": ok()}).ended is TaskState.FAILED


@pytest.mark.parametrize(
    ("results", "ended"),
    [
        ({"a": ok(), "b": ok()}, TaskState.SUCCEEDED),
        ({"a": ok(), "b": skip(CONDITION)}, TaskState.SUCCEEDED),
        ({"a": ok(), "b": failed()}, TaskState.FAILED),
        ({"a": ok(), "b": CANCELLED}, TaskState.CANCELLED),
        ({"a": CANCELLED, "b": failed()}, TaskState.FAILED),
    ],
)
@pytest.mark.parametrize("strategy", ["abort", "continue"])
def test_how_a_run_ends(results: Results, ended: TaskState, strategy: str) -> None:
    assert outlook(flow(step("a"), step("b"), strategy=strategy), results).ended is ended


def test_compensations_run_the_last_first_and_only_for_what_succeeded() -> None:
    undo = Compensation(task="undo")
    workflow = flow(
        step("a", compensate=undo),
        step("b", "a", compensate=undo),
        step("c", "a", compensate=undo),
        step("d", "b", "c"),
        step("e", "a", compensate=undo, on_error="continue"),
        step("f", "d", compensate=undo),
        strategy="compensate",
    )
    results = {"a": ok(), "b": ok(), "c": ok(), "d": failed(), "e": failed(), "f": skip(FAILURE)}

    found = outlook(workflow, results)

    assert found.ended is TaskState.FAILED
    assert set(found.compensate) == {"a", "b", "c"}
    assert found.compensate[-1] == "a"
    assert outlook(workflow, results | {"d": ok(), "f": ok()}).compensate == ()
    assert outlook(workflow, results | {"d": CANCELLED}).compensate == ()


def test_a_step_is_told_of_the_failure_that_concerns_it() -> None:
    workflow = flow(
        step("a"),
        step("b"),
        step("c", "b", run_on="failure"),
        step("d", on_error=Fallback(fallback="e")),
        WorkflowStep(id="e", task="t"),
    )
    results = {"a": failed("one"), "b": failed("two"), "d": failed("three"), "e": ok()}

    assert failure(workflow, results) == {"step": "a", "message": "one"}
    assert failure(workflow, results, "c") == {"step": "b", "message": "two"}
    assert failure(workflow, results, "e") == {"step": "d", "message": "three"}
    assert failure(workflow, {"a": CANCELLED}) == {"step": "a", "message": "it was cancelled"}
    assert failure(workflow, {"a": ok()}) is None


def test_expressions_are_filled_from_a_run() -> None:
    workflow = flow(
        step("a", on_error=Fallback(fallback="b")),
        WorkflowStep(id="b", task="t", args=["{{ failure.message }}"]),
        step("c", "a", args=["{{ steps.a.output + item }}", "{{ run.id }}"], foreach=[1, 2]),
    )
    run = WorkflowInstance(workflow=workflow, inputs={"x": 1}, results={"a": failed("no")})

    assert fill(workflow.step("b").args, names(run, "b")) == ["no"]
    run.results["b"] = ok(5)
    shown = names(run, "c", item=2, run={"id": "7"})
    assert fill(workflow.step("c").args, shown) == [7, "7"]
    assert shown["inputs"] == {"x": 1}
    assert shown["steps"]["c"] == {"status": "pending", "output": None, "error": None}
    assert shown["failure"] is None


def test_a_result_says_why_it_was_skipped() -> None:
    with pytest.raises(ValueError, match="a skipped step, and no other, has a reason"):
        StepResult(status=StepStatus.SKIPPED)
    with pytest.raises(ValueError, match="has a reason"):
        StepResult(status=StepStatus.SUCCESS, reason=CONDITION)


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    chance = random.Random(draw(st.integers(0, 2**32)))
    count = draw(st.integers(1, 12))
    steps: list[WorkflowStep] = []
    ordinary: list[str] = []
    for number in range(count):
        needs = chance.sample(ordinary, min(len(ordinary), chance.choice([0, 1, 1, 2, 3])))
        run_on = chance.choice(["success", "success", "failure", "always"]) if needs else "success"
        policy = chance.choice(["abort", "abort", "continue", "fallback"])
        name = f"s{number}"
        ordinary.append(name)
        on_error: Any = {"fallback": f"{name}-b"} if policy == "fallback" else policy
        undo = Compensation(task="undo") if chance.random() < 0.5 else None
        steps.append(step(name, *needs, run_on=run_on, on_error=on_error, compensate=undo))
        if policy == "fallback":
            second = chance.choice(["abort", "continue"])
            steps.append(WorkflowStep(id=f"{name}-b", task="t", on_error=second))
    chance.shuffle(steps)
    return flow(*steps, strategy=draw(st.sampled_from(["abort", "continue", "compensate"])))


@given(workflows(), st.integers(0, 2**32))
def test_every_run_ends_and_no_step_runs_too_early(workflow: Workflow, seed: int) -> None:
    chance = random.Random(seed)
    graph = workflow.graph
    results: Results = {}
    for _ in range(10 * len(graph)):
        found = outlook(workflow, results)
        assert outlook(workflow, results) == found
        assert found.skipped.keys().isdisjoint(results)
        results |= {name: skip(reason) for name, reason in found.skipped.items()}
        if found.ended is not None:
            break
        running = [name for name in results if results[name] == RUNNING]
        assert running or found.ready
        for name in found.ready:
            assert name not in results
            assert all(results[before].is_final for before in graph.dependencies(name))
            if name in workflow.fallbacks:
                assert results[workflow.fallbacks[name]].status is StepStatus.ERROR
        begun = chance.sample(found.ready, chance.randint(0, len(found.ready)))
        results |= dict.fromkeys(begun, RUNNING)
        for name in running or begun or found.ready[:1]:
            results[name] = chance.choice([ok(1), ok(2), failed(), skip(CONDITION), CANCELLED])

    final = outlook(workflow, results)
    assert final.ended is not None
    assert set(results) == set(graph)
    _check_end(workflow, results, final.ended, final.compensate)


def _check_end(
    workflow: Workflow, results: Results, ended: TaskState, undone: tuple[str, ...]
) -> None:
    good = {StepStatus.SUCCESS, StepStatus.SKIPPED}
    if ended is TaskState.SUCCEEDED:
        assert CANCELLED not in results.values()
        for one in workflow.steps:
            result = seen(workflow, results)[one.id]
            assert result.status in good or one.on_error != "abort"
    else:
        assert {StepStatus.ERROR, StepStatus.CANCELLED} & {each.status for each in results.values()}
    place = {name: number for number, name in enumerate(undone)}
    assert not undone or ended is TaskState.FAILED
    for name in undone:
        assert results[name].status is StepStatus.SUCCESS
        assert all(
            place.get(other, 99) > place[name] for other in workflow.graph.dependencies(name)
        )


@given(workflows(), st.integers(0, 2**32))
def test_a_result_never_makes_a_step_wait_that_was_ready(workflow: Workflow, seed: int) -> None:
    chance = random.Random(seed)
    results: Results = {}
    for _ in workflow.steps:
        found = outlook(workflow, results)
        if not found.ready:
            return
        name = chance.choice(found.ready)
        results[name] = chance.choice([ok(), failed()])
        later = outlook(workflow, results)
        for other in set(found.ready) - {name}:
            assert other in later.ready or later.skipped[other] is FAILURE


@given(workflows(), st.integers(0, 2**32))
def test_a_step_alone_is_decided_about_as_in_the_whole(workflow: Workflow, seed: int) -> None:
    chance = random.Random(seed)
    results: Results = {}
    todo = list(workflow.graph.order())
    while todo:
        # As the engine does it: a step is looked at once all that it waits for has ended.
        name = chance.choice(
            [each for each in todo if all(before in results for before in workflow.waits[each])]
        )
        todo.remove(name)
        known = {
            each: result
            for each, result in results.items()
            if each in workflow.waits[name]
            or each in workflow.fallbacks
            or result.status in (StepStatus.ERROR, StepStatus.CANCELLED)
        }
        whole = outlook(workflow, results).skipped.get(name)
        assert why_skipped(workflow, known, name) == whole
        ended = chance.choice([ok(1), failed(), skip(CONDITION), CANCELLED])
        results[name] = ended if whole is None else skip(whole)
    assert outlook(workflow, results).ended is not None

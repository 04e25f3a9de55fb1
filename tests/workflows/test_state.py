from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.errors import IllegalTransition
from workflows.state import StateManager, StepStatus, TaskState

TABLE = {
    "pending": "queued expanded cancelled skipped failed",
    "queued": "running waiting expanded cancelled skipped failed",
    "running": "succeeded failed cancelled queued waiting expanded",
    "waiting": "queued cancelled failed skipped",
    "expanded": "queued cancelled failed",
    "succeeded": "",
    "failed": "",
    "cancelled": "",
    "skipped": "",
}
states = st.sampled_from(TaskState)


@pytest.mark.parametrize("old", TaskState)
def test_the_table(old: TaskState) -> None:
    manager = StateManager()

    assert {new for new in TaskState if manager.allows(old, new)} == set(TABLE[old].split())
    assert manager.targets(old) == set(TABLE[old].split())


@given(states, states, st.booleans())
def test_check_refuses_what_is_not_allowed(old: TaskState, new: TaskState, by_user: bool) -> None:
    manager = StateManager()

    assert manager.allows(old, new, by_user=by_user) == (
        old in manager.sources(new, by_user=by_user)
    )
    if manager.allows(old, new, by_user=by_user):
        manager.check(old, new, by_user=by_user)
        return
    with pytest.raises(IllegalTransition) as caught:
        manager.check(old, new, by_user=by_user)
    assert str(caught.value).startswith(f"a task that is {old} cannot become {new}: it ")
    assert "\n" not in str(caught.value)


def test_only_a_user_retries_and_only_what_failed_or_was_cancelled() -> None:
    manager = StateManager()
    added = {
        (old, new)
        for old in TaskState
        for new in manager.targets(old, by_user=True) - manager.targets(old)
    }

    again = {"pending", "queued", "expanded"}
    assert {new for old, new in added if old == "failed"} == again
    assert {new for old, new in added if old == "cancelled"} == again
    # What was skipped for their sake waits once more.
    assert {new for old, new in added if old == "skipped"} == {"pending"}
    assert {old for old, _ in added} == {"failed", "cancelled", "skipped"}


def test_final_states_are_those_that_nothing_follows() -> None:
    manager = StateManager()

    assert {s for s in TaskState if s.is_final} == {s for s in TaskState if not manager.targets(s)}


def test_every_state_has_a_status_for_the_author_of_a_workflow() -> None:
    assert {state.step_status for state in TaskState} == set(StepStatus)
    assert TaskState.FAILED.step_status is StepStatus.ERROR


@pytest.mark.parametrize(
    ("old", "advice"),
    [
        ("expanded", "it can become queued, failed, cancelled"),
        ("failed", "it is final; only a user's retry queues it again"),
        ("succeeded", "it is final; submit a new task instead"),
    ],
)
def test_the_refusal_says_what_can_be_done(old: str, advice: str) -> None:
    with pytest.raises(IllegalTransition, match=advice):
        StateManager().check(TaskState(old), TaskState.SKIPPED)

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.agent_manager import AgentManager
from agents.errors import ModelUnreachable
from agents.model import Reply
from agents.plan_gate import check_actions, check_titles, check_verbs
from agents.planner import PlannerAgent
from agents.scripted import Answers, ScriptedModel
from agents.vocabulary import ENDINGS, Staff, asked_for
from workflows.plan import Plan
from workflows.task import Task, TaskInput

JOB = "Summarise the parts of this document and bring them together"
DOCUMENT = TaskInput(name="a.md", text="# Title\n\n## Cats\nCats sleep.\n\n## Dogs\nDogs bark.\n")
ROSTER = AgentManager().profiles
GUIDE = "Write a guide to the harbour"
ON_PARTS: dict[str, dict[str, Any]] = {
    "1": {"action": "Summarise the part on cats", "agent": "researcher", "inputs": ["Cats"]},
    "2": {
        "action": "Describe the dogs of the document",
        "agent": "researcher",
        "inputs": ["Dogs"],
        "needs": [],
    },
    "3": {"action": "Bring both together", "agent": "writer", "inputs": [], "needs": [1, 2]},
}
OUTLINE = {
    "1": "Collect facts about the harbour",
    "2": "Choose topics for the guide",
    "3": "Write the guide to the harbour.",
}


def answer(ending: str = "Bring together", *actions: str) -> str:
    actions = actions or ("Summarise", "Summarise")
    parts = dict(zip(["Cats", "Dogs"], actions, strict=True))
    steps = {
        str(number): {"action": action, "part": part}
        for number, (part, action) in enumerate(parts.items(), start=1)
    }
    return json.dumps({"0": ending, **steps})


def planner(form: str = "outline") -> PlannerAgent:
    profile = AgentManager().planner.profile
    return PlannerAgent(profile.model_copy(update={"plan_form": form}))


def plan(job: str, *answers: Answers, inputs: list[TaskInput] | None = None, **more: str) -> Plan:
    task = Task(id=UUID(int=1), description=job, inputs=[DOCUMENT] if inputs is None else inputs)
    model = ScriptedModel(*answers)
    return planner(**more).plan_task_breakdown(task, roster=ROSTER, model=model)


def test_one_step_a_part_and_one_for_all() -> None:
    made = plan(JOB, answer())
    assert (made.source, made.tries, made.model) == ("model", 1, "smollm2:135m")
    assert made.tokens.prompt > 0
    assert [(s.title, s.agent, s.needs, s.input_names) for s in made.steps] == [
        ("Cats", "researcher", [], ["Cats"]),
        ("Dogs", "researcher", [], ["Dogs"]),
        ("Bring together", "writer", [1, 2], []),
    ]
    assert made.steps[0].description == f"Summarise “Cats”. The whole job: {JOB}."


def begun(job: str, *answers: str, form: str = "outline", inputs: bool = True) -> list[Plan]:
    """What is told of a plan while it is made; the script says an answer line by line."""
    told: list[Plan] = []
    task = Task(id=UUID(int=1), description=job, inputs=[DOCUMENT] if inputs else [])
    made = planner(form).plan_task_breakdown(
        task, roster=ROSTER, model=ScriptedModel(*answers), on_begun=told.append
    )
    if made.source == "model" and len(answers) == 1:
        assert all(each.steps == made.steps[: len(each.steps)] for each in told)
    return told


def lines(answer: str) -> str:
    return json.dumps(json.loads(answer), indent=1)


def test_each_step_is_told_when_the_next_one_begins() -> None:
    assert [len(each.steps) for each in begun(JOB, lines(answer()))] == [1]
    told = begun(GUIDE, lines(json.dumps(OUTLINE)), inputs=False)
    assert [len(each.steps) for each in told] == [1, 2]


def test_whole_steps_are_told_too() -> None:
    told = begun(JOB, lines(json.dumps(ON_PARTS)), form="keyed")
    assert [len(each.steps) for each in told] == [1, 2]
    assert told[0].steps[0].agent == "researcher"


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(ON_PARTS | {"1": ON_PARTS["1"] | {"agent": "nobody"}}, indent=1),
        json.dumps(ON_PARTS | {"1": ON_PARTS["1"] | {"inputs": ["Birds"]}}, indent=1),
        json.dumps(ON_PARTS | {"1": ON_PARTS["1"] | {"action": JOB}}, indent=1),
        json.dumps([ON_PARTS], indent=1),
        "Here is the plan:\n" + json.dumps(ON_PARTS, indent=1),
        "I cannot say {",
    ],
)
def test_what_is_no_beginning_of_a_plan_is_not_told(answer: str) -> None:
    assert begun(JOB, answer, *["none"] * 3, form="keyed") == []


def test_a_beginning_that_is_refused_later_was_told() -> None:
    idle = {str(number): ON_PARTS["1"] for number in (1, 2)}
    told = begun(JOB, json.dumps(idle, indent=1), lines(json.dumps(ON_PARTS)), form="keyed")
    assert [len(each.steps) for each in told] == [1, 1, 2]


def test_the_model_decides() -> None:
    made = plan(
        "Translate or correct the parts, then rank them", answer("Rank", "Correct", "Translate")
    )
    assert [step.description.split()[0] for step in made.steps] == ["Correct", "Translate", "Rank"]
    assert [step.agent for step in made.steps] == ["reviewer", "writer", "analyst"]


def test_subtasks_have_exactly_their_parts() -> None:
    task = Task(id=UUID(int=1), description=JOB, inputs=[DOCUMENT])
    made = plan(JOB, answer())
    cats, dogs, together = planner().subtasks(made, task)
    assert [(item.name, item.text) for item in cats.inputs] == [("Cats", "Cats sleep.")]
    assert [item.name for item in dogs.inputs] == ["Dogs"]
    assert together.inputs == []
    assert together.dependencies == [cats.id, dogs.id]
    assert planner().subtasks(made, task) == [cats, dogs, together]


def test_a_single_part_needs_no_bringing_together() -> None:
    note = TaskInput(name="note.txt", text="Cats sleep.")
    said = json.dumps({"1": {"action": "Summarise", "part": "note.txt"}})
    made = plan("Summarise this", said, inputs=[note])
    assert [(step.agent, step.input_names) for step in made.steps] == [("researcher", ["note.txt"])]


def test_warmer_until_the_gate_is_passed() -> None:
    task = Task(description=JOB, inputs=[DOCUMENT])
    model = ScriptedModel(
        answer("Rank"), "no JSON", answer("Bring together", "Check", "Check"), answer()
    )
    made = planner().plan_task_breakdown(task, roster=ROSTER, model=model)
    assert (made.source, made.tries) == ("model", 4)
    assert [asked.options.temperature for asked in model.requests] == [0, 0.4, 0.7, 0.9]
    assert len({asked.options.seed for asked in model.requests}) == 4
    assert {len(asked.messages) for asked in model.requests} == {len(model.requests[0].messages)}
    assert made.tokens.generated == sum(
        len(said) // 4
        for said in (
            answer("Rank"),
            "no JSON",
            answer("Bring together", "Check", "Check"),
            answer(),
        )
    )


def test_fallback_after_four_tries() -> None:
    made = plan(JOB, *["no plan"] * 4)
    assert (made.source, made.tries) == ("fallback", 4)
    assert [step.description.split(".")[0] for step in made.steps] == [
        "Summarise “Cats”",
        "Summarise “Dogs”",
        "Bring the results together",
    ]


def test_fallback_when_answers_are_cut() -> None:
    assert plan(JOB, *[Reply("{", done_reason="length")] * 4).source == "fallback"


def test_fallback_without_inputs_differs_with_the_job() -> None:
    first, second = (plan(job, *["x"] * 4, inputs=[]) for job in (GUIDE, "Plan a party"))
    assert [step.needs for step in first.steps] == [[], [1], [1, 2]]
    assert first.steps != second.steps


def test_no_fallback_where_no_model_answers() -> None:
    with pytest.raises(ModelUnreachable):
        plan(JOB, ModelUnreachable("nobody there"))


def test_outline_without_inputs() -> None:
    made = plan(GUIDE, json.dumps(OUTLINE), inputs=[])
    assert made.source == "model"
    assert [(step.agent, step.needs) for step in made.steps] == [
        ("researcher", []),
        ("analyst", [1]),
        ("writer", [2]),
    ]
    assert made.steps[2].title == "Write the guide to the harbour"


def test_keyed_steps_name_their_needs() -> None:
    said = {
        "1": {"action": "Read about the sleeping cats", "agent": "researcher", "inputs": ["Cats"]},
        "2": {"action": "Read about the barking dogs", "agent": "researcher", "inputs": ["Dogs"]},
        "3": {"action": "Summarise what both do all day", "agent": "writer", "needs": [2, 1]},
    }
    made = plan("Summarise what cats and dogs do all day", json.dumps(said), form="keyed")
    assert made.source == "model"
    assert [(step.needs, step.input_names) for step in made.steps] == [
        ([], ["Cats"]),
        ([], ["Dogs"]),
        ([1, 2], []),
    ]


KEYED: dict[str, dict[str, Any]] = {
    "1": {"action": "Collect facts about the harbour", "agent": "researcher"},
    "2": {"action": "Choose topics for the guide", "agent": "analyst", "needs": [1]},
    "3": {"action": "Write the guide to the harbour", "agent": "writer", "needs": [2]},
}


@pytest.mark.parametrize(
    ("step", "change", "words"),
    [
        ("2", {"needs": [3]}, "needs a step that does not come before it"),
        ("2", {"needs": [2]}, "needs a step that does not come before it"),
        ("2", {"agent": "cook"}, "no agent 'cook'"),
        ("2", {"inputs": ["Birds"]}, "no part 'Birds'"),
        ("2", {"action": "Collect the facts about our harbour"}, "repeats an earlier step"),
        ("2", {"action": 5}, "not the text of a step"),
    ],
)
def test_a_larger_model_is_told_what_is_wrong(
    step: str, change: dict[str, Any], words: str
) -> None:
    wrong = {**KEYED, step: {**KEYED[step], **change}}
    task = Task(description=GUIDE)
    model = ScriptedModel(json.dumps(wrong), json.dumps(KEYED))
    made = planner("keyed").plan_task_breakdown(task, roster=ROSTER, model=model)
    assert (made.source, made.tries) == ("model", 2)
    assert words in model.requests[1].messages[-1].content


def test_every_part_is_read() -> None:
    said = {"1": {"action": "Summarise the sleeping cats", "agent": "writer", "inputs": ["Cats"]}}
    assert plan("Summarise the cats", *[json.dumps(said)] * 4, form="keyed").source == "fallback"


def test_no_schema_can_name_a_later_step() -> None:
    task = Task(description=GUIDE)
    model = ScriptedModel(json.dumps(KEYED))
    planner("keyed").plan_task_breakdown(task, roster=ROSTER, model=model)
    schema = model.requests[0].schema
    assert schema is not None
    for number, step in schema["properties"].items():
        earlier = step["properties"].get("needs", {"items": {"enum": []}})["items"]["enum"]
        assert all(needed < int(number) for needed in earlier)


@pytest.mark.parametrize(
    ("job", "actions", "ending", "passes"),
    [
        (JOB, ["Summarise"], "Bring together", True),
        (JOB, ["Translate"], "Bring together", False),
        (JOB, ["Summarise"], "Rank", False),
        ("Summarise the document", ["Summarise"], "Bring together", True),
        ("Summarise the document", ["Summarise"], "Compare", False),
        ("List the numbers and check them", ["List"], "Check", True),
        ("List the numbers and check them", ["List"], "Bring together", False),
        ("Compare the sections", ["Compare"], "Bring together", True),
        ("Compare the sections", ["Compare"], "Compare", True),
        ("Was steht darin?", ["Extract"], "Bring together", True),
        ("Was steht darin?", ["Translate"], "Bring together", False),
        ("Summarise this", ["Summarise"], None, True),
    ],
)
def test_the_gate_of_actions(
    job: str, actions: list[str], ending: str | None, passes: bool
) -> None:
    if passes:
        check_actions(job, actions, ending)
    else:
        with pytest.raises(ValueError, match="the job"):
            check_actions(job, actions, ending)


@pytest.mark.parametrize(
    ("titles", "words"),
    [
        (["Collect facts on the harbour", "Write the guide text"], "has 2 steps"),
        (["Collect the facts about harbour", *OUTLINE.values()], "repeats an earlier step"),
        ([*OUTLINE.values(), "Check the guide once more"], "step 3 only repeats the job"),
        (["Go on", *OUTLINE.values()], "does not say what to do"),
        (["Describe " + "the ships " * 7, *OUTLINE.values()], "too long"),
        (["Bake some bread", "Wash the clothes", "Write the guide now"], "nothing to do with"),
    ],
)
def test_the_gate_of_titles(titles: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_titles(GUIDE, titles, longest=70)


def test_the_gate_of_verbs() -> None:
    check_verbs(list(OUTLINE.values()))
    with pytest.raises(ValueError, match="step 1 'The opening day' does not begin with a verb"):
        check_verbs(["The opening day"])


def test_the_order_of_a_job() -> None:
    assert asked_for(ENDINGS, "Rank them, then bring the rest together") == [
        "Rank",
        "Bring together",
    ]


@pytest.mark.parametrize(
    ("words", "name"),
    [("Research the history", "researcher"), ("Draft an article", "writer"), ("Walk", "writer")],
)
def test_who_is_suited(words: str, name: str) -> None:
    assert Staff(ROSTER).suited(words) == name


@given(
    st.text(min_size=1).filter(str.strip).filter(lambda text: "\0" not in text),
    st.text("# ab\n.", max_size=200),
    st.sampled_from(["outline", "keyed"]),
    st.text(max_size=20),
)
def test_there_is_a_plan_for_every_job(job: str, text: str, form: str, said: str) -> None:
    task = Task(description=job, inputs=[TaskInput(name="a", text=text)] if text else [])
    model = ScriptedModel(rules=[lambda _: said])
    made = planner(form).plan_task_breakdown(task, roster=ROSTER, model=model)
    assert made.source == "fallback"
    subtasks = planner(form).subtasks(made, task)
    assert len(subtasks) == len(made.steps)

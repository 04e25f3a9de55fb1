"""The agents on the model that comes with the system: its own words, not a script's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.agent import Agent
from agents.agent_manager import AgentManager
from agents.errors import ModelRefused
from agents.ollama import OllamaModel
from agents.tool import Tool
from agents.toolbox import Bounds, Toolbox
from agents.tools.arithmetic import calculate
from celery_app.stack.weights import locate
from workflows.task import Task, TaskInput

pytestmark = pytest.mark.model

LIBRARY = Path(__file__).parents[2] / "config" / "examples" / "valley-library.md"
JOB = "Summarise the parts of this document and bring them together"
PARTS = [
    "Visitors and loans",
    "The building",
    "Events and courses",
    "The mobile library",
    "Staff and volunteers",
    "Money and plans",
]


@pytest.fixture(scope="module")
def model() -> Iterator[OllamaModel]:
    """The embedded model on a free port, served by its own process."""
    weights = locate({})
    arguments = ["--port", "0", "--model", str(weights.path), "--name", weights.name]
    with subprocess.Popen(
        [sys.executable, "-m", "celery_app.stack.gateway", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            assert process.stderr is not None
            said = next(line for line in process.stderr if " at http://" in line)
            yield OllamaModel([said.split(" at ")[1].split(",")[0]])
        finally:
            process.terminate()


def test_the_main_job_is_planned_by_the_model(model: OllamaModel) -> None:
    manager = AgentManager()
    task = Task(description=JOB, inputs=[TaskInput(name="a.md", text=LIBRARY.read_text())])
    plan = manager.planner.plan_task_breakdown(task, roster=manager.profiles, model=model)
    assert plan.source == "model"
    *parts, last = plan.steps
    assert [step.input_names for step in parts] == [[name] for name in PARTS]
    assert (last.agent, last.needs, last.input_names) == ("writer", [1, 2, 3, 4, 5, 6], [])


def test_a_summary_holds_only_what_the_text_says(model: OllamaModel) -> None:
    text = LIBRARY.read_text()
    building = text.partition("## The building")[2].partition("## ")[0]
    agent = AgentManager().get_agent("researcher")
    answer = agent.perform(
        Task(description="Summarise “The building”."),
        [TaskInput(name="The building", text=building)],
        model=model,
    )
    sentences = answer.value.split(". ")
    assert len(sentences) == 3
    assert all(sentence.strip(". ") in text for sentence in sentences)
    assert answer.usage.generated > 0


def test_results_become_one_text(model: OllamaModel) -> None:
    results = [
        TaskInput(
            name="Visits", text="The library had 48,200 visits. Members borrowed 61,500 items."
        ),
        TaskInput(name="Roof", text="The roof was replaced in June."),
    ]
    writer = AgentManager().get_agent("writer")
    answer = writer.perform(Task(description="Bring together."), [], results, model=model)
    opening, *sections = answer.value.split("\n\n## ")
    assert opening.startswith("**In short:** The ")
    assert sections == [f"{one.name}\n\n{one.text}" for one in results]


def test_it_cannot_call_tools_but_chooses_them_by_schema(model: OllamaModel) -> None:
    task = Task(description="What is 840 * 12.5 / 100? Use calculate.")
    analyst = AgentManager().get_agent("analyst").profile
    box = Toolbox([Tool.of(calculate)], bounds=Bounds(rounds=3))
    native = Agent(analyst.model_copy(update={"tool_form": "native"}))
    with pytest.raises(ModelRefused, match="give its agents tool_form: schema"):
        native.perform(task, model=model, toolbox=box)
    assert Agent(analyst).perform(task, model=model, toolbox=box).value.strip()
    assert box.calls
    assert all(result.refused is None for _, result in box.calls)

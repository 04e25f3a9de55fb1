from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from agents.agent_manager import AgentManager
from agents.errors import InvalidRoster, UnknownAgent
from agents.planner import PlannerAgent
from agents.profile import AgentType
from workflows.errors import UnknownCapability
from workflows.task import Capability, Task, TaskType

CONFIG = Path(__file__).parents[2] / "config" / "agents.yaml"
MINIMAL = """
defaults: {model: m, options: {num_ctx: 2048, seed: 3}}
agents:
  planner:
  poet: {type: writer, capabilities: [writing], options: {num_predict: 9}}
  second: {type: writer, capabilities: [writing, coding], model: other}
"""


def test_the_file_to_copy_is_the_built_in_roster() -> None:
    assert CONFIG.read_text() == (resources.files("agents") / "roster.yaml").read_text()


def test_built_in_roster() -> None:
    manager = AgentManager()
    assert [profile.name for profile in manager.profiles] == list(AgentType)
    assert {profile.model for profile in manager.profiles} == {"smollm2:135m"}
    assert {profile.options.num_ctx for profile in manager.profiles} == {4096}
    assert {profile.options.temperature for profile in manager.profiles} == {0}
    assert manager.planner.profile.plan_form == "outline"
    assert Capability.SUMMARIZATION in manager.capabilities
    assert (
        AgentManager.load(None).profiles == manager.profiles == AgentManager.load(CONFIG).profiles
    )


def test_defaults_and_own_values() -> None:
    manager = AgentManager.from_yaml(MINIMAL)
    poet = manager.get_agent("poet").profile
    assert (poet.model, poet.options.num_ctx, poet.options.num_predict) == ("m", 2048, 9)
    assert (poet.options.seed, manager.get_agent("second").profile.model) == (3, "other")


def test_by_name_and_by_type() -> None:
    manager = AgentManager.from_yaml(MINIMAL)
    assert manager.get_agent(AgentType.WRITER).profile.name == "poet"
    assert isinstance(manager.get_agent(AgentType.PLANNER), PlannerAgent)
    with pytest.raises(UnknownAgent, match=r"'cook'.*planner, poet, second") as caught:
        manager.get_agent("cook")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (Task(description="x"), "writer"),
        (Task(description="x", agent="analyst", type=TaskType.REVIEW), "analyst"),
        (Task(description="x", type=TaskType.REVIEW), "reviewer"),
        (Task(description="x", type=TaskType.SUMMARY), "writer"),
        (Task(description="x", required_capabilities={Capability.DATA}), "analyst"),
        (Task(description="x", required_capabilities={Capability.SUMMARIZATION}), "writer"),
        (
            Task(
                description="x",
                type=TaskType.RESEARCH,
                required_capabilities={Capability.SUMMARIZATION},
            ),
            "researcher",
        ),
    ],
)
def test_choice(task: Task, name: str) -> None:
    assert AgentManager().choose(task).profile.name == name


def test_nobody_can_do_it_all() -> None:
    task = Task(description="x", required_capabilities={Capability.DATA, Capability.WRITING})
    with pytest.raises(UnknownCapability, match="data, writing"):
        AgentManager().choose(task)


def test_a_type_nobody_has_is_done_by_the_writer() -> None:
    manager = AgentManager.from_yaml(MINIMAL)
    assert manager.choose(Task(description="x", type=TaskType.REVIEW)).profile.name == "poet"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("agents: [", "not YAML"),
        ("- planner", "lists no agents"),
        ("agents: {}", "no planner"),
        ("agents: {planner: {model: m}}", "no writer"),
        ("agents: {planner: }\nagent: {}", "the key 'agent'"),
        ("agents: {planner: {model: m, colour: red}}", "agent 'planner': colour 'red'"),
        ("agents: {planner: {model: m, options: {num_ctx: much}}}", "options.num_ctx 'much'"),
        ("agents: {cook: {model: m}}", "agent 'cook': type 'cook'"),
        ("agents: {planner: [1]}", "agent 'planner' is"),
        ("agents: {planner: {model: m, options: 5}}", "agent 'planner': options is '5'"),
        ("defaults: 5\nagents: {planner: }", "defaults is '5'"),
    ],
)
def test_a_faulty_roster(text: str, words: str) -> None:
    with pytest.raises(InvalidRoster, match=words) as caught:
        AgentManager.from_yaml(text)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidRoster, match=r"absent\.yaml cannot be read"):
        AgentManager.from_yaml(tmp_path / "absent.yaml")


def test_two_of_a_name() -> None:
    profiles = AgentManager().profiles
    with pytest.raises(InvalidRoster, match="two agents are called 'planner'"):
        AgentManager([*profiles, profiles[0]])

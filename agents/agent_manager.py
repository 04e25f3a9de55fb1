"""`AgentManager`: the roster of agents, and who of them is to do a task.

Invariant: the roster has a planner and a writer, every name once; the same task is always given to
the same agent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from agents.agent import Agent
from agents.errors import InvalidRoster, UnknownAgent
from agents.planner import PlannerAgent
from agents.profile import AgentProfile, AgentType
from agents.writer import Writer
from workflows.errors import UnknownCapability
from workflows.problem import nearest, shown
from workflows.source import Source
from workflows.task import Capability, Task, TaskType
from workflows.text_file import read_text

__all__ = ["AgentManager"]

_TYPE_FOR = {
    TaskType.PLANNING: AgentType.PLANNER,
    TaskType.RESEARCH: AgentType.RESEARCHER,
    TaskType.ANALYSIS: AgentType.ANALYST,
    TaskType.DATA: AgentType.ANALYST,
    TaskType.REVIEW: AgentType.REVIEWER,
}


class AgentManager:
    """The agents by name; of several of one type the first in the roster is meant.

    Without profiles it is the roster that comes with this package. `tools` are the names of all tools
    there are; None leaves those that agents name unchecked.
    """

    def __init__(
        self,
        profiles: Iterable[AgentProfile] | None = None,
        tools: Collection[str] | None = None,
    ) -> None:
        self.profiles = tuple(_built_in() if profiles is None else profiles)
        _check(self.profiles)
        if tools is not None:
            _check_tools(self.profiles, tools)
        self._agents = {profile.name: _employ(profile) for profile in self.profiles}

    @classmethod
    def from_yaml(cls, source: str | Path, tools: Collection[str] | None = None) -> Self:
        """Read a roster: a path to a YAML file, or its text. Raises `InvalidRoster`."""
        if isinstance(source, str):
            return cls(_profiles(source, "the roster"), tools)
        try:
            text = read_text(source)
        except ValueError as error:
            raise InvalidRoster(f"the roster {source} {error}") from error
        return cls(_profiles(text, str(source)), tools)

    @classmethod
    def load(cls, path: Path | None, tools: Collection[str] | None = None) -> Self:
        """Return the roster of a file, or the one that comes with this package for None."""
        return cls(tools=tools) if path is None else cls.from_yaml(path, tools)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Everything that at least one agent can do."""
        return frozenset().union(*(profile.capabilities for profile in self.profiles))

    @property
    def planner(self) -> PlannerAgent:
        """The agent that plans."""
        found = self.get_agent(AgentType.PLANNER)
        assert isinstance(found, PlannerAgent), "planners are employed as such"
        return found

    def get_agent(self, wanted: AgentType | str) -> Agent:
        """Return the agent of that name, or else the first of that type. Raises `UnknownAgent`."""
        if wanted in self._agents:
            return self._agents[wanted]
        for profile in self.profiles:
            if profile.type == wanted:
                return self._agents[profile.name]
        known = ", ".join(self._agents)
        raise UnknownAgent(f"there is no agent {str(wanted)!r}: name one of {known}")

    def choose(self, task: Task) -> Agent:
        """Return the agent for a task.

        The one that it names; else, where it requires capabilities, the first agent that has them
        all; else one for its type; else the writer. Raises `UnknownAgent`, `UnknownCapability`.
        """
        if task.agent is not None:
            return self.get_agent(task.agent)
        preferred = self._for_type(task.type)
        if not task.required_capabilities:
            return preferred
        for agent in (preferred, *self._agents.values()):
            if task.required_capabilities <= agent.profile.capabilities:
                return agent
        wanted = ", ".join(sorted(task.required_capabilities))
        raise UnknownCapability(
            f"no single agent can do {wanted}: give one those capabilities or split the task"
        )

    def _for_type(self, kind: TaskType) -> Agent:
        try:
            return self.get_agent(_TYPE_FOR.get(kind, AgentType.WRITER))
        except UnknownAgent:
            return self.get_agent(AgentType.WRITER)


def _employ(profile: AgentProfile) -> Agent:
    return PlannerAgent(profile) if profile.type is AgentType.PLANNER else Writer(profile)


def _check(profiles: Iterable[AgentProfile]) -> None:
    names = [profile.name for profile in profiles]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidRoster(f"two agents are called {twice[0]!r}: give each its own name")
    types = {profile.type for profile in profiles}
    for needed in (AgentType.PLANNER, AgentType.WRITER):
        if needed not in types:
            raise InvalidRoster(f"the roster has no {needed}: add an agent of that type")


def _check_tools(profiles: Iterable[AgentProfile], tools: Collection[str]) -> None:
    for profile in profiles:
        for tool in profile.tools:
            if tool not in tools:
                raise InvalidRoster(
                    f"agent {profile.name!r}: there is no tool {tool!r}: {nearest(tool, tools)}"
                )


def _built_in() -> list[AgentProfile]:
    text = (resources.files("agents") / "roster.yaml").read_text("utf-8")
    return _profiles(text, "the built-in roster")


def _profiles(text: str, name: str) -> list[AgentProfile]:
    """Read the agents of a roster; `defaults` are values for all of them."""
    source = Source.read(text, name)
    if source.problems:
        raise InvalidRoster(str(source.problems[0]))
    data = source.values
    if not isinstance(data, dict) or not isinstance(data.get("agents"), dict):
        raise InvalidRoster(f"{name} lists no agents: begin with `agents:` and their names")
    if unknown := sorted(map(str, data.keys() - {"agents", "defaults"})):
        raise InvalidRoster(f"{name} has the key {unknown[0]!r}: use agents and defaults")
    defaults = _section(data.get("defaults"), f"{name}: defaults")
    return [
        _profile(key, defaults, _section(entry, f"{name}: agent {key!r}"), name)
        for key, entry in data["agents"].items()
    ]


def _profile(key: object, defaults: dict[str, Any], own: dict[str, Any], name: str) -> AgentProfile:
    options = {
        **_section(defaults.get("options"), f"{name}: defaults: options"),
        **_section(own.get("options"), f"{name}: agent {key!r}: options"),
    }
    values = {"name": key, "type": key, **defaults, **own, "options": options}
    try:
        return AgentProfile.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise InvalidRoster(
            f"{name}: agent {key!r}: {where} {shown(fault['input'])}: {fault['msg']}"
        ) from error


def _section(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRoster(f"{where} is {shown(value)}: give keys and values")
    return value

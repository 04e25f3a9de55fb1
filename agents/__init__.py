"""Those who do the work: agents, the planner among them, and their way to a chat model.

Nothing here knows a queue or a database; whoever calls an agent keeps what it says.

A lazy front door (PEP 562): an agent's way to a model is imported by whoever goes it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.agent import Agent, Answer
    from agents.agent_manager import AgentManager
    from agents.errors import AgentError, Retry
    from agents.model import ChatModel, ChatOptions, ChatRequest, Message, Reply, Usage
    from agents.planner import PlannerAgent
    from agents.profile import AgentProfile, AgentType
    from agents.scripted import ScriptedModel
    from agents.tool import uses_network

_HOMES = {
    "Agent": "agents.agent",
    "Answer": "agents.agent",
    "AgentManager": "agents.agent_manager",
    "AgentError": "agents.errors",
    "Retry": "agents.errors",
    "ChatModel": "agents.model",
    "ChatOptions": "agents.model",
    "ChatRequest": "agents.model",
    "Message": "agents.model",
    "Reply": "agents.model",
    "Usage": "agents.model",
    "PlannerAgent": "agents.planner",
    "AgentProfile": "agents.profile",
    "AgentType": "agents.profile",
    "ScriptedModel": "agents.scripted",
    "uses_network": "agents.tool",
}

__all__ = [
    "Agent",
    "AgentError",
    "AgentManager",
    "AgentProfile",
    "AgentType",
    "Answer",
    "ChatModel",
    "ChatOptions",
    "ChatRequest",
    "Message",
    "PlannerAgent",
    "Reply",
    "Retry",
    "ScriptedModel",
    "Usage",
    "uses_network",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Those who do the work: agents, the planner among them, and their way to a chat model.

Nothing here knows a queue or a database; whoever calls an agent keeps what it says.
"""

from agents.agent import Agent, Answer
from agents.agent_manager import AgentManager
from agents.errors import AgentError, Retry
from agents.model import ChatModel, ChatOptions, ChatRequest, Message, Reply, Usage
from agents.planner import PlannerAgent
from agents.profile import AgentProfile, AgentType
from agents.scripted import ScriptedModel
from agents.tool import uses_network

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

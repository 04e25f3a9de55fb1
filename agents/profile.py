"""`AgentProfile`: an agent on paper, one entry of the roster.

Invariant: a profile is complete and checked when it was made; nothing is looked up later.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from agents.model import ChatOptions
from workflows.task import Capability

__all__ = ["AgentProfile", "AgentType"]

Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[\w.-]+$")]
ToolName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class AgentType(StrEnum):
    """What kind of worker an agent is; every type has its own queue."""

    PLANNER = "planner"
    RESEARCHER = "researcher"
    ANALYST = "analyst"
    WRITER = "writer"
    REVIEWER = "reviewer"


class AgentProfile(BaseModel):
    """What an agent is called, can do, and how it uses its model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    type: AgentType
    model: str = Field(min_length=1, description="As the server calls it, with its tag.")
    description: str = Field("", description="What it is good at, in words for people.")
    capabilities: frozenset[Capability] = frozenset()
    options: ChatOptions = Field(default_factory=ChatOptions)
    reads: int | None = Field(
        None, ge=50, description="The most tokens of text in one call; None: what the window holds."
    )
    sentences: int | None = Field(
        None, ge=1, description="The most sentences of an answer; further ones are left out."
    )
    quotes: bool = Field(
        False,
        description=(
            "Whether it answers about a text in the text's own sentences, which its model chooses. "
            "For models that mix up facts when they retell."
        ),
    )
    joins: Literal["assemble", "rewrite"] = Field(
        "rewrite",
        description=(
            "How several results become one: `assemble` puts each as it is under its heading, "
            "below the sentences that the model finds most important; `rewrite` has the model make "
            "one text of all."
        ),
    )
    plan_form: Literal["keyed", "outline"] = Field(
        "keyed",
        description="What a planner asks of its model: `outline` for those below 0.5 billion.",
    )
    speculative: bool = Field(
        False,
        description=(
            "Whether the steps of a planner's plan begin while the rest of it is still being said. "
            "What is not in the plan in the end was done for nothing, and is stopped."
        ),
    )
    tools: tuple[ToolName, ...] = Field(
        (), description="What it may use, where its task allows that too; by default nothing."
    )
    tool_form: Literal["native", "schema"] = Field(
        "native",
        description=(
            "How its model is offered tools: `native` by the server's own tool calling, `schema` by "
            "the form of its answer, for models that were not taught to call."
        ),
    )

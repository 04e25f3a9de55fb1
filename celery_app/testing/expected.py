"""What a check of a case says: `TestCheck`, and the parts of it."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from celery_app.records import LogLevel
from workflows.durations import Duration
from workflows.storable import FilledText, JsonObject, Name

__all__ = ["Judge", "Logged", "PathTaken", "Seen", "Similar", "TestCheck"]

_MODEL = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"this is no regular expression: {error}") from error
    return text


#: A regular expression. That of rules of alerts knows settings, which whoever reads suites must not.
Expression = Annotated[str, AfterValidator(_expression)]


class PathTaken(BaseModel):
    """Which steps of a run, or tasks of a job, ran; by id, title, name or description."""

    model_config = _MODEL

    ran: list[str] = Field(default_factory=list, description="These ran.")
    not_ran: list[str] = Field(default_factory=list, description="These did not.")
    order: list[str] = Field(default_factory=list, description="These started in this order.")
    times: dict[str, int] = Field(default_factory=dict, description="How often each ran.")


class Similar(BaseModel):
    """How near a text is to a reference, by the cosine of their embeddings."""

    model_config = _MODEL

    to: FilledText = Field(description="The reference.")
    least: float = Field(0.7, ge=-1, le=1, description="The least cosine.")
    model: Name | None = Field(None, description="The model that is asked for embeddings.")


class Judge(BaseModel):
    """A question about the output to a model. Its verdict is told, and never decides."""

    model_config = _MODEL

    rubric: FilledText = Field(description="What a good output is like.")
    model: Name | None = Field(None, description="The model that judges.")


class Seen(BaseModel):
    """Something that happened to work, or an alert that fired, while the case ran."""

    model_config = _MODEL

    name: str | None = Field(None, description="Kind of the event, or rule of the alert.")
    text: Expression | None = Field(None, description="Looked for in its words.")
    times: int | None = Field(
        None, ge=0, description="How often exactly; at least once if left out."
    )


class Logged(BaseModel):
    """Something that was said while the case ran, and is kept in the log."""

    model_config = _MODEL

    level: LogLevel = Field("DEBUG", description="How bad it is at least.")
    logger: str = Field("*", description="Pattern of its logger: `*` stands for any characters.")
    text: Expression | None = Field(None, description="Looked for in the message.")
    times: int | None = Field(
        None, ge=0, description="How often exactly; at least once if left out."
    )


class TestCheck(BaseModel):
    """One thing that must hold. Its kind is the key that is given."""

    __test__ = False
    model_config = _MODEL

    of: Name | None = Field(None, description="The step whose output is looked at; else the last.")
    at: FilledText | None = Field(None, description="A part of the output, as in `report.0.title`.")
    equals: Any = Field(None, description="It is this value.")
    contains: Any = Field(None, description="It has this part: text, item, or keys and values.")
    regex: Expression | None = Field(None, description="This is found in it.")
    schema_: JsonObject | None = Field(None, alias="schema", description="It fits a JSON schema.")
    state: str | None = Field(None, description="The work is in this state.")
    path: PathTaken | list[str] | None = Field(
        None, description="What ran; a list is all of it in order."
    )
    max_tokens: int | None = Field(None, ge=0, description="Tokens read and written.")
    max_calls: int | None = Field(None, ge=0, description="Calls of models.")
    max_seconds: Duration | None = Field(None, description="How long it took.")
    max_cost: float | None = Field(None, ge=0, description="By the suite's `prices`.")
    event: Seen | None = Field(None, description="It happened to the work.")
    log: Logged | None = Field(
        None, description="It was said since the case began, or by what the step `of` set going."
    )
    alert: Seen | None = Field(None, description="Alerts of a rule fired since the case began.")
    similar: Similar | None = None
    judge: Judge | None = None

    KINDS: ClassVar[tuple[str, ...]] = (
        "equals", "contains", "regex", "schema", "state", "path", "max_tokens", "max_calls",
        "max_seconds", "max_cost", "event", "log", "alert", "similar", "judge",
    )  # fmt: skip

    @property
    def kinds(self) -> list[str]:
        """The kinds that are named; a sound check has one."""
        given = self.model_fields_set
        return [kind for kind in self.KINDS if {kind, f"{kind}_"} & given]

    @property
    def kind(self) -> str:
        """What must hold."""
        return self.kinds[0]

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if len(self.kinds) != 1:
            named = ", ".join(self.kinds) or "none"
            raise ValueError(f"a check has one of {', '.join(self.KINDS)}; here is {named}")
        return self

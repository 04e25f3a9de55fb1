"""`TestSuite`: what is to be tested, as values. The files that hold suites are read in `reading`.

Invariant: what stands here is well formed: a step has one kind, a check has one kind, and whatever
refers to a step refers to one above it.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from celery_app.testing.expected import TestCheck
from celery_app.testing.results import TestError, TestResult, TestResults, TestStatus
from workflows.durations import Duration
from workflows.storable import FilledText, JsonList, JsonObject, Name
from workflows.task import Capability

__all__ = [
    "FAULTS",
    "Prices",
    "Rule",
    "TestCase",
    "TestCheck",
    "TestError",
    "TestResult",
    "TestResults",
    "TestStatus",
    "TestStep",
    "TestSuite",
]

Fault = Literal[
    "kill_worker",
    "wipe_broker",
    "restart_broker",
    "restart_postgres",
    "stall_model",
    "corrupt_model",
    "stop_model",
    "heal_model",
]
FAULTS: tuple[Fault, ...] = (
    "kill_worker", "wipe_broker", "restart_broker", "restart_postgres",
    "stall_model", "corrupt_model", "stop_model", "heal_model",
)  # fmt: skip

_MODEL = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

#: Ways from the root of a suite to a key, as its file has it: `("cases", 0, "steps", 2)`.
Part = tuple[str | int, ...]


class Rule(BaseModel):
    """One rule of a scripted model: to what it answers, and with what."""

    model_config = _MODEL

    when: str = Field(
        "",
        description="Regular expression, looked for in the last message, or in what is embedded.",
    )
    answer: Any = Field(
        None, description="The answer: a text, or any value, which is said as JSON."
    )
    embedding: list[float] | None = Field(
        None, min_length=1, description="Instead of an answer: the embedding of a text."
    )

    @model_validator(mode="after")
    def _has_one_of_both(self) -> Self:
        if len({"answer", "embedding"} & self.model_fields_set) != 1:
            raise ValueError("a rule has an `answer` or an `embedding`")
        return self


#: The model as it is configured, its recorded answers, or answers by rules.
ModelChoice = Literal["real", "recorded"] | list[Rule]


class Prices(BaseModel):
    """What a million tokens cost, in whatever currency."""

    model_config = _MODEL

    prompt: float = Field(0, ge=0, description="For tokens that are read.")
    generated: float = Field(0, ge=0, description="For tokens that are written.")


class TestStep(BaseModel):
    """One thing that is done. Its kind is the key that is given: `run`, `task`, `fault` and so on."""

    __test__ = False
    model_config = _MODEL

    id: Name | None = Field(None, description="What checks and later steps call it.")
    run: FilledText | None = Field(None, description="A job in words, as `ai-agent run` takes it.")
    agent: Name | None = Field(None, description="Name or type of an agent, with a `prompt`.")
    task: Name | None = Field(None, description="Wire name of a Celery task.")
    workflow: FilledText | JsonObject | None = Field(
        None, description="A workflow: its name, its file as seen from the suite, or what it says."
    )
    tool: Name | None = Field(None, description="Name of a tool, called with `with`.")
    triggers: FilledText | None = Field(
        None, description="A workflow whose triggers are put in force."
    )
    emit: Name | None = Field(None, description="An event that has happened, with `with`.")
    approve: Name | None = Field(None, description="A step of a run that asks: the answer is yes.")
    reject: Name | None = Field(None, description="A step of a run that asks: the answer is no.")
    wait: Name | None = Field(None, description="A state to wait for.")
    clock: Duration | None = Field(None, description="How far the clock is moved on.")
    fault: Fault | None = Field(None, description=f"What goes wrong: {', '.join(FAULTS)}.")

    prompt: FilledText | None = Field(None, description="What the agent is asked.")
    args: JsonList = Field(default_factory=list, description="Arguments of the task, in order.")
    with_: JsonObject = Field(
        default_factory=dict,
        alias="with",
        description="Arguments of the task or tool, inputs of the workflow, what is known of the "
        "event; for jobs and agents: texts to work on, by name.",
    )
    data: Any = Field(None, description="What is known of the event, where that is no mapping.")
    plan: bool | None = Field(None, description="Whether a planner breaks the job up.")
    capabilities: list[Capability] = Field(default_factory=list)
    tools: list[FilledText] = Field(default_factory=list, description="What agents may use.")
    network: bool = Field(False, description="Whether tools that need the network may be used.")
    output: JsonObject | None = Field(None, description="JSON schema of the answer.")
    of: Name | None = Field(None, description="The step that is meant; by default the last work.")
    at: Name | None = Field(None, description="With `wait`: a step of that run.")
    answer: Any = Field(None, description="What is answered to a question.")
    background: bool = Field(False, description="Go on at once; a later `wait` waits for it.")
    timeout: Duration = Field(120, description="How long it may take.")

    KINDS: ClassVar[tuple[str, ...]] = (
        "run", "agent", "task", "workflow", "tool", "triggers", "emit", "approve", "reject", "wait",
        "clock", "fault",
    )  # fmt: skip

    @property
    def kinds(self) -> list[str]:
        """The kinds that are named; a sound step has one."""
        return [kind for kind in self.KINDS if getattr(self, kind) is not None]

    @property
    def kind(self) -> str:
        """What the step does."""
        return self.kinds[0]

    @property
    def hurts(self) -> bool:
        """Whether it does something to servers, processes or time that others must not feel."""
        return self.kind in ("fault", "clock")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if len(self.kinds) != 1:
            named = ", ".join(self.kinds) or "none"
            raise ValueError(f"a step has one of {', '.join(self.KINDS)}; here is {named}")
        if (self.kind == "agent") != (self.prompt is not None):
            raise ValueError("`agent` and `prompt` go together")
        if self.args and self.kind != "task":
            raise ValueError("`args` are for a `task`; give `with`")
        return self


class TestCase(BaseModel):
    """What is done, and what must hold after it."""

    __test__ = False
    model_config = _MODEL

    name: Name
    steps: list[TestStep] = Field(min_length=1)
    checks: list[TestCheck] = Field(default_factory=list)
    critical: bool = Field(False, description="When it fails, the suite ends.")
    repeat: int = Field(1, ge=1, le=1000, description="How often it is done.")
    pass_rate: float = Field(1.0, gt=0, le=1, description="The least part of them that must pass.")
    timeout: Duration = Field(600, description="How long one repetition may take.")
    model: ModelChoice | None = Field(None, description="Instead of the suite's.")
    alerts: FilledText | None = Field(
        None, description="File of the rules that `alert` checks are about, as seen from the suite."
    )

    @property
    def alone(self) -> bool:
        """Whether it needs a stack of its own."""
        return any(step.hurts for step in self.steps)

    @model_validator(mode="after")
    def _refers_to_what_is_there(self) -> Self:
        if {check.kind for check in self.checks} == {"judge"}:
            raise ValueError("a model's judgement alone decides nothing: add another check")
        known: set[str] = set()
        for step in self.steps:
            _require_known(step.of, known)
            if step.id in known:
                raise ValueError(f"there are two steps {step.id!r}: rename one")
            known |= {step.id} if step.id else set()
        for check in self.checks:
            _require_known(check.of, known)
        return self


class TestSuite(BaseModel):
    """Cases that are run together."""

    __test__ = False
    model_config = _MODEL

    name: Name
    test_cases: list[TestCase] = Field(alias="cases", min_length=1)
    description: str = ""
    model: ModelChoice = Field("real", description="real, recorded, or rules of a scripted one.")
    settings: JsonObject = Field(default_factory=dict, description="Laid over system.yaml.")
    prices: Prices = Prices()
    _file: Path | None = PrivateAttr(None)
    _lines: dict[Part, int] = PrivateAttr(default_factory=dict)
    _numbers: dict[str, int] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_unlike(self) -> Self:
        names = [case.name for case in self.test_cases]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"there are two cases {twice!r}: rename one")
        return self

    @property
    def file(self) -> Path | None:
        """Where it was read from; None for a suite made in Python."""
        return self._file

    @property
    def folder(self) -> Path:
        """What its relative paths are seen from."""
        return self._file.parent if self._file else Path()

    @cached_property
    def cassette(self) -> Path:
        """Where the answers of its models are recorded."""
        stem = self._file.name.split(".")[0] if self._file else self.name
        return self.folder / "cassettes" / f"{stem}.json"

    def written_at(self, file: Path, lines: dict[Part, int]) -> Self:
        """Remember where it was written, for messages; return it."""
        self._file, self._lines = file, lines
        return self

    def only(self, cases: list[TestCase]) -> TestSuite:
        """Return the suite with some of its cases."""
        suite = self.model_copy(update={"test_cases": cases})
        suite._numbers = {
            case.name: self._numbers.get(case.name, n) for n, case in enumerate(cases)
        }
        return suite

    def place(self, case: TestCase, part: Part = ()) -> str:
        """Return where something of a case was written: `file:line: case NAME: step 2`."""
        path: Part = ("cases", self._number(case), *part)
        where = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in self._lines), None)
        line = f"{self._file}:{self._lines[where]}: " if where else ""
        words = f": {str(part[0])[:-1]} {int(part[1]) + 1}" if part else ""
        return f"{line}case {case.name}{words}"

    def _number(self, case: TestCase) -> int:
        known = self._numbers.get(case.name)
        return self.test_cases.index(case) if known is None else known


def _require_known(name: str | None, known: set[str]) -> None:
    if name is not None and name not in known:
        raise ValueError(f"there is no step {name!r} above; give a step that `id`")

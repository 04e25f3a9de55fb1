"""Workflows as YAML: text to `Workflow` and back, with every problem told at once.

    workflow = load(text, file="report.yaml", known=Registry(agents={"writer"}))
    assert load(dump(workflow)) == workflow

Invariant: `load` gives a `Workflow` or raises `InvalidWorkflow`, whatever the text. A problem in one
place hides none in another: each key is read by itself, and the rules look at whatever was readable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from workflows.errors import InvalidWorkflow
from workflows.problem import Problem, nearest
from workflows.rules import Draft, Registry, faults
from workflows.source import Source
from workflows.step import WorkflowStep
from workflows.step_rules import Path
from workflows.triggers import WorkflowTrigger, trigger_faults
from workflows.workflow import Workflow

__all__ = ["WRITE", "Registry", "dump", "load", "model_in", "schema"]

M = TypeVar("M", bound=BaseModel)

# What the same thing is called elsewhere, and what to write here.
_ELSEWHERE = {
    "depends_on": "write needs",
    "dependencies": "write needs",
    "if": "write when",
    "condition": "write when",
    "for_each": "write foreach",
    "with_items": "write foreach",
    "kwargs": "write with",
    "name": "write id",
    "group": "steps run side by side when their needs allow it; give each its own `needs`",
    "parallel": "steps run side by side when their needs allow it; give each its own `needs`",
    "steps": "steps do not stand in steps; put them into a workflow of their own",
    "type": "the kind of work is a key: agent, task, workflow, plan or approval",
    "hooks": "write a step with run_on: failure or always; it runs when the others have ended",
    "on_failure": "write a step with run_on: failure",
    "finally": "write a step with run_on: always",
    "else": "write a second step with the opposite `when`",
}

#: What to write instead, by what pydantic calls the mistake.
WRITE = {
    "dict_type": "write keys",
    "model_type": "write keys",
    "model_attributes_type": "write keys",
    "list_type": "write a list, as in [a, b]",
    "string_type": "write text, in quotes where it looks like something else",
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
}


def load(text: str, file: str = "workflow", known: Registry | None = None) -> Workflow:
    """Return the workflow that YAML (or JSON) text describes; `file` stands for it in messages.

    `known` are the agents, tasks and workflows that exist. Raises `InvalidWorkflow` with all problems.
    """
    source = Source.read(text, file)
    if not isinstance(source.values, dict):
        if not source.problems:
            said = "it is empty" if source.values is None else f"it is {source.values!r:.40}"
            text = f"{said}: write keys, at least name and steps"
            source.problems.append(Problem(file, 1, "", text))
        raise InvalidWorkflow(source.problems)
    reader = _Reader(source)
    for fault in faults(reader.draft(), known):
        reader.note(fault.path, fault.text)
    if source.problems:
        unique = dict.fromkeys(sorted(source.problems, key=lambda problem: problem.line))
        raise InvalidWorkflow(list(unique))
    try:
        return Workflow.model_validate(source.values, by_alias=True, by_name=False)
    except ValidationError as error:
        # Nothing is known to come here: what was read key by key is read whole.
        raise InvalidWorkflow([Problem(file, 1, "", str(error))]) from error


def dump(workflow: Workflow) -> str:
    """Return the workflow as YAML that `load` reads back as the same; defaults are left out."""
    said = workflow.plain()
    said["steps"] = [{"id": step["id"], **step} for step in said["steps"]]
    return yaml.dump(said, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def schema() -> dict[str, Any]:
    """Return the JSON schema of a workflow file, for editors."""
    described = Workflow.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}


class _Dumper(yaml.SafeDumper):
    """PyYAML's dumper that writes text of several lines as people do, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes line breaks other than \n as they are, and reads them as spaces.
    strange = any(letter in text for letter in "\x85\u2028\u2029")
    style = '"' if strange else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


@dataclass
class _Reader:
    """Reads a source key by key, and notes what cannot be read."""

    source: Source
    unread: dict[int, set[str]] = field(default_factory=dict)

    def note(self, path: Path, text: str) -> None:
        line = self.source.line(path)
        self.source.problems.append(Problem(self.source.file, line, self._step(path), text))

    def draft(self) -> Draft:
        given = self.source.values
        read, _ = self._fields(Workflow, given, ("inputs", "steps", "triggers"), ())
        inputs = given.get("inputs", {})
        if not isinstance(inputs, dict):
            self.note(("inputs",), f"inputs is {inputs!r:.40}: write names with their JSON schemas")
            inputs = {}
        triggers = {}
        for number, trigger, unread in self._listed(WorkflowTrigger, "triggers"):
            if not unread:
                for text in trigger_faults(trigger):
                    self.note(("triggers", number), text)
                    break
                else:
                    triggers[number] = trigger
        steps = []
        for number, step, unread in self._listed(WorkflowStep, "steps"):
            self.unread[number] = unread
            steps.append(step)
        return Draft(
            name=read.get("name", ""),
            steps=steps,
            inputs=inputs,
            triggers=triggers,
            outputs=read.get("outputs", {}),
            unread=self.unread,
        )

    def _listed(self, model: type[M], key: str) -> Iterator[tuple[int, M, set[str]]]:
        """Yield what the items of a list are, with the names of the fields that are not known."""
        items = self.source.values.get(key, [])
        if not isinstance(items, list):
            self.note((key,), f"{key} is {items!r:.40}: write a list, each item after a dash")
            return
        if not items and key == "steps" and key in self.source.values:
            self.note((key,), "there are no steps: write at least one")
        for number, item in enumerate(items):
            path: Path = (key, number)
            read: dict[str, Any] = {}
            unread = {"id", "prompt"}
            if isinstance(item, dict):
                read, unread = self._fields(model, item, (), path)
            else:
                self.note(path, f"it is {item!r:.40}: write keys")
            if model is WorkflowStep:
                read.setdefault("id", f"#{number + 1}")
            yield number, model.model_construct(set(read), **read), unread

    def _fields(
        self, model: type[BaseModel], given: dict[str, Any], apart: tuple[str, ...], path: Path
    ) -> tuple[dict[str, Any], set[str]]:
        """Return the fields that could be read, and the names of those that could not."""
        read: dict[str, Any] = {}
        unread: set[str] = set()
        for key in given:
            if key not in _keys(model):
                self.note((*path, key), f"{key} is no known key: {_hint(key, model)}")
                # What was meant is there, in a way: its absence is no second problem.
                unread.update(get_close_matches(key, _keys(model), n=1) or ["prompt"])
        for key, (name, adapter, required) in _keys(model).items():
            if key not in given:
                if required:
                    unread.add(name)
                    self.note(path, f"{key} is missing: add it")
            elif key not in apart:
                try:
                    read[name] = adapter.validate_python(given[key], by_alias=True, by_name=False)
                except ValidationError as error:
                    unread.add(name)
                    for detail in error.errors(include_url=False, include_context=False):
                        self._refuse(detail, (*path, key), given[key])
        return read, unread

    def _refuse(self, detail: ErrorDetails, path: Path, value: Any) -> None:
        """Note one complaint of pydantic in plain words."""
        steps = list(detail["loc"])
        while steps:
            step = steps[0]
            inside = isinstance(value, dict) and step in value
            if inside or (isinstance(value, list) and isinstance(step, int) and step < len(value)):
                value = value[step]
                path = (*path, steps.pop(0))
            elif len(steps) == 1 and detail["type"] in ("missing", "extra_forbidden"):
                break
            else:
                # The names of a union's branches are no keys.
                steps.pop(0)
        shown = path[2:] if path[0] in ("steps", "triggers") else path
        key = ".".join(str(part) for part in shown if not isinstance(part, int))
        if detail["type"] == "missing":
            self.note(path, f"{steps[0]} is missing in {path[-1]}: add it")
        elif detail["type"] == "extra_forbidden":
            self.note(path, f"{path[-1]} is no known key: {nearest(str(path[-1]), _inner(path))}")
        else:
            said = detail["msg"].removeprefix("Value error, ")
            said = said.replace("Input should be", "it must be")
            self.note(path, f"{key} is {value!r:.60}: {WRITE.get(detail['type'], said)}")

    def _step(self, path: Path) -> str:
        if len(path) < 2 or path[0] != "steps" or not isinstance(path[1], int):
            return ""
        items = self.source.values.get("steps")
        item = items[path[1]] if isinstance(items, list) else None
        name = item.get("id") if isinstance(item, dict) else None
        return name if isinstance(name, str) and name.strip() else f"#{path[1] + 1}"


@cache
def _keys(model: type[BaseModel]) -> dict[str, tuple[str, TypeAdapter[Any], bool]]:
    """Return the keys of a model as written: the field, how it is read, whether it must be there."""
    keys = {}
    for name, described in model.model_fields.items():
        form: Any = described.annotation
        for more in described.metadata:
            form = Annotated[form, more]
        keys[described.alias or name] = (name, TypeAdapter[Any](form), described.is_required())
    return keys


def _hint(key: str, model: type[BaseModel]) -> str:
    known = _keys(model)
    if model is WorkflowStep and key in _ELSEWHERE:
        return _ELSEWHERE[key]
    return nearest(key, known)


def _inner(path: Path) -> list[str]:
    """Return the keys that are known where the unknown one at the end of `path` stands."""
    model: type[BaseModel] | None = Workflow
    for part in path[:-1]:
        if isinstance(part, str) and model is not None:
            found = _keys(model).get(part)
            model = None if found is None else model_in(model.model_fields[found[0]].annotation)
    return [] if model is None else list(_keys(model))


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that stands in an annotation, such as that of a field; None if there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := model_in(part))), None)

"""`AcceptanceCheck`: what a goal's result must be, so that it can be told whether it is reached."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from workflows.schemas import mismatch, schema_fault
from workflows.storable import FilledText, JsonObject

__all__ = ["AcceptanceCheck"]


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"it is no regular expression: {error}") from error
    return text


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    if fault := schema_fault(schema):
        raise ValueError(fault)
    return schema


class AcceptanceCheck(BaseModel):
    """What a goal's result must be: exactly one of these. `person` is a question for somebody."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    contains: FilledText | None = None
    matches: Annotated[FilledText, AfterValidator(_pattern)] | None = None
    json_schema: Annotated[JsonObject, AfterValidator(_schema)] | None = None
    min_words: Annotated[int, Field(ge=1)] | None = None
    max_words: Annotated[int, Field(ge=1)] | None = None
    person: FilledText | None = None

    @model_validator(mode="after")
    def _one(self) -> AcceptanceCheck:
        if len(self._given()) != 1:
            kinds = ", ".join(type(self).model_fields)
            raise ValueError(f"give exactly one of {kinds}")
        return self

    def __str__(self) -> str:
        ((name, value),) = self._given().items()
        return f"{name} {json.dumps(value, ensure_ascii=False)}"

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in self if value is not None}

    def holds(self, result: Any) -> bool | None:
        """Tell whether a result is so; None where a person has to say."""
        text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
        if self.contains is not None:
            return self.contains.casefold() in text.casefold()
        if self.matches is not None:
            return re.search(self.matches, text) is not None
        if self.json_schema is not None:
            return mismatch(result, self.json_schema) is None
        if self.min_words is not None:
            return len(text.split()) >= self.min_words
        if self.max_words is not None:
            return len(text.split()) <= self.max_words
        return None

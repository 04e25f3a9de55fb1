"""The words of plans: what can be done with a part, how a job can end, and whose work that is.

Invariant: every action and every ending has words by which a job can be seen to ask for it, and a
type of agent that does it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.profile import AgentProfile, AgentType

__all__ = [
    "ACTIONS",
    "ENDINGS",
    "READING",
    "Deed",
    "Staff",
    "asked_for",
    "content_words",
    "says_what_to_do",
]


@dataclass(frozen=True)
class Deed:
    """Something that an agent can be asked to do."""

    pattern: str
    """Matches the words of a job that asks for it."""
    agent: AgentType
    sentence: str = ""
    """How an ending is put to its agent."""


ACTIONS: Mapping[str, Deed] = {
    "Analyse": Deed(r"analy[sz]", AgentType.ANALYST),
    "Check": Deed(r"check|verif|proof|validat", AgentType.REVIEWER),
    "Compare": Deed(r"compar|contrast|differ", AgentType.ANALYST),
    "Correct": Deed(r"correct|fix|edit", AgentType.REVIEWER),
    "Describe": Deed(r"describ|portray|present", AgentType.RESEARCHER),
    "Evaluate": Deed(r"evaluat|assess|judg|rat(?:e|ing)\b", AgentType.ANALYST),
    "Explain": Deed(r"explain|clarif|interpret", AgentType.WRITER),
    "Extract": Deed(r"extract|pull", AgentType.RESEARCHER),
    "Find": Deed(r"find|search|look|identif|research|detect", AgentType.RESEARCHER),
    "List": Deed(r"list|collect|gather|enumerat|count", AgentType.RESEARCHER),
    "Review": Deed(r"review|critici[sz]|feedback", AgentType.REVIEWER),
    "Rewrite": Deed(r"rewrit|reword|rephras|simplif|shorten|improv", AgentType.WRITER),
    "Summarise": Deed(r"summar|sum\b|condens|digest|overview|outlin", AgentType.RESEARCHER),
    "Translate": Deed(r"translat", AgentType.WRITER),
}

READING = ("Describe", "Extract", "Find", "List", "Summarise")
"""What can be done for a job that asks for nothing of the above."""

ENDINGS: Mapping[str, Deed] = {
    "Bring together": Deed(
        r"together|merg|combin|join|unit|into one", AgentType.WRITER, "Bring the results together"
    ),
    "Check": Deed(ACTIONS["Check"].pattern, AgentType.REVIEWER, "Check the results"),
    "Compare": Deed(ACTIONS["Compare"].pattern, AgentType.ANALYST, "Compare the results"),
    "Decide": Deed(r"decid|decision|choos|select|recommend", AgentType.ANALYST, "Decide by them"),
    "Rank": Deed(r"rank|order|sort|priorit", AgentType.ANALYST, "Rank the results"),
    "Review": Deed(ACTIONS["Review"].pattern, AgentType.REVIEWER, "Review the results"),
}

# What a step without a known action is about.
_TRADES = {
    AgentType.RESEARCHER: r"read|learn|study|ask|know|interview|visit|survey|source|fact",
    AgentType.ANALYST: r"calculat|decid|choos|plan|measur|estimat|rank|design|defin|select|cost",
    AgentType.REVIEWER: r"test|approv|sign|quality|mistake|error",
    AgentType.WRITER: r"writ|draft|creat|compos|produc|prepar|publish|formulat|invit",
}

_VERBS = re.compile(
    r"(?:add|agree|analy[sz]e|announce|arrange|ask|assemble|assess|bake|book|bring|build|buy|"
    r"calculate|call|check|choose|clean|collect|combine|compare|conduct|contact|correct|count|"
    r"create|decide|define|deliver|describe|design|determine|develop|discuss|divide|draft|draw|"
    r"edit|estimate|evaluate|examine|explain|explore|extract|find|fix|format|gather|get|give|"
    r"identify|implement|improve|include|inspect|install|interview|introduce|invite|list|look|"
    r"make|measure|merge|name|note|offer|order|organi[sz]e|outline|paint|pick|plan|prepare|"
    r"present|print|proofread|propose|provide|publish|put|rank|read|recommend|record|repair|"
    r"report|request|research|review|revise|rewrite|search|select|send|set|share|show|sketch|"
    r"sort|start|state|study|suggest|summari[sz]e|survey|test|translate|update|use|verify|visit|"
    r"write)\b",
    re.IGNORECASE,
)

_SHORT = 4


class Staff:
    """Who of a roster does which kind of work."""

    def __init__(self, roster: Sequence[AgentProfile]) -> None:
        self._names = {profile.type: profile.name for profile in reversed(roster)}
        self._default = roster[0].name
        self.names = [one.name for one in roster if one.type is not AgentType.PLANNER]

    def member(self, kind: AgentType) -> str:
        """Return the name of the first agent of a type; the writer's where there is none."""
        return self._names.get(kind) or self._names.get(AgentType.WRITER, self._default)

    def suited(self, words: str) -> str:
        """Return the name of the agent for a step in free words: by its first known action."""
        kinds = [(deed.pattern, deed.agent) for deed in ACTIONS.values()]
        kinds += [(pattern, kind) for kind, pattern in _TRADES.items()]
        found = [
            (match.start(), kind)
            for pattern, kind in kinds
            if (match := re.search(rf"\b(?:{pattern})", words, re.IGNORECASE))
        ]
        return self.member(min(found)[1] if found else AgentType.WRITER)


def asked_for(deeds: Mapping[str, Deed], job: str) -> list[str]:
    """Return which of the deeds the words of a job ask for, in the order of the job."""
    found = [
        (match.start(), name)
        for name, deed in deeds.items()
        if (match := re.search(rf"\b(?:{deed.pattern})", job, re.IGNORECASE))
    ]
    return [name for _, name in sorted(found)]


def says_what_to_do(title: str) -> bool:
    """Return whether a title begins with a verb that is known here."""
    return _VERBS.match(title) is not None


def content_words(text: str) -> set[str]:
    """Return the beginnings of the longer words of a text, by which two texts can be compared."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return {word[:5] for word in words if len(word) >= _SHORT}

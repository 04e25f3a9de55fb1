"""The plan by rules, for when no model gave one that could be used.

Invariant: there is one for every job, and it is always the same for the same job and parts.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.plan_forms import job_of, parts_steps
from agents.profile import AgentType
from agents.vocabulary import ACTIONS, ENDINGS, Staff, asked_for
from workflows.plan import PlanStep

__all__ = ["fallback_steps"]


def fallback_steps(job: str, parts: Sequence[str], staff: Staff) -> list[PlanStep]:
    """Return the steps: each part and then all results, or else gather, think, produce."""
    if parts:
        action = next(iter(asked_for(ACTIONS, job)), "Find")
        endings = [name for name in asked_for(ENDINGS, job) if name != action]
        ending = (endings or ["Bring together"])[-1] if len(parts) > 1 else None
        return parts_steps(job, dict.fromkeys(parts, action), ending, staff)
    stages = [
        (AgentType.RESEARCHER, "Gather", "Gather what is needed to know", []),
        (AgentType.ANALYST, "Work out", "Work out what follows from what was gathered", [1]),
        (AgentType.WRITER, "Produce", "Produce what the job asks for", [1, 2]),
    ]
    return [
        PlanStep(
            title=title,
            description=f"{sentence}. {job_of(job)}",
            agent=staff.member(kind),
            needs=needs,
        )
        for kind, title, sentence, needs in stages
    ]

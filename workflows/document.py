"""What can be written about a project."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["DocumentationType"]


class DocumentationType(StrEnum):
    """The kinds of documents."""

    README = "readme"
    OVERVIEW = "overview"
    ARCHITECTURE = "architecture"
    API_REFERENCE = "api_reference"
    USER_GUIDE = "user_guide"
    STATUS_REPORT = "status_report"
    CHANGELOG = "changelog"
    DECISION_RECORD = "decision_record"

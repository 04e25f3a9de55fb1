"""From the section `tools` of the settings to the catalogue of tools."""

from __future__ import annotations

from agents.toolbox import Bounds
from agents.tools.catalogue import ToolCatalogue
from celery_app.sections import Tools

__all__ = ["catalogue_of"]


def catalogue_of(tools: Tools) -> ToolCatalogue:
    """Return the tools as the settings allow them; nothing of the user's is imported yet.

    Raises:
        InvalidTool: Two of them have one name, or a name in the settings is none.
    """
    return ToolCatalogue(
        folders=tools.folders,
        hosts=tools.hosts,
        bounds=Bounds(rounds=tools.rounds, largest=tools.largest, seconds=tools.timeout),
        imports=tools.imports,
    )

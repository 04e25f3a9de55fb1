"""Every tool there is, and the toolbox of each task: what its agent has and the task allows.

A user's own tools are functions named in the settings, or announced by a package in the entry point
group `ai_agent.tools`.

Invariant: names are known without importing anything; a module of the user's is imported only when a
task may use a tool of it, or when somebody checks the settings.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from agents.errors import InvalidTool
from agents.tool import Tool
from agents.toolbox import Bounds, Ledger, Toolbox
from agents.tools.arithmetic import calculate
from agents.tools.files import FileReader
from agents.tools.hosts import AllowedHosts
from agents.tools.library import Library, LibraryTools
from agents.tools.web import Resolve, WebReader, look_up
from workflows.task import SecurityRequirements

__all__ = ["GROUP", "ToolCatalogue"]

GROUP = "ai_agent.tools"
_OF_THE_LIBRARY = ("read_artifact", "search_documents")


class ToolCatalogue:
    """The tools of this package, with the folders and hosts that they may reach, and the user's own.

    `imports` are dotted names of functions. Raises `InvalidTool` where two tools have one name.
    """

    def __init__(
        self,
        *,
        folders: Sequence[Path] = (),
        hosts: Sequence[str] = (),
        bounds: Bounds | None = None,
        imports: Sequence[str] = (),
        resolve: Resolve = look_up,
    ) -> None:
        self.bounds = bounds or Bounds()
        web = WebReader(AllowedHosts(hosts), self.bounds.largest, self.bounds.seconds, resolve)
        self._folders = tuple(folders)
        files = FileReader(folders, self.bounds.largest)
        self._tools = {
            "calculate": Tool.of(calculate),
            "read_file": Tool.of(files.read_file),
            "http_get": Tool.of(web.http_get),
        }
        self._own = _announced(imports)
        self.names = frozenset({*self._tools, *_OF_THE_LIBRARY, *self._own})
        if taken := sorted(self._own.keys() & {*self._tools, *_OF_THE_LIBRARY}):
            raise InvalidTool(f"there are two tools called {taken[0]!r}: give yours another name")

    def check(self) -> None:
        """Look at the folders, and import every tool of the user's. Raises `InvalidTool`."""
        for folder in self._folders:
            if not folder.is_dir():
                raise InvalidTool(f"{folder} is no folder: make it, or correct tools.folders")
        for name in self._own:
            self._tool(name)

    def toolbox(
        self,
        listed: Sequence[str],
        allowed: SecurityRequirements,
        *,
        library: Library,
        denied: Callable[[str], str | None] = lambda _: None,
        ledger: Ledger | None = None,
        cancel: threading.Event | None = None,
    ) -> Toolbox:
        """Return what a task may use: the tools that its agent lists and that it allows itself.

        `denied` says of each of these why the agent may not use it here, or None if it may.
        """
        tools, barred = [], {}
        shelf = LibraryTools(library)
        for name in sorted(self.names):
            if name not in listed:
                barred[name] = f"the agent has no tool {name!r}"
            elif name not in allowed.allowed_tools:
                barred[name] = f"the task's allowed_tools do not name {name!r}"
            elif (why := denied(name)) is not None:
                barred[name] = why
            else:
                tool = self._tool(name, shelf)
                if tool.network and not allowed.network:
                    barred[name] = f"{name!r} uses the network, which the task may not"
                else:
                    tools.append(tool)
        return Toolbox(tools, barred=barred, bounds=self.bounds, ledger=ledger, cancel=cancel)

    def _tool(self, name: str, shelf: LibraryTools | None = None) -> Tool:
        if name in _OF_THE_LIBRARY:
            return Tool.of(getattr(shelf, name))
        if name not in self._tools:
            self._tools[name] = _loaded(name, self._own[name])
        return self._tools[name]


def _announced(imports: Sequence[str]) -> dict[str, EntryPoint]:
    """Return the user's tools by name, not yet imported."""
    found: dict[str, EntryPoint] = {}
    dotted = [_entry(one) for one in imports]
    for entry in [*dotted, *entry_points(group=GROUP)]:
        if entry.name in found and found[entry.name].value != entry.value:
            raise InvalidTool(
                f"there are two tools called {entry.name!r}: {found[entry.name].value} and "
                f"{entry.value}; rename one"
            )
        found[entry.name] = entry
    return found


def _entry(dotted: str) -> EntryPoint:
    module, _, name = dotted.rpartition(".")
    if not module or not all(part.isidentifier() for part in dotted.split(".")):
        raise InvalidTool(f"{dotted!r} names no function: write it as package.module.function")
    return EntryPoint(name, f"{module}:{name}", GROUP)


def _loaded(name: str, entry: EntryPoint) -> Tool:
    try:
        function: Callable[..., object] = entry.load()
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise InvalidTool(
            f"the tool {entry.value} cannot be imported ({words}): correct its name or PYTHONPATH"
        ) from error
    return Tool.of(function, name)

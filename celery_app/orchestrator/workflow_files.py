"""The workflow files of a folder: `NAME.yaml` holds the workflow of that name.

Invariants
  * A file is read again when it has changed, so whoever asks has what stands there now.
  * A file with mistakes hides no other file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import UUID

from celery_app.celery import agent_manager, settings, task_names, tool_catalogue
from celery_app.errors import ConfigurationError
from workflows.definitions import load
from workflows.errors import InvalidWorkflow
from workflows.problem import Problem, nearest
from workflows.rules import Registry
from workflows.text_file import read_text
from workflows.workflow import Workflow

logger = logging.getLogger(__name__)

_SUFFIXES = (".yaml", ".yml")
_SHIPPED = Path(__file__).parents[2] / "config" / "workflows"


def workflows_folder() -> Path:
    """Return the folder of the workflow files, which may not be there."""
    if settings.workflows_dir is not None:
        return settings.workflows_dir
    here = Path("config/workflows")
    return here if here.is_dir() else _SHIPPED


class WorkflowFiles(Mapping[UUID, Workflow]):
    """The workflows of a folder, by id. Those that cannot be read are left out, and logged once.

    Args:
        folder: Where they stand; by default as the settings say.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or workflows_folder()
        self._read: dict[Path, tuple[tuple[int, int], Workflow | InvalidWorkflow]] = {}

    @property
    def names(self) -> list[str]:
        """The names of all files, readable or not."""
        return sorted(path.stem for path in self.paths())

    def paths(self) -> list[Path]:
        """Return the files, in the order of their names."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.suffix in _SUFFIXES)

    def named(self, name: str) -> Workflow:
        """Return the workflow of a name.

        Raises:
            InvalidWorkflow: Its file has mistakes, or there is none.
        """
        for path in self.paths():
            if path.stem == name:
                return self._sound(path)
        text = f"there is no workflow {name!r} in {self.folder}: {nearest(name, self.names)}"
        raise InvalidWorkflow([Problem(name, 1, "", text)])

    def read(self, path: Path) -> Workflow:
        """Return the workflow of any file, which may refer to those of the folder.

        Raises:
            InvalidWorkflow: It has mistakes; all of them are told.
        """
        try:
            text = read_text(path)
        except ValueError as error:
            raise InvalidWorkflow([Problem(str(path), 1, "", f"it {error}")]) from error
        return load(text, str(path), self._known(path.stem))

    def parse(self, text: str, file: str) -> Workflow:
        """Return the workflow that a text is, which may refer to those of the folder; see `read`."""
        return load(text, file, self._known(""))

    def __getitem__(self, workflow_id: UUID) -> Workflow:
        for workflow in self.readable():
            if workflow.id == workflow_id:
                return workflow
        raise KeyError(workflow_id)

    def __iter__(self) -> Iterator[UUID]:
        return (workflow.id for workflow in self.readable())

    def __len__(self) -> int:
        return len(self.readable())

    def readable(self) -> list[Workflow]:
        """Return the workflows that can be read, in the order of their names."""
        found = []
        for path in self.paths():
            try:
                found.append(self._sound(path))
            except InvalidWorkflow:
                continue
        return found

    def _sound(self, path: Path) -> Workflow:
        stat = path.stat()
        mark = (stat.st_mtime_ns, stat.st_size)
        known = self._read.get(path)
        if known is None or known[0] != mark:
            known = (mark, self._look(path))
            self._read[path] = known
        if isinstance(known[1], InvalidWorkflow):
            raise known[1]
        return known[1]

    def _look(self, path: Path) -> Workflow | InvalidWorkflow:
        try:
            workflow = self.read(path)
        except InvalidWorkflow as invalid:
            logger.warning("%s is left out:\n%s", path, invalid)
            return invalid
        if workflow.name != path.stem:
            text = f"it is named {workflow.name!r}: name it {path.stem!r}, or rename the file"
            return InvalidWorkflow([Problem(str(path), 1, "", text)])
        return workflow

    def _known(self, name: str) -> Registry:
        agents = agent_manager()
        try:
            tasks = task_names()
        except ConfigurationError:
            # Told when the task is asked for; here it would hide what is wrong with the file.
            tasks = None
        return Registry(
            agents={p.name for p in agents.profiles} | {str(p.type) for p in agents.profiles},
            capabilities={str(each) for each in agents.capabilities},
            tasks=tasks,
            workflows={*self.names, name},
            tools=tool_catalogue().names,
        )

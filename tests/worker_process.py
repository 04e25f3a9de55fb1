"""A real Celery worker in a process of its own, which a test may kill."""

from __future__ import annotations

from types import TracebackType

from celery_app.testing import processes


class WorkerProcess(processes.WorkerProcess):
    """A worker whose log pytest shows beside a failure."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        print(self.text()[-10_000:])
        super().__exit__(kind, error, traceback)

"""The pytest plugin: suites as tests, and what one needs to test agents in Python.

Files `*.agenttest.yaml` are collected: a test for each case. Fixtures: `agent_tests` (a framework),
`scripted_model` and `recorded_model` (servers that stand where a model would), `agent_stack` and
`agent_client` (embedded servers with a worker, and a client of them).

Invariant: this module is loaded in every pytest where the package is installed, so it imports nothing
of the system before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from celery_app.client import Client
    from celery_app.testing.framework import AgentTestFramework, Mode
    from celery_app.testing.model import StandIn
    from celery_app.testing.results import TestResult, TestResults
    from celery_app.testing.suite import TestSuite

__all__: list[str] = []

_SUFFIX = ".agenttest.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of suites."""
    group = parser.getgroup("ai-agent", "suites of tests for agents (*.agenttest.yaml)")
    group.addoption(
        "--agent-record", action="store_const", dest="agent_mode", const="record",
        help="Ask the models of the suites, and keep their answers.",
    )  # fmt: skip
    group.addoption(
        "--agent-replay", action="store_const", dest="agent_mode", const="replay",
        help="Use recorded answers; ask no model.",
    )  # fmt: skip


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect suites."""
    if not file_path.name.endswith(_SUFFIX):
        return None
    return SuiteFile.from_parent(parent, path=file_path)


class SuiteFile(pytest.File):
    """A suite: it is run as a whole when its first case is asked for, and only then."""

    _suite: TestSuite
    _results: TestResults | None = None

    def collect(self) -> Iterator[pytest.Item]:
        """Yield the cases."""
        from celery_app.testing.reading import read_suite
        from celery_app.testing.results import InvalidSuite

        try:
            self._suite = read_suite(self.path)
        except InvalidSuite as error:
            raise self.CollectError(str(error)) from error
        for case in self._suite.test_cases:
            yield CaseItem.from_parent(self, name=case.name)

    def result(self, name: str) -> TestResult:
        """Return what came of a case."""
        from celery_app.testing.framework import AgentTestFramework

        if self._results is None:
            wanted = {item.name for item in self.session.items if item.parent is self}
            cases = [case for case in self._suite.test_cases if case.name in wanted]
            mode: Mode = self.config.getoption("agent_mode") or "as_written"
            self._results = AgentTestFramework(mode=mode).run(self._suite.only(cases))
        return next(result for result in self._results.results if result.case == name)


class CaseItem(pytest.Item):
    """A case of a suite."""

    def runtest(self) -> None:
        """Fail or skip as the case did."""
        from celery_app.testing.results import TestStatus

        assert isinstance(self.parent, SuiteFile)
        result = self.parent.result(self.name)
        self.user_properties += list(result.metrics.items())
        if result.status is TestStatus.SKIPPED:
            pytest.skip("a critical case before it failed")
        if result.status is TestStatus.FAILED:
            pytest.fail("\n".join(str(error) for error in result.errors), pytrace=False)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return where the case is written."""
        return self.path, 0, f"{self.path.name}: {self.name}"


@pytest.fixture
def agent_tests() -> AgentTestFramework:
    """Return a framework, to run suites that are made in Python."""
    from celery_app.testing.framework import AgentTestFramework

    return AgentTestFramework()


@pytest.fixture
def scripted_model() -> Iterator[Callable[..., StandIn]]:
    """Give a function that starts a model server which answers by rules.

    Each argument is `(when, answer)`; the first whose expression is found in the last message counts.
    """
    from contextlib import ExitStack

    from celery_app.testing.model import Scripted, StandIn
    from celery_app.testing.suite import Rule

    with ExitStack() as stack:

        def start(*rules: tuple[str, Any], models: tuple[str, ...] = ()) -> StandIn:
            script = Scripted([Rule(when=when, answer=answer) for when, answer in rules])
            return stack.enter_context(StandIn(script, models))

        yield start


@pytest.fixture
def recorded_model() -> Iterator[Callable[..., StandIn]]:
    """Give a function that starts a model server which answers from a cassette."""
    from contextlib import ExitStack

    from celery_app.testing.cassette import Cassette
    from celery_app.testing.model import Replayed, StandIn

    with ExitStack() as stack:

        def start(cassette: Path, models: tuple[str, ...] = ()) -> StandIn:
            return stack.enter_context(StandIn(Replayed(Cassette(cassette)), models))

        yield start


@pytest.fixture(scope="session")
def agent_stack() -> Iterator[Path]:
    """Start embedded servers and a worker in a home of their own; give the home, and end them."""
    from celery_app.testing.python import standing_stack

    with standing_stack() as home:
        yield home


@pytest.fixture(scope="session")
def agent_client(agent_stack: Path) -> Client:
    """Return a client of `agent_stack`."""
    from celery_app.client import Client

    return Client()

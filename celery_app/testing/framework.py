"""`AgentTestFramework`: runs a suite. The core is synchronous; its async verb is thin.

Invariants
  * Cases that hurt nothing run side by side, each in a context of its own. One with a fault or a clock
    runs alone, and so does a critical one: nothing after it begins before it has passed.
  * Whatever happens, the environment is cleaned.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from typing import Any, Literal

from agents.agent_manager import AgentManager
from celery_app.errors import AgentSystemError, ConfigurationError
from celery_app.stack.profile import current_settings
from celery_app.testing.cassette import Cassette
from celery_app.testing.context import Context, settings_of
from celery_app.testing.environment import TestEnvironment
from celery_app.testing.model import Behind, Replayed, Scripted, Source, StandIn
from celery_app.testing.order import About
from celery_app.testing.results import Judgement, TestError, TestResult, TestResults, TestStatus
from celery_app.testing.suite import ModelChoice, TestCase, TestSuite

__all__ = ["AgentTestFramework", "Mode", "Tell"]

#: `as_written` asks real models where the suite says so; the others override that.
Mode = Literal["as_written", "record", "replay"]
#: Told the name of a case when it begins, and its result when it has ended.
Tell = Callable[[str | TestResult], None]

_MOST_SIDE_BY_SIDE = 4


class AgentTestFramework:
    """Runs suites of tests.

    Args:
        mode: Whether models are asked as the suite says, and recorded, or their answers replayed.
        side_by_side: How many cases run at once; by default one for each processor, up to four.
        tell: Told how it goes on.

    Attributes:
        test_environment: The place in which they run.
    """

    def __init__(
        self,
        *,
        mode: Mode = "as_written",
        side_by_side: int | None = None,
        tell: Tell = lambda _: None,
    ) -> None:
        self.test_environment = TestEnvironment()
        self._mode = mode
        self._side_by_side = side_by_side or min(os.cpu_count() or 1, _MOST_SIDE_BY_SIDE)
        self._tell = tell

    async def run_test_suite(self, suite: TestSuite) -> TestResults:
        """Run a suite; see `run`."""
        return await asyncio.to_thread(self.run, suite)

    def run(self, suite: TestSuite) -> TestResults:
        """Run the cases of a suite, up to a critical one that fails.

        Raises:
            ConfigurationError: Answers are to be replayed and there is no cassette, or it is broken.
            ServiceUnavailable: The servers do not start.
        """
        cassette = self._cassette(suite)
        results = TestResults(suite.name)
        self.test_environment.start()
        try:
            for batch in batches(suite.test_cases):
                for result in self._run_batch(suite, batch, cassette):
                    results.add_result(result)
                if any(result.is_critical_failure for result in results.results):
                    break
        finally:
            self.test_environment.stop()
        self._close(suite, results, cassette)
        return results

    def _cassette(self, suite: TestSuite) -> Cassette | None:
        choices = [case.model or suite.model for case in suite.test_cases]
        if self._mode == "record":
            return Cassette(suite.cassette)
        if self._mode == "as_written" and "recorded" not in choices:
            return None
        if all(isinstance(choice, list) for choice in choices):
            return None
        if not suite.cassette.exists():
            raise ConfigurationError(
                f"{suite.cassette} does not exist: record the answers of the suite with --record"
            )
        return Cassette(suite.cassette)

    def _run_batch(
        self, suite: TestSuite, batch: list[TestCase], cassette: Cassette | None
    ) -> Iterator[TestResult]:
        with ThreadPoolExecutor(self._side_by_side, initializer=_leave_interrupts) as pool:
            started = [pool.submit(self._run_test_case, suite, case, cassette) for case in batch]
            try:
                for ended in as_completed(started):
                    self._tell(ended.result())
                    yield ended.result()
            except BaseException:
                # What still runs is ended here, or the pool would wait for it.
                pool.shutdown(wait=False, cancel_futures=True)
                self.test_environment.stop()
                raise

    def _run_test_case(
        self, suite: TestSuite, case: TestCase, cassette: Cassette | None
    ) -> TestResult:
        """Run one case in a context of its own."""
        self._tell(case.name)
        try:
            outcome = self._outcome(suite, case, cassette)
        except AgentSystemError as error:
            reason = error.reason if isinstance(error, TestError) else str(error)
            outcome = {"passes": 0, "metrics": {}, "judgements": [],
                       "errors": [{"reason": reason, "part": ()}]}  # fmt: skip
        return _result(suite, case, outcome)

    def _outcome(
        self, suite: TestSuite, case: TestCase, cassette: Cassette | None
    ) -> dict[str, Any]:
        environment = self.test_environment
        assert environment.root is not None, "the environment is set up"
        with ExitStack() as stack:
            source = self._source(suite, case, cassette)
            model = stack.enter_context(StandIn(source, _models(suite)))
            about = About(
                str(suite.folder.absolute()), model.url, True, case.alone, suite.prices.model_dump()
            )
            home, place = stack.enter_context(environment.place(alone=case.alone))
            environment.wait_for_nursery()
            context = Context(
                environment.root, home, place, case, about, suite.settings, environment.door
            )
            outcome = stack.enter_context(context).run()
            _tell_unanswered(outcome, model.unanswered)
            return outcome

    def _source(self, suite: TestSuite, case: TestCase, cassette: Cassette | None) -> Source:
        """Return where the answers of a case's models come from."""
        choice: ModelChoice = case.model or suite.model
        if isinstance(choice, list):
            return Scripted(choice)
        if self._mode == "record":
            return Behind(self.test_environment.real_model(), cassette)
        if cassette is not None and (self._mode == "replay" or choice == "recorded"):
            return Replayed(cassette)
        return Behind(self.test_environment.real_model())

    def _close(self, suite: TestSuite, results: TestResults, cassette: Cassette | None) -> None:
        """Put the results in order, tell what did not run, and settle the cassette."""
        ran = {result.case for result in results.results}
        whole = len(ran) == len(suite.test_cases)
        for case in suite.test_cases:
            if case.name not in ran:
                results.add_result(TestResult(TestStatus.SKIPPED, case.name, repeats=0))
        results.in_order([case.name for case in suite.test_cases])
        if cassette is not None and self._mode == "record":
            cassette.save(whole=whole)
        elif cassette is not None and whole:
            results.stale = cassette.stale()


def batches(cases: list[TestCase]) -> Iterator[list[TestCase]]:
    """Yield the cases in their order, those together that may run side by side."""
    batch: list[TestCase] = []
    for case in cases:
        if case.alone or case.critical:
            if batch:
                yield batch
            yield [case]
            batch = []
        else:
            batch.append(case)
    if batch:
        yield batch


def _leave_interrupts() -> None:
    """Leave Ctrl-C to the main thread: taken by another one, it would not end the waiting there."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _tell_unanswered(outcome: dict[str, Any], unanswered: list[str]) -> None:
    """Add to the errors of a case what its model had no answer to, unless they say so."""
    told = " ".join(each["reason"] for each in outcome["errors"])
    for words in dict.fromkeys(unanswered if told else ()):
        if words not in told:
            outcome["errors"].append({"reason": words, "part": ()})


def _models(suite: TestSuite) -> list[str]:
    """Return the models of the roster that the suite's cases have."""
    settings = current_settings({**os.environ, **settings_of(suite.settings)})
    return sorted({profile.model for profile in AgentManager.load(settings.agents_file).profiles})


def _result(suite: TestSuite, case: TestCase, outcome: dict[str, Any]) -> TestResult:
    errors = tuple(
        TestError(each["reason"], tuple(each["part"]), suite.place(case, tuple(each["part"])))
        for each in outcome["errors"]
    )
    passed = outcome["passes"] >= case.pass_rate * case.repeat
    return TestResult(
        TestStatus.PASSED if passed else TestStatus.FAILED,
        case.name,
        () if passed else errors,
        outcome["metrics"],
        case.critical,
        case.repeat,
        outcome["passes"],
        tuple(Judgement(**each) for each in outcome["judgements"]),
    )

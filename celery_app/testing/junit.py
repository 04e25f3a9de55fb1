"""Results as JUnit XML, which every CI system reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from celery_app.testing.results import TestResult, TestResults, TestStatus

__all__ = ["document"]

#: Characters that XML cannot hold.
_BARRED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(suites: Iterable[TestResults]) -> ElementTree[Element]:
    """Return the results of suites as one document."""
    root = Element("testsuites")
    for results in suites:
        root.append(_suite(results))
    indent(root)
    return ElementTree(root)


def _suite(results: TestResults) -> Element:
    suite = Element("testsuite", name=_clean(results.suite), tests=str(len(results.results)))
    suite.set("failures", str(len(results.of(TestStatus.FAILED))))
    suite.set("skipped", str(len(results.of(TestStatus.SKIPPED))))
    suite.set("time", f"{sum(_seconds(result) for result in results.results):.3f}")
    for result in results.results:
        suite.append(_case(results.suite, result))
    return suite


def _case(suite: str, result: TestResult) -> Element:
    case = Element("testcase", classname=_clean(suite), name=_clean(result.case))
    case.set("time", f"{_seconds(result):.3f}")
    if result.status is TestStatus.FAILED:
        words = "\n".join(str(error) for error in result.errors)
        failure = SubElement(case, "failure", message=_clean(words.partition("\n")[0]))
        failure.text = _clean(words)
    elif result.status is TestStatus.SKIPPED:
        SubElement(case, "skipped", message="a critical case before it failed")
    properties = SubElement(case, "properties")
    for name, value in sorted(result.metrics.items()):
        SubElement(properties, "property", name=name, value=f"{value:g}")
    return case


def _seconds(result: TestResult) -> float:
    return result.metrics.get("seconds", 0.0)


def _clean(text: str) -> str:
    return _BARRED.sub("?", text)

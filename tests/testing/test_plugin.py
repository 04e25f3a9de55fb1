"""The pytest plugin: in a test directory, and in a project that only installs this package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from celery_app.testing.cassette import Cassette
from celery_app.testing.model import StandIn
from tests.testing.traces import processes_below

pytest_plugins = ["pytester"]

SUITE = """\
name: small
model: [{when: "", answer: It is so.}]
cases:
  - {name: good, steps: [{agent: writer, prompt: Say yes.}], checks: [{contains: so}]}
  - name: bad
    steps: [{task: chore.echo, args: [1]}]
    checks: [{equals: 2}]
  - {name: other, steps: [{task: chore.fail, args: [x]}]}
"""
IN_PYTHON = """\
import asyncio

from celery_app import AgentTestFramework, TestCase, TestStatus, TestStep, TestSuite


def test_as_the_specification_does(agent_tests):
    step = TestStep(task="chore.echo", args=[1])
    suite = TestSuite(name="in python", test_cases=[TestCase(name="one", steps=[step])])
    assert isinstance(agent_tests, AgentTestFramework)
    results = asyncio.run(agent_tests.run_test_suite(suite))
    assert [each.status for each in results.results] == [TestStatus.PASSED]


def test_with_a_client(agent_client):
    task = {"id": "6d1f6d0e-6ac3-4c11-a5a6-111111111111", "task": "chore.echo", "args": [5]}
    assert list(agent_client.submit_graph([task]).result(timeout=60).values()) == [5]


def test_with_a_scripted_model(scripted_model):
    import httpx

    model = scripted_model(("yes", "no"))
    body = {"model": "m", "messages": [{"role": "user", "content": "yes?"}]}
    assert '"content": "no"' in httpx.post(f"{model.url}/api/chat", json=body).text
"""


@pytest.mark.timeout(300)
def test_suites_are_collected_and_run(pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("small.agenttest.yaml").write_text(SUITE)
    pytester.path.joinpath("wrong.agenttest.yaml").write_text("name: wrong\n")
    result = pytester.runpytest_subprocess("-q", "small.agenttest.yaml", "-k", "good or bad")
    result.assert_outcomes(passed=1, failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*small.agenttest.yaml:7: case bad: check 1: it is '1', not '2'*"])
    result = pytester.runpytest_subprocess("-q", "wrong.agenttest.yaml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*wrong.agenttest.yaml:1: cases is missing: add it*"])


def test_a_recorded_model_answers_what_was_recorded(
    recorded_model: Callable[..., StandIn], tmp_path: Path
) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "What is honey?"}]}
    cassette = Cassette(tmp_path / "cassettes" / "small.json")
    cassette.record("/api/chat", body, {"message": {"content": "Bees make it."}})
    cassette.save(whole=True)
    model = recorded_model(cassette.path, models=("m",))
    assert '"content": "Bees make it."' in httpx.post(f"{model.url}/api/chat", json=body).text
    assert httpx.get(f"{model.url}/api/tags").json()["models"][0]["name"] == "m"
    other = {**body, "messages": [{"role": "user", "content": "What is wax?"}]}
    refused = httpx.post(f"{model.url}/api/chat", json=other)
    assert refused.status_code == 400
    assert "has no answer to 'What is wax?'" in refused.json()["error"]
    assert model.asked == [("/api/chat", body), ("/api/chat", other)]
    [unanswered] = model.unanswered
    assert "record it again with --record" in unanswered


def test_it_costs_nothing_where_it_is_not_used() -> None:
    code = (
        "import sys, celery_app.testing.plugin; "
        "heavy = {'celery', 'kombu', 'sqlalchemy', 'pydantic', 'httpx'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_project_that_only_installs_this_package(tmp_path: Path) -> None:
    python = fresh_python(tmp_path / "venv")
    project = tmp_path / "project"
    project.mkdir()
    # Sockets stand in it, and their paths must be short.
    temporary = Path(tempfile.mkdtemp(prefix="t-"))
    (project / "small.agenttest.yaml").write_text(SUITE.partition("  - name: bad")[0])
    (project / "test_it.py").write_text(IN_PYTHON)
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "--strict-config"],
        cwd=project,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    assert not processes_below(temporary)
    assert not list(temporary.glob("ai-agent-test-*"))
    shutil.rmtree(temporary)


def fresh_python(folder: Path) -> Path:
    """Make a virtual environment that sees what is installed here, and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    here = sysconfig.get_path("purelib")
    # As `pip install` of the package and all that it needs would leave it, in a second.
    (Path(site) / "installed.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return python

"""The house itself: what must be found where, and what the documents promise."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

REQUIRED_PACKAGES = {
    "celery", "kombu", "redis", "sqlalchemy", "psycopg2-binary", "pydantic", "ollama", "flower",
    "cryptography", "pyyaml", "pytest",
}  # fmt: skip
TOP_LEVEL = {
    "pyproject.toml", "celery_app", "agents", "workflows", "config", "docker",
    "docker-compose.yml", "tests", "Makefile",
}  # fmt: skip
USUAL = {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "docs", "benchmarks"}

SPECIFICATION_NAMES = {
    "workflows.task": ["Task", "TaskType", "Priority", "Capability", "ResourceRequirements",
                       "SecurityRequirements"],
    "workflows.state": ["StateManager", "StepStatus"],
    "workflows": ["Workflow", "WorkflowStep", "WorkflowTrigger", "ErrorHandlingConfig",
                  "WorkflowInstance", "StepStatus", "WorkflowError"],
    "workflows.project": ["Project", "ProjectSpec", "ProjectGoal", "ProjectResources"],
    "workflows.project_plan": ["ProjectPlan"],
    "workflows.artifact": ["ProjectArtifact"],
    "workflows.document": ["Document", "DocumentationType"],
    "celery_app.store.documents": ["DocumentStorage"],
    "workflows.timeline": ["Timeline"],
    "celery_app": ["TaskManager", "PriorityQueue", "Client", "WorkflowEngine", "ProjectManager",
                   "DocumentationManager", "app", "LogManager", "LogProcessor", "LogStore", "LogEvent",
                   "LogContext", "EnrichedLogEvent", "MetricsCollector", "MetricsStore", "MetricsBatch",
                   "AgentMetrics", "BaseCollector",
                   "AgentTestFramework", "TestCase", "TestEnvironment", "TestError", "TestResult",
                   "TestResults", "TestStatus", "TestStep", "TestSuite"],
    "agents": ["AgentManager", "AgentType"],
    "agents.planner": ["PlannerAgent"],
}  # fmt: skip


def tracked_top_level() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    return {line.split("/")[0] for line in listed if line}


def test_the_required_packages_are_direct_dependencies() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    named = {
        re.split(r"[\[<>=~!;]", line)[0].strip().lower()
        for line in [*PYPROJECT["project"]["dependencies"], *extras["dev"]]
    }
    assert named >= REQUIRED_PACKAGES


def test_the_top_level_is_as_the_specification_says() -> None:
    found = {name for name in tracked_top_level() if not name.startswith(".")}
    assert found >= TOP_LEVEL
    assert found <= TOP_LEVEL | USUAL


@pytest.mark.parametrize("module", SPECIFICATION_NAMES)
def test_the_specifications_names_can_be_imported(module: str) -> None:
    loaded = importlib.import_module(module)
    for name in SPECIFICATION_NAMES[module]:
        assert hasattr(loaded, name), name


def test_the_front_door_is_lazy() -> None:
    code = "import sys, celery_app; assert 'celery' not in sys.modules, 'celery was imported'"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_version_and_changelog_agree() -> None:
    version = PYPROJECT["project"]["version"]
    assert importlib.import_module("celery_app").__version__ == version
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version


def test_files_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for package in ("workflows", "agents", "celery_app")
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 350
    }
    assert not long


def test_the_layers_are_kept() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_client_does_not_import_what_only_workers_need() -> None:
    heavy = "{'ollama', 'jsonschema', 'fastapi', 'tornado', 'xllamacpp'}"
    program = f"import sys; from celery_app import Client; print({heavy} & set(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, cwd=ROOT
    )
    assert printed.stdout.strip() == b"set()"

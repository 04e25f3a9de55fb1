from __future__ import annotations

import subprocess
import sys

import pytest

import workflows
from workflows import errors


def test_every_name_is_there_and_they_are_sorted() -> None:
    assert workflows.__all__ == sorted(workflows.__all__)
    assert all(hasattr(workflows, name) for name in workflows.__all__)


def test_paper_is_read_without_celery() -> None:
    program = "import sys, workflows; print('celery' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert done.stdout.strip() == b"False"


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_are_one_family_with_an_exit_code(name: str) -> None:
    error = getattr(errors, name)

    assert issubclass(error, errors.AgentSystemError)
    refused = (
        errors.InvalidTask, errors.InvalidWorkflow, errors.InvalidProject, errors.InvalidInputs,
        errors.InvalidDocument,
    )  # fmt: skip
    assert error.exit_code == (2 if issubclass(error, refused) else 1)
    assert name in (errors.__doc__ or "")

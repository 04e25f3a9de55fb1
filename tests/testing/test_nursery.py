"""The process from which cases are forked knows no settings: each case reads its own."""

from __future__ import annotations

import subprocess
import sys


def test_nothing_that_it_imports_reads_settings() -> None:
    code = (
        "import sys; from importlib import import_module; "
        "from celery_app.testing.nursery import LIBRARIES; "
        "[import_module(each) for each in LIBRARIES]; "
        "assert 'celery_app.celery' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

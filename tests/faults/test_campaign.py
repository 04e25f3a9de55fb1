"""A short campaign; `make faults-long` runs one of two hundred faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.campaign import campaign

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.mark.faults_long
def test_a_short_campaign(tmp_path: Path) -> None:
    counts = campaign(tmp_path / "home", seed=7, faults=10, patience=120)
    assert counts["graphs"] >= 6

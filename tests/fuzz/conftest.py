"""The servers of the fault tests, for what is thrown at a worker."""

from __future__ import annotations

from tests.faults.conftest import site

__all__ = ["site"]

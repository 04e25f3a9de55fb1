"""The OpenAPI document is thrown at the API: nothing fails inside, and every answer is as it says.

FUZZ_EXAMPLES in the environment says how many requests are made up for each address.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from celery_app.client import Client
from tests.api.serving import Served

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "6"))


@pytest.fixture(scope="module")
def document(client: Client) -> Any:
    served = Served()
    with served:
        schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
        yield schema


schema = schemathesis.pytest.from_fixture("document")


@schema.exclude(path="/events", method="GET").parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)
def test_every_answer_is_as_it_says(case: Any) -> None:
    case.call_and_validate(timeout=60)

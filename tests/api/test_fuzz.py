"""The OpenAPI document is thrown at the API: nothing fails inside, and every answer is as it says.

FUZZ_EXAMPLES in the environment says how many: one request for each address and kind to 20 examples of
a test that asks nobody. `make fuzz` does so for about ten minutes.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from celery_app.api.routes import PUBLIC, ROUTES, Address
from celery_app.client import Client
from tests.api.serving import Served
from tests.api.test_routes import key

EXAMPLES = max(5, int(os.environ.get("FUZZ_EXAMPLES", "0")) // 20)
#: A stream of everything has no end that could be waited for; plans take a model's time.
ADDRESSES = [each for each in (*PUBLIC, *ROUTES) if key(each) not in ("GET /events", "POST /plans")]


@pytest.fixture(scope="module")
def document(served: Served) -> Any:
    return schemathesis.openapi.from_url(f"{served.url}/openapi.json")


@pytest.mark.parametrize("address", ADDRESSES, ids=key)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
def test_every_answer_is_as_it_says(
    client: Client, document: Any, address: Address, mode: GenerationMode
) -> None:
    operation = document[address.path][address.method]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def throw(case: Any) -> None:
        case.call_and_validate(timeout=60)

    try:
        throw()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE
        pytest.skip("nothing can be wrong with it")

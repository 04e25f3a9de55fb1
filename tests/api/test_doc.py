"""The Python of docs/api.md is run against an API."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from celery_app.client import Client
from tests.api.serving import Served
from tests.faults.model_faults import FaultyModel
from tests.house.documents import Block, blocks
from tests.worker_process import WorkerProcess

BLOCKS = [b for b in blocks() if b.file == "docs/api.md" and b.language == "python"]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_the_python_of_the_document_runs(
    served: Served, client: Client, block: Block, capsys: pytest.CaptureFixture[str]
) -> None:
    text = block.text.replace("http://localhost:8000", served.url).replace(', token="aiat_..."', "")
    names: dict[str, Any] = {}
    with FaultyModel(words=3) as model:
        hosts = f"[{model.address}]"
        with WorkerProcess("-P", "threads", AI_AGENT__COMPONENTS__OLLAMA__HOSTS=hosts):
            exec(compile(text, str(block), "exec"), names)
            if "ask" in names:
                asyncio.run(names["ask"]())
    assert capsys.readouterr().out.strip()


def test_there_is_python_in_it() -> None:
    assert len(BLOCKS) == 2

"""Which tools a task may use, and what the document says of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from agents.agent_manager import AgentManager
from agents.errors import InvalidTool
from agents.tool import uses_network
from agents.toolbox import Toolbox
from agents.tools.catalogue import ToolCatalogue
from agents.tools.library import TextLibrary
from tests.agents.test_tools import call
from workflows.task import SecurityRequirements

LIBRARY = TextLibrary(list)


def allowed(
    listed: Sequence[str], tools: set[str], *, network: bool = False
) -> tuple[list[str], Toolbox]:
    catalogue = ToolCatalogue(imports=["tests.agents.test_tools_allowed.ring"])
    policy = SecurityRequirements(allowed_tools=tools, network=network)
    box = catalogue.toolbox(listed, policy, library=LIBRARY)
    return [tool.name for tool in box.tools], box


@uses_network
def ring(number: int) -> str:
    """Ring somebody up."""
    return f"ringing {number}"


def test_a_task_may_use_what_its_agent_has_and_it_allows() -> None:
    everything = ["calculate", "http_get", "read_artifact", "read_file", "search_documents", "ring"]
    assert allowed([], set(everything), network=True)[0] == []
    assert allowed(everything, set(), network=True)[0] == []
    names, box = allowed(["calculate", "read_file"], {"calculate", "http_get"})
    assert names == ["calculate"]
    assert box.call(call("calculate", expression="2+2")).text == "4"
    for name, why in [
        ("http_get", "the agent has no tool 'http_get'"),
        ("read_file", "the task's allowed_tools do not name 'read_file'"),
        ("shell", "there is no tool 'shell'"),
    ]:
        assert str(box.call(call(name)).refused).startswith(why)


def test_tools_of_the_network_need_the_network() -> None:
    names, box = allowed(["http_get", "ring"], {"http_get", "ring"})
    assert names == []
    assert "'http_get' uses the network" in str(box.call(call("http_get", url="http://a")).refused)
    assert "'ring' uses the network" in str(box.call(call("ring", number=1)).refused)
    names, box = allowed(["http_get", "ring"], {"http_get", "ring"}, network=True)
    assert names == ["http_get", "ring"]
    assert box.call(call("ring", number=110)).text == "ringing 110"


def test_ones_own_tools_are_found_or_precisely_missed() -> None:
    assert "ring" in ToolCatalogue(imports=["tests.agents.test_tools_allowed.ring"]).names
    for name, words in [
        (
            "tests.agents.test_tools_allowed.rung",
            "tests.agents.test_tools_allowed:rung cannot be imported",
        ),
        ("tests.nowhere.ring", "cannot be imported .*No module"),
        ("tests.agents.test_tools_allowed.LIBRARY", "no name of a tool|cannot be read|docstring"),
    ]:
        with pytest.raises(InvalidTool, match=words):
            ToolCatalogue(imports=[name]).check()
    with pytest.raises(InvalidTool, match="/nowhere is no folder"):
        ToolCatalogue(folders=[Path("/nowhere")]).check()
    with pytest.raises(InvalidTool, match="names no function"):
        ToolCatalogue(imports=["ring"])
    with pytest.raises(InvalidTool, match="two tools called 'calculate'"):
        ToolCatalogue(imports=["agents.tools.arithmetic.calculate"])


def test_packages_announce_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    announced = tmp_path / "shop-1.0.dist-info"
    announced.mkdir()
    (announced / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (announced / "entry_points.txt").write_text(
        "[ai_agent.tools]\nstock = shop_of_the_test:stock_of\nbroken = shop_of_the_test:none\n"
    )
    (tmp_path / "shop_of_the_test.py").write_text(
        'def stock_of(article: str) -> int:\n    """Count."""\n    return len(article)\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    catalogue = ToolCatalogue()
    assert {"stock", "broken"} <= catalogue.names
    policy = SecurityRequirements(allowed_tools={"stock"})
    box = catalogue.toolbox(["stock", "broken"], policy, library=LIBRARY)
    assert box.call(call("stock", article="A-17")).text == "4"
    with pytest.raises(InvalidTool, match="shop_of_the_test:none cannot be imported"):
        catalogue.check()
    with pytest.raises(InvalidTool, match="two tools called 'stock'"):
        ToolCatalogue(imports=["elsewhere.stock"])


# The document

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENT = (Path(__file__).parents[2] / "docs" / "tools.md").read_text("utf-8")
BLOCKS = BLOCK.findall(DOCUMENT)


def test_the_tools_of_the_document_are_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = [text for kind, text in BLOCKS if text.startswith("# shop/tools.py")]
    (tmp_path / "shop_in_the_document").mkdir()
    (tmp_path / "shop_in_the_document" / "tools.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = [f"shop_in_the_document.tools.{name}" for name in ("stock_of", "weather")]
    catalogue = ToolCatalogue(imports=names)
    policy = SecurityRequirements(allowed_tools={"stock_of", "weather"})
    box = catalogue.toolbox(["stock_of", "weather"], policy, library=LIBRARY)
    (stock,) = box.tools
    assert stock.parameters["properties"]["article"]["description"] == "Its number, such as A-17."
    assert box.call(call("stock_of", article="A-17")).text == "3"
    assert "uses the network" in str(box.call(call("weather", town="Celle")).refused)


def test_the_files_of_the_document_can_be_read(tmp_path: Path) -> None:
    agents, system = (yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml")
    text = next(text for kind, text in BLOCKS if kind == "yaml")
    writer = AgentManager.from_yaml(text, ToolCatalogue().names).get_agent("writer")
    assert writer.profile.tools == tuple(agents["agents"]["writer"]["tools"])
    ToolCatalogue(hosts=system["tools"]["hosts"], folders=system["tools"]["folders"])
    named = set(re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE))
    assert named == ToolCatalogue().names

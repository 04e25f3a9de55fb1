"""Tools: functions with typed arguments, the policy of a task, and what each built-in tool refuses."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from agents.agent_manager import AgentManager
from agents.errors import CallCancelled, InvalidTool, ToolFailed, ToolRefused
from agents.model import ToolCall
from agents.tool import Tool, uses_network
from agents.toolbox import LONGEST_ARGUMENTS, Bounds, Toolbox, ToolResult
from agents.tools.arithmetic import calculate
from agents.tools.catalogue import ToolCatalogue
from agents.tools.files import FileReader
from agents.tools.library import Artifact, TextLibrary
from workflows.task import SecurityRequirements


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Box(BaseModel):
    width: int
    title: str = ""


def pack_goods(
    json: str, size: Size, boxes: list[Box], way: Literal["air", "sea"] = "sea", *, copy: int = 1
) -> str:
    """Pack goods for a journey.

    More about it.

    Args:
        json: What goes in.
        copy: How often.
    """
    return f"{json} {size.value} {boxes[0].width} {way} {copy}"


def test_the_schema_comes_from_annotations_and_docstring() -> None:
    tool = Tool.of(pack_goods)
    assert (tool.name, tool.network) == ("pack_goods", False)
    assert tool.description.startswith("Pack goods for a journey.")
    schema = tool.parameters
    assert schema["required"] == ["json", "size", "boxes"]
    assert schema["properties"]["json"] == {"type": "string", "description": "What goes in."}
    assert schema["properties"]["size"] == {"type": "string", "enum": ["s", "l"]}
    assert schema["properties"]["way"]["enum"] == ["air", "sea"]
    inner = schema["properties"]["boxes"]["items"]
    assert inner["properties"]["title"] == {"type": "string", "default": ""}
    assert "$" not in json.dumps(schema)
    assert schema["additionalProperties"] is False


def test_arguments_are_checked_before_the_function_is_called() -> None:
    tool = Tool.of(pack_goods)
    sound = {"json": "tea", "size": "s", "boxes": [{"width": 3}]}
    assert tool(sound) == "tea s 3 sea 1"
    assert tool({**sound, "copy": "2"}) == "tea s 3 sea 2"
    for wrong, words in [
        ({**sound, "size": "xl"}, "size: Input should be 's' or 'l'"),
        ({"json": "tea"}, "size: Field required; boxes: Field required"),
        ({**sound, "more": 1}, "more: Extra inputs are not permitted"),
        ([1], "valid dictionary"),
        (None, "valid dictionary"),
    ]:
        with pytest.raises(ToolFailed, match=words):
            tool(wrong)


def test_what_a_function_gives_becomes_text() -> None:
    def given(kind: str) -> Any:
        """Give something."""
        return {"text": "é", "none": None, "dict": {"a": [1]}, "half": "\ud800\0", "no": object()}[
            kind
        ]

    tool = Tool.of(given)
    said = {kind: tool({"kind": kind}) for kind in ("text", "none", "dict", "half")}
    assert said == {"text": "é", "none": "null", "dict": '{"a": [1]}', "half": "? "}
    with pytest.raises(ToolFailed, match="no JSON"):
        tool({"kind": "no"})


class Nested(BaseModel):
    inner: Nested | None = None


def test_what_cannot_be_a_tool_says_why() -> None:
    def silent(a: int) -> int:
        return a

    def bare(a) -> int:  # type: ignore[no-untyped-def]
        """Bare."""
        return int(a)

    def many(*numbers: int) -> int:
        """Many."""
        return sum(numbers)

    def odd(a: threading.Event) -> int:
        """Odd."""
        return 1

    def deep(a: Nested) -> int:
        """Deep."""
        return 1

    async def later() -> int:
        """Later."""
        return 1

    faults: list[tuple[Callable[..., Any], str]] = [
        (silent, "give it a docstring"),
        (bare, "does not say what a is"),
        (many, r"takes \*numbers"),
        (odd, "annotations of the tool odd cannot be read"),
        (deep, "takes Nested, which holds itself"),
        (later, "is a coroutine"),
        (lambda: 1, "no name of a tool"),
    ]
    for function, words in faults:
        with pytest.raises(InvalidTool, match=words):
            Tool.of(function)


def test_annotations_may_say_more() -> None:
    def pick(number: Annotated[int, Field(ge=1, le=9, description="Which one.")] = 3) -> int:
        """Pick one."""
        return number

    tool = Tool.of(pick)
    assert tool.parameters["properties"]["number"] == {
        "type": "integer", "minimum": 1, "maximum": 9, "default": 3, "description": "Which one.",
    }  # fmt: skip
    assert tool.signature == "pick(number=3): Pick one."
    with pytest.raises(ToolFailed, match="less than or equal to 9"):
        tool({"number": 10})


# The box


def echo(text: str) -> str:
    """Say it again."""
    return text


def call(tool: str, /, **arguments: Any) -> ToolCall:
    return ToolCall(tool, json.dumps(arguments))


def test_only_what_was_put_in_is_called() -> None:
    box = Toolbox([Tool.of(echo)], barred={"shell": "the agent has no tool 'shell'"})
    assert box.call(call("echo", text="hello")) == ToolResult("hello")
    refused = box.call(call("shell", text="rm")).refused
    assert refused == "the agent has no tool 'shell': this task may use echo"
    unknown = box.call(call("other"))
    assert unknown.refused == "there is no tool 'other': this task may use echo"
    assert unknown.text == f"Refused: {unknown.refused}"
    assert [result.refused is None for _, result in box.calls] == [True, False, False]
    assert Toolbox().call(call("echo", text="a")).refused is not None


def test_wrong_arguments_and_errors_are_told() -> None:
    def broken(a: int = 0) -> None:
        """Break."""
        raise KeyError("no\nkey")

    box = Toolbox([Tool.of(echo), Tool.of(broken)])
    assert box.call(call("echo")) == ToolResult(
        "Error: the arguments do not fit: text: Field required", failed=True
    )
    assert box.call(call("broken")).text == "Error: broken failed: KeyError: 'no\\nkey'"
    assert "are no JSON" in box.call(ToolCall("echo", "{")).text


@pytest.mark.parametrize(
    "arguments",
    [
        "[" * 100_000,
        '{"text": ' + "[" * 50 + "]" * 50 + "}",
        json.dumps({"text": "x" * LONGEST_ARGUMENTS}),
    ],
    ids=["endless", "deep", "long"],
)
def test_oversized_and_nested_arguments_are_refused_unseen(arguments: str) -> None:
    result = Toolbox([Tool.of(echo)]).call(ToolCall("echo", arguments))
    assert result.refused is not None
    assert "arguments" in result.refused


def test_brackets_in_texts_are_no_nesting() -> None:
    text = '["\\"' + "[{" * 100
    assert Toolbox([Tool.of(echo)]).call(call("echo", text=text)).text == text


def test_a_result_that_is_too_large_is_refused() -> None:
    box = Toolbox([Tool.of(echo)], bounds=Bounds(largest=10))
    assert box.call(call("echo", text="é" * 5)).refused is None
    assert "11 bytes and at most 10" in str(box.call(call("echo", text="é" * 5 + "x")).refused)


def test_nobody_waits_for_a_tool_for_ever() -> None:
    forever = threading.Event()

    def wait() -> str:
        """Wait."""
        forever.wait(10)
        return "late"

    box = Toolbox([Tool.of(wait)], bounds=Bounds(seconds=0.2))
    assert box.call(call("wait")).text == "Error: wait took longer than 0.2 s"
    cancel = threading.Event()
    box = Toolbox([Tool.of(wait)], cancel=cancel)
    threading.Timer(0.1, cancel.set).start()
    begun = time.monotonic()
    with pytest.raises(CallCancelled):
        box.call(call("wait"))
    assert time.monotonic() - begun < 2
    with pytest.raises(CallCancelled):
        box.call(call("wait"))
    forever.set()


def test_a_name_that_nobody_could_store_is_made_storable() -> None:
    box = Toolbox()
    box.call(ToolCall("a\0b\ud800" + "c" * 1000, "{}"))
    box.call(ToolCall("", "{}"))
    assert [made.name for made, _ in box.calls] == ["ab" + "c" * 60, "?"]


# The policy

LIBRARY = TextLibrary(list)


def allowed(
    listed: Sequence[str], tools: set[str], *, network: bool = False
) -> tuple[list[str], Toolbox]:
    catalogue = ToolCatalogue(imports=["tests.agents.test_tools.ring"])
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
    assert "ring" in ToolCatalogue(imports=["tests.agents.test_tools.ring"]).names
    for name, words in [
        ("tests.agents.test_tools.rung", "tests.agents.test_tools:rung cannot be imported"),
        ("tests.nowhere.ring", "cannot be imported .*No module"),
        ("tests.agents.test_tools.LIBRARY", "no name of a tool|cannot be read|docstring"),
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


# Arithmetic


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", "14"),
        ("(0.1 + 0.2) = 7", "0.3"),
        ("12.5 / 100 * 840", "105"),
        ("2^10 - 7 // 2", "1021"),
        ("-7 % 3", "2"),
        ("round(sqrt(2), 3)", "1.414"),
        ("max(1, 2, min(9, 4))", "4"),
        ("2 ** -1", "0.5"),
        ("cos(pi)", "-1"),
        ("123456789 * 987654321", "121932631112635269"),
    ],
)
def test_arithmetic(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9", "2**99999999", "(10**600)**2", "10**600 * 10**600", "9.9**9999", "1e999",
        "exp(1000)", "1" * 501, "-" * 400 + "1", "+".join("1" * 240), "2**2**2**2**2**2",
    ],
)  # fmt: skip
def test_bombs_are_refused_at_once(expression: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ToolRefused):
        calculate(expression)
    assert time.monotonic() - begun < 0.5


@pytest.mark.parametrize(
    "expression",
    [
        "", "2 +", "x + 1", "__import__('os')", "(1).real", "'a' * 9", "[1] * 9", "1 if 1 else 2",
        "1/0", "0 ** -1", "sqrt(-1)", "(-8) ** 0.5", "round(5, -1000000000)", "True + 1", "1j",
        "lambda: 1", "2 == 2", "abs(*[1])", "1 << 999999999", "a\0b", "max()", "(" * 300,
        "round(1, 2.5)",
    ],
)  # fmt: skip
def test_what_is_not_arithmetic_has_no_value(expression: str) -> None:
    with pytest.raises(ToolFailed):
        calculate(expression)


@given(st.text(alphabet="0123456789+-*/%()., eE^pisqrtlogmaxround", max_size=80))
def test_any_expression_ends_well(expression: str) -> None:
    try:
        assert len(calculate(expression)) < 700
    except (ToolFailed, ToolRefused) as error:
        assert len(str(error)) < 400


# Files


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("Ünder the house")
    (folder / "deep" / "b.txt").write_text("deep")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "notes-too").mkdir()
    (tmp_path / "notes-too" / "c.txt").write_text("secret")
    return folder


def test_files_below_the_folder_are_read(notes: Path) -> None:
    read = FileReader([notes], 100).read_file
    assert read("a.txt") == "Ünder the house"
    assert read("a.txt", start=6) == "the house"
    assert read("deep/../deep/b.txt") == read(str(notes / "deep" / "b.txt")) == "deep"
    (notes / "link").symlink_to(notes / "deep")
    assert read("link/b.txt") == "deep"
    with pytest.raises(ToolFailed, match=r"no file 'z.txt'"):
        read("z.txt")
    with pytest.raises(ToolFailed, match="has 15 letters"):
        read("a.txt", start=15)


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt", "deep/../../secret.txt", "/etc/passwd", "../notes-too/c.txt", "..", "/", ".",
        "deep", "a.txt\0.png", "", "~/.ssh/id_rsa", "x" * 5000, "../nothing-there.txt",
        "/proc/self/environ", "a.txt/../../secret.txt",
    ],
)  # fmt: skip
def test_whatever_leads_elsewhere_is_refused(notes: Path, path: str) -> None:
    with pytest.raises((ToolRefused, ToolFailed)) as refusal:
        FileReader([notes], 100).read_file(path)
    if ".." in path or path.startswith("/"):
        assert isinstance(refusal.value, ToolRefused)
    assert "secret" not in str(refusal.value).replace("secret.txt", "")


def test_links_that_lead_outside_are_refused(notes: Path) -> None:
    read = FileReader([notes], 100).read_file
    (notes / "file").symlink_to(notes.parent / "secret.txt")
    (notes / "folder").symlink_to(notes.parent)
    (notes / "loop").symlink_to(notes / "loop")
    for path in ("file", "folder/secret.txt", "loop", "folder/notes-too/c.txt"):
        with pytest.raises(ToolRefused):
            read(path)


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ways in and out of it."""
    outside = tmp_path_factory.mktemp("maze")
    inside = outside / "inside"
    (inside / "deep").mkdir(parents=True)
    for folder, words in ((outside, "hidden"), (inside, "open"), (inside / "deep", "open")):
        (folder / "a.txt").write_text(words)
    (inside / "up").symlink_to("..")
    (inside / "deep" / "in").symlink_to(inside)
    (inside / "deep" / "out").symlink_to(outside / "a.txt")
    return inside


@given(
    st.lists(
        st.sampled_from(["..", ".", "", "deep", "up", "in", "out", "inside", "a.txt"]), max_size=8
    )
)
def test_no_way_through_a_maze_leads_outside(maze: Path, steps: list[str]) -> None:
    for path in ("/".join(steps), "/".join([str(maze), *steps]), "/".join([*steps, "a.txt"])):
        try:
            assert FileReader([maze], 100).read_file(path) == "open"
        except (ToolRefused, ToolFailed) as error:
            assert "hidden" not in str(error)


def test_a_link_that_is_put_in_between_is_not_followed(
    notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is exchanged after its path was checked."""
    real = os.path.realpath

    def exchanged(path: Any) -> str:
        found = str(real(path))
        if found.endswith("a.txt"):
            (notes / "a.txt").unlink()
            (notes / "a.txt").symlink_to(notes.parent / "secret.txt")
        return found

    monkeypatch.setattr(os.path, "realpath", exchanged)
    with pytest.raises(ToolRefused, match="cannot be opened"):
        FileReader([notes], 100).read_file("a.txt")


def test_pipes_sockets_and_devices_are_no_files(notes: Path) -> None:
    os.mkfifo(notes / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(notes)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        for name in ("pipe", "socket"):
            begun = time.monotonic()
            with pytest.raises(ToolRefused):
                FileReader([notes], 100).read_file(name)
            assert time.monotonic() - begun < 1
    with pytest.raises(ToolRefused, match="no plain file"):
        FileReader([Path("/dev")], 100).read_file("zero")


def test_large_and_binary_files_are_not_read(notes: Path) -> None:
    (notes / "large").write_bytes(b"x" * 101)
    (notes / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ToolRefused, match="larger than 100 bytes"):
        FileReader([notes], 100).read_file("large")
    with pytest.raises(ToolFailed, match="not text in UTF-8"):
        FileReader([notes], 100).read_file("binary")
    # It says that it has no bytes, and has as many as one wants.
    with pytest.raises(ToolRefused, match="larger than"):
        FileReader([Path("/proc/self")], 10).read_file("status")


def test_without_a_folder_nothing_is_read(notes: Path) -> None:
    with pytest.raises(ToolRefused, match="not below an allowed folder"):
        FileReader([], 100).read_file(str(notes / "a.txt"))
    read = FileReader([notes / "absent", notes], 100).read_file
    assert read("a.txt") == "Ünder the house"


# Texts of the run

TEXTS = [
    Artifact("Mill", "The mill has one wheel.\nIt turns.\n\nThe miller is called Brandt.", "id-1"),
    Artifact("Bees", "Bees make honey. " + "Filling. " * 100 + "One bee has six legs.", "id-2"),
    Artifact("Bees", "Other bees.", "id-3"),
    Artifact("notes.md", "Nothing about animals."),
]


def texts(tool: str, /, **arguments: Any) -> ToolResult:
    catalogue = ToolCatalogue()
    names = ["read_artifact", "search_documents"]
    policy = SecurityRequirements(allowed_tools=set(names))
    box = catalogue.toolbox(names, policy, library=TextLibrary(lambda: TEXTS))
    return box.call(call(tool, **arguments))


def test_artifacts_are_read_by_title_or_id() -> None:
    assert texts("read_artifact", name="mill").text.startswith("The mill has")
    assert texts("read_artifact", name="id-3").text == "Other bees."
    assert texts("read_artifact", name="notes.md", start=14).text == "animals."
    assert texts("read_artifact", name="Bees").text == (
        "Error: 2 are called 'Bees': read one by its id of id-2, id-3"
    )
    assert texts("read_artifact", name="Birds").text == (
        "Error: there is no 'Birds': there is Mill, Bees, Bees, notes.md"
    )


def test_documents_are_searched() -> None:
    found = texts("search_documents", words="one bee legs").text.splitlines()
    assert found[0].startswith("Bees (start=")
    assert "One bee has six legs." in found[0]
    start = int(found[0].partition("=")[2].partition(")")[0])
    assert TEXTS[1].text[start:].endswith("legs.")
    assert found[1].startswith("Mill (start=0): The mill has one wheel. It turns.")
    assert texts("search_documents", words="zebra").text.startswith("Nothing found. There is: Mill")

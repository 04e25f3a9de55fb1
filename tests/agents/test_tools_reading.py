"""The tools that read: files below allowed folders, and texts of the run."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import ToolFailed, ToolRefused
from agents.toolbox import ToolResult
from agents.tools.catalogue import ToolCatalogue
from agents.tools.files import FileReader
from agents.tools.library import Artifact, TextLibrary
from tests.agents.test_tools import call
from workflows.task import SecurityRequirements


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

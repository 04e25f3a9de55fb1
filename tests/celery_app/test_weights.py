"""Which model file is used, what is believed about it, and how it is asked: all without a model."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_app.errors import ConfigurationError
from celery_app.stack import dialect
from celery_app.stack.catalogue import ModelCard
from celery_app.stack.dialect import ChatCall, GenerateCall
from celery_app.stack.generation import RefusalError
from celery_app.stack.gguf import read_header
from celery_app.stack.sampling import sampling
from celery_app.stack.weights import DEFAULT_MODEL, SHA256, Weights, locate

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(*pairs: bytes) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", 3, 0, len(pairs)) + b"".join(pairs)


# The file


def test_the_bundled_model_is_found_without_importing_it() -> None:
    weights = locate({})
    assert (weights.name, weights.sha256) == (DEFAULT_MODEL, SHA256)
    assert read_header(weights.path)["general.basename"] == "smollm2"


def test_a_file_of_ones_own_goes_first(tmp_path: Path) -> None:
    file = tmp_path / "My Model (Q4).gguf"
    file.touch()
    weights = locate({"AI_AGENT_MODEL_FILE": str(file)})
    assert weights == Weights(file, "my-model-q4:latest")
    with pytest.raises(ConfigurationError, match="AI_AGENT_MODEL_FILE=/no/such is no file"):
        locate({"AI_AGENT_MODEL_FILE": "/no/such"})


def test_a_wrong_file_is_refused_with_both_sums(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.touch()
    with pytest.raises(ConfigurationError, match=rf"{EMPTY_SHA256}, expected {SHA256}"):
        Weights(file, DEFAULT_MODEL, SHA256).digest(tmp_path / "model.json")


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    file, verdicts = tmp_path / "model.gguf", tmp_path / "model.json"
    file.touch()
    weights = Weights(file, "mine:latest")
    assert weights.digest(verdicts) == EMPTY_SHA256
    known = json.loads(verdicts.read_text())
    known[str(file)]["sha256"] = "remembered"
    verdicts.write_text(json.dumps(known))
    assert weights.digest(verdicts) == "remembered"
    os.utime(file, ns=(0, 0))
    assert weights.digest(verdicts) == EMPTY_SHA256
    verdicts.write_text("nonsense")
    assert weights.digest(verdicts) == EMPTY_SHA256


# Its header


def test_a_header_is_read_and_long_lists_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    words = struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bb")
    lists = struct.pack("<IIQ", 9, 4, 3) + bytes(12)
    file.write_bytes(
        gguf(
            text("general.architecture") + struct.pack("<I", 8) + text("tiny"),
            text("words") + words,
            text("lists") + lists,
            text("scale") + struct.pack("<If", 6, 0.5),
        )
    )
    assert read_header(file) == {
        "general.architecture": "tiny",
        "words": 2,
        "lists": 3,
        "scale": 0.5,
    }
    details = ModelCard.of(file, "tiny", "00").details
    assert (details["family"], details["quantization_level"]) == ("tiny", "unknown")


@pytest.mark.parametrize("content", [b"", b"ELF" * 20, gguf(b"x"), gguf(text("x") + b"\xff" * 12)])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a usable GGUF file"):
        read_header(file)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "junk.gguf"
    file.write_bytes(gguf()[:-8] + struct.pack("<Q", 5) + junk)
    with pytest.raises(ConfigurationError, match="not a usable GGUF file"):
        read_header(file)


# The words


@given(st.dictionaries(st.text(), st.text()))
def test_a_line_is_one_line_of_ascii(content: dict[str, str]) -> None:
    line = dialect.encode(content)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert json.loads(line) == content


def test_options_get_ollamas_defaults() -> None:
    assert sampling({}, None)["top_p"] == 0.9
    chosen = sampling(
        {"num_predict": 5, "seed": -1, "num_ctx": 99, "stop": ["x", ""], "what": 1, "top_k": None},
        "",
    )
    assert (chosen["max_tokens"], chosen["seed"], chosen["stop"]) == (5, 0xFFFFFFFF, ["x"])
    assert (chosen["top_k"], "num_ctx" in chosen, "what" in chosen) == (40, False, False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_ctx": "many"}, 'option "num_ctx" must be of type integer'),
        ({"top_k": 1.5}, 'option "top_k" must be of type integer'),
        ({"top_k": float("inf")}, 'option "top_k" must be of type integer'),
        ({"temperature": True}, 'option "temperature" must be of type float32'),
        ({"stop": "x"}, 'option "stop" must be of type array'),
    ],
)
def test_a_wrong_type_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(RefusalError) as caught:
        sampling(options, None)
    assert (caught.value.status, str(caught.value)) == (500, said)


def test_a_prompt_becomes_a_conversation_unless_it_is_raw() -> None:
    call = GenerateCall(model="m", prompt="Hi", system="Be brief.")
    assert call.body()["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
    assert GenerateCall(model="m", prompt="Hi", raw=True).body()["prompt"] == "Hi"
    with pytest.raises(RefusalError, match="does not support insert"):
        GenerateCall(model="m", prompt="a", suffix="b").body()


def test_pictures_are_refused() -> None:
    call = dialect.parse(
        ChatCall, b'{"model": "m", "messages": [{"role": "user", "images": ["AAAA"]}]}'
    )
    with pytest.raises(RefusalError, match="does not support images"):
        call.body()

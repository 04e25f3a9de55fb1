"""Whether a model is to be had: found out before anybody waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from agents.errors import ModelMissing, ModelRefused, ModelUnreachable
from agents.presence import check_presence
from tests.agents.ollama_server import Answer, End, OllamaServer, line, refusal

Serve = Callable[..., OllamaServer]

MUTE = Answer((End.SILENCE,), status=None)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda *answers: stack.enter_context(OllamaServer(*answers))


@pytest.fixture
def down() -> str:
    with OllamaServer() as server:
        return server.host


def having(*names: str) -> Answer:
    """Answer as a server that has these models."""
    details = {"format": "gguf", "family": "llama", "families": None}
    models = [{"name": name, "model": name, "size": 1, "details": details} for name in names]
    return Answer((line(models=models),), headers={"content-type": "application/json"})


def test_asking_is_looking_at_the_list(serve: Serve) -> None:
    server = serve(having("small:latest", "tiny:1b"))
    check_presence([server.host], "tiny:1b")
    (asked,) = server.requests
    assert (asked.method, asked.path, asked.body) == ("GET", "/api/tags", None)


def test_what_is_there_instead_is_told(serve: Serve) -> None:
    server = serve(having("small:latest", "other:7b"))
    with pytest.raises(ModelMissing, match=r"'tiny:1b'.*other:7b, small:latest.*ollama pull"):
        check_presence([server.host], "tiny:1b")


def test_a_name_without_a_tag_means_the_latest(serve: Serve) -> None:
    check_presence([serve(having("tiny:latest")).host], "tiny")


def test_another_tag_is_another_model(serve: Serve) -> None:
    with pytest.raises(ModelMissing) as caught:
        check_presence([serve(having("tiny:1b")).host], "tiny")
    assert caught.value.exit_code == 4


def test_a_server_may_have_none(serve: Serve) -> None:
    with pytest.raises(ModelMissing, match="there is none"):
        check_presence([serve(having()).host], "tiny")


def test_one_host_that_has_it_is_enough(serve: Serve, down: str) -> None:
    hosts = [down, serve(having("other:1b")).host, serve(having("tiny:latest")).host]
    check_presence(hosts, "tiny")


def test_hosts_that_answer_decide_whether_it_is_missing(serve: Serve, down: str) -> None:
    with pytest.raises(ModelMissing, match="other:1b"):
        check_presence([down, serve(having("other:1b")).host], "tiny")


def test_nobody_answers(down: str) -> None:
    with pytest.raises(ModelUnreachable, match=f"{down}.*start it") as caught:
        check_presence([down, down], "tiny")
    assert caught.value.exit_code == 4


def test_a_host_that_hangs_is_not_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.presence._PATIENCE_SECONDS", 0.2)
    server = serve(MUTE)
    with pytest.raises(ModelUnreachable, match=f"{server.host} was silent"):
        check_presence([server.host], "tiny")
    server.gone.get(timeout=1)


@pytest.mark.parametrize(
    "answer",
    [
        refusal(500, "no disk"),
        Answer((b"<html>Welcome</html>",)),
        Answer((b"[]",)),
        Answer((b'{"models": [', End.CUT)),
    ],
    ids=["500", "web page", "no object", "cut"],
)
def test_what_answers_otherwise_has_no_models(serve: Serve, answer: Answer) -> None:
    server = serve(answer)
    with pytest.raises(ModelUnreachable, match=server.host) as caught:
        check_presence([server.host], "tiny")
    assert "\n" not in str(caught.value)
    check_presence([serve(answer).host, serve(having("tiny:latest")).host], "tiny")


def test_a_key_that_is_not_accepted_is_told(serve: Serve) -> None:
    with pytest.raises(ModelRefused, match="does not accept the key"):
        check_presence([serve(refusal(401, {"message": "unauthorized"})).host], "tiny")


@pytest.mark.parametrize("host", ["localhost:abc", "http://[::1", "ftp://localhost"])
def test_what_is_no_address_is_an_error_in_words(host: str) -> None:
    with pytest.raises(ModelRefused, match="no address"):
        check_presence([host], "tiny")


def test_no_host_at_all() -> None:
    with pytest.raises(ModelRefused, match="at least one"):
        check_presence([], "tiny")


def test_no_proxy_stands_between(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    check_presence([serve(having("tiny:latest")).host], "tiny")

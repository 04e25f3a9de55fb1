"""Which host a call goes to, when, and what a host that is away costs."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.errors import (
    CallCancelled,
    DeadlinePassed,
    IncompleteReply,
    ModelBusy,
    ModelUnreachable,
)
from agents.hosts import HostPool
from agents.model import ChatRequest, Message
from agents.ollama import Limits, OllamaModel
from agents.slots import Slots
from tests.agents.conftest import Serve
from tests.agents.ollama_server import (
    Answer,
    End,
    Reached,
    Until,
    done,
    line,
    part,
    refusal,
    whole,
)
from tests.faults.model_faults import MODEL, FaultyModel, Mood

QUESTION = ChatRequest("tiny", (Message("user", "Hello?"),))
ASKED = ChatRequest(MODEL, (Message("user", "Hello?"),))
LIMITS = Limits(connect=1, first=5, silence=5)


@pytest.fixture
def away() -> Iterator[FaultyModel]:
    """A server that is not there at first."""
    server = FaultyModel()
    server.reserve()
    yield server
    server.kill()


def a_look(*loaded: str) -> list[Answer]:
    """What a host says of itself when it is looked at."""
    running = [{"model": name} for name in loaded]
    said: tuple[dict[str, Any], ...] = ({"version": "1"}, {"models": []}, {"models": running})
    return [Answer((line(**values),)) for values in said]


def go_on() -> None:
    return


def wait_until(happened: Callable[[], bool], seconds: float = 3) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestTheChoice:
    @pytest.mark.parametrize("loaded", ["tiny", "tiny:latest"])
    def test_the_host_that_has_the_model_loaded_comes_first(
        self, serve: Serve, loaded: str
    ) -> None:
        cold, warm = serve(*a_look("other")), serve(*a_look(loaded), whole("x"))
        pool = HostPool([cold.host, warm.host])
        pool.look()
        with pool.place("tiny", (), go_on) as first, pool.place("tiny", (), go_on) as second:
            assert (first, second) == (warm.host, warm.host), "also while it is busier"
        assert OllamaModel(pool, limits=LIMITS).chat(QUESTION).host == warm.host

    def test_one_that_is_full_is_not_waited_for(self, serve: Serve) -> None:
        cold, warm = serve(*a_look()), serve(*a_look("tiny"))
        pool = HostPool([cold.host, warm.host], slots=Slots(1))
        pool.look()
        with pool.place("tiny", (), go_on) as first, pool.place("tiny", (), go_on) as second:
            assert (first, second) == (warm.host, cold.host)

    def test_then_the_least_busy_one(self) -> None:
        pool = HostPool(["one", "two", "three"])
        with ExitStack() as stack:
            places = [stack.enter_context(pool.place("tiny", (), go_on)) for _ in range(6)]
        assert places == ["one", "two", "three"] * 2

    def test_one_that_failed_comes_last(self) -> None:
        pool = HostPool(["one", "two"])
        pool.failed("one", IncompleteReply("cut"))
        with pool.place("tiny", (), go_on) as first, pool.place("tiny", (), go_on) as second:
            assert (first, second) == ("two", "two")
        with pool.place("tiny", {"two"}, go_on) as only:
            assert only == "one", "but it is better than none"

    def test_what_is_loaded_is_found_out_aside(self, serve: Serve) -> None:
        go = threading.Event()
        slow = [replace(a_look()[0], steps=(Until(go), line(version="1"))), *a_look()[1:]]
        first = serve(*slow, whole("x"))
        second = serve(*a_look("tiny"))
        pool = HostPool([first.host, second.host], look_every=60)
        with pool.place("tiny", (), go_on) as host:
            assert host is not None, "no call waits for a look"
        go.set()
        wait_until(lambda: len(pool.sights()) == 2)
        with pool.place("tiny", (), go_on) as host:
            assert host == second.host
        assert [len(server.requests) for server in (first, second)] == [3, 3]


class TestSlots:
    def test_a_call_waits_for_one(self, serve: Serve) -> None:
        asked, finish = threading.Event(), threading.Event()
        slow = Answer((Reached(asked), Until(finish), done("one")))
        server = serve(slow, whole("two"))
        model = OllamaModel(HostPool([server.host], slots=Slots(1)), limits=LIMITS)
        with ThreadPoolExecutor() as threads:
            first = threads.submit(model.chat, QUESTION)
            assert asked.wait(2)
            second = threads.submit(model.chat, QUESTION)
            wait_until(lambda: len(model.pool._line) == 1)
            assert len(server.requests) == 1
            finish.set()
            assert [first.result().text, second.result().text] == ["one", "two"]

    def test_who_waits_longest_is_first(self) -> None:
        pool = HostPool(["one"], slots=Slots(1))
        served: list[int] = []

        def take(number: int) -> None:
            with pool.place("tiny", (), go_on):
                served.append(number)

        with ThreadPoolExecutor(20) as threads, pool.place("tiny", (), go_on):
            for number in range(20):
                threads.submit(take, number)
                wait_until(lambda wanted=number + 1: len(pool._line) == wanted)  # type: ignore[misc]
        assert served == list(range(20))

    def test_never_more_than_there_are(self) -> None:
        with FaultyModel(words=2, pause=0.01) as server:
            model = OllamaModel(HostPool([server.address], slots=Slots(3)), limits=LIMITS)
            with ThreadPoolExecutor(16) as threads:
                replies = list(threads.map(model.chat, [ASKED] * 40))
        assert len(replies) == 40
        assert server.busiest == 3

    def test_waiting_can_be_cancelled_and_costs_nothing(self, serve: Serve) -> None:
        server = serve(whole("x"))
        pool = HostPool([server.host], slots=Slots(1))
        model = OllamaModel(pool, limits=LIMITS)
        cancel = threading.Event()
        with pool.place("tiny", (), go_on), ThreadPoolExecutor() as threads:
            waiting = threads.submit(model.chat, QUESTION, cancel=cancel)
            wait_until(lambda: len(pool._line) == 1)
            cancel.set()
            with pytest.raises(CallCancelled, match="before it began"):
                waiting.result(timeout=1)
            assert server.requests == []
        assert model.chat(QUESTION).text == "x", "the slot is free"

    def test_waiting_ends_at_the_deadline(self) -> None:
        pool = HostPool(["127.0.0.1:9"], slots=Slots(1))
        model = OllamaModel(pool, limits=replace(LIMITS, total=0.2))
        with pool.place("tiny", (), go_on), pytest.raises(DeadlinePassed, match="no host was free"):
            model.chat(QUESTION)

    def test_processes_share_them_and_the_dead_hold_none(self, tmp_path: Path) -> None:
        code = (
            "import sys, time; from pathlib import Path; from agents.slots import Slots\n"
            "slots = Slots(2, Path(sys.argv[1]))\n"
            "print(slots.take('http://a:1'), flush=True); time.sleep(60)"
        )
        command = [sys.executable, "-c", code]
        other = subprocess.Popen([*command, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == "True\n"
            slots = Slots(2, tmp_path)
            assert slots.taken("http://a:1") == 1
            assert slots.take("http://a:1")
            assert not slots.take("http://a:1")
            assert slots.take("http://b:1"), "each host has its own"
        finally:
            other.kill()
            other.wait()
            other.stdout.close()
        assert slots.take("http://a:1")
        for host in ("http://a:1", "http://a:1", "http://b:1"):
            slots.give_back(host)
        assert slots.taken("http://a:1") == 0


class TestTheCircuit:
    def test_opens_after_repeated_failures_and_closes_when_the_host_answers(
        self, away: FaultyModel
    ) -> None:
        pool = HostPool([away.address])
        model = OllamaModel(pool, limits=LIMITS)
        for _ in range(4):
            with pytest.raises(ModelUnreachable, match=away.address) as caught:
                model.chat(ASKED)
            assert not caught.value.counts_as_try, "nobody was there"
        assert pool.report()[away.address]["circuit"] == "open"
        away.start()
        assert model.chat(ASKED).text
        assert pool.report()[away.address] == {
            "state": "up",
            "since": pool.report()[away.address]["since"],
            "reason": None,
            "circuit": "closed",
            "version": "0.33.0",
            "models": [MODEL],
            "loaded": [MODEL],
            "in_flight": 0,
            "slots": 4,
        }

    def test_a_host_that_is_cut_off_delays_nobody_and_comes_back(self, away: FaultyModel) -> None:
        with FaultyModel() as well:
            pool = HostPool([away.address, well.address])
            for _ in range(3):
                pool.failed(away.address, ModelUnreachable("no"))
            model = OllamaModel(pool, limits=LIMITS)
            assert model.chat(ASKED).host == well.address
            away.start()
            wait_until(lambda: model.chat(ASKED).host == away.address)

    def test_waiting_for_a_lost_host_can_be_cancelled(self) -> None:
        with FaultyModel() as server:
            server.mood = Mood.HANGS
            pool = HostPool([server.address])
            for _ in range(3):
                pool.failed(server.address, ModelUnreachable("no"))
            cancel = threading.Event()
            timer = threading.Timer(0.2, cancel.set)
            timer.start()
            started = time.monotonic()
            with pytest.raises(CallCancelled):
                OllamaModel(pool, limits=LIMITS).chat(ASKED, cancel=cancel)
            assert time.monotonic() - started < 1
            timer.join()


class TestWhatIsATry:
    def test_a_full_host_is_none(self, serve: Serve) -> None:
        with pytest.raises(ModelBusy) as caught:
            OllamaModel([serve(refusal(503, "busy")).host]).chat(QUESTION)
        assert not caught.value.counts_as_try

    def test_a_host_that_is_there_and_breaks_off_is_one(self, serve: Serve) -> None:
        with pytest.raises(IncompleteReply) as caught:
            OllamaModel([serve(Answer((part("Good"), End.CUT))).host]).chat(QUESTION)
        assert caught.value.counts_as_try

    def test_a_host_that_dies_is_none(self) -> None:
        with FaultyModel(words=50, pause=0.05) as server, ThreadPoolExecutor() as threads:
            call = threads.submit(OllamaModel([server.address], limits=LIMITS).chat, ASKED)
            wait_until(lambda: server.under_way == 1)
            server.kill()
            with pytest.raises(IncompleteReply) as caught:
                call.result(timeout=5)
        assert not caught.value.counts_as_try

    def test_a_host_that_hangs_is_none(self) -> None:
        with FaultyModel() as server:
            server.mood = Mood.HANGS
            with pytest.raises(ModelUnreachable) as caught:
                OllamaModel([server.address], limits=replace(LIMITS, first=0.2)).chat(ASKED)
        assert not caught.value.counts_as_try

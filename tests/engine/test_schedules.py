"""Workflows that follow a clock, on one that the tests move."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from celery_app.client import Client
from celery_app.handles import RunHandle
from celery_app.orchestrator.triggers import Triggers
from tests.engine.clock import Clock, nothing, scheduled, started

pytestmark = pytest.mark.usefixtures("nothing_left")

SPRING = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)
"""Berlin changes to and from summer time."""


def minutes(begin: datetime, end: datetime) -> list[str]:
    count = int((end - begin).total_seconds()) // 60
    return [(begin + timedelta(minutes=n)).isoformat() for n in range(1, count + 1)]


NIGHT = {
    # 02:30 is left out in spring, and made up for as soon as the clock has jumped; in autumn it comes
    # twice and counts the first time.
    SPRING: ["2026-03-29T01:00:00+00:00"],
    AUTUMN: ["2026-10-25T00:30:00+00:00"],
}


@pytest.mark.parametrize("change", [SPRING, AUTUMN])
@pytest.mark.parametrize("beats", [1, 2])
def test_every_occurrence_over_a_change_of_the_clocks_is_started_once(
    client: Client, change: datetime, beats: int
) -> None:
    begin = change - timedelta(minutes=35)
    clock = Clock(begin)
    schedulers = [Triggers(clock=clock) for _ in range(beats)]
    minute, night = (f"each-{each}-{change:%m}-{beats}" for each in ("minute", "night"))
    for name, cron in {minute: "* * * * *", night: "30 2 * * *"}.items():
        trigger = f'cron: "{cron}", timezone: Europe/Berlin'
        schedulers[0].register(scheduled(name, trigger), nothing)
    while clock.now < change + timedelta(minutes=35):
        clock.now += timedelta(seconds=50)
        threads = [threading.Thread(target=each.start_due) for each in schedulers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert started(minute) == minutes(begin, clock.now)
    assert started(night) == NIGHT[change]
    runs = client.runs(minute, limit=1000)
    assert sorted(run["due"] for run in runs) == minutes(begin, clock.now)


def test_beats_are_killed_and_nothing_is_started_twice_or_left_out(
    client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "clock"
    begin = AUTUMN - timedelta(minutes=10)
    clock = Clock(begin)
    Triggers(clock=clock).register(
        scheduled("each-minute", 'cron: "* * * * *", timezone: Europe/Berlin, missed: all'), nothing
    )

    def beat() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.engine.beat_process", str(file)]
        return subprocess.Popen(command, env=dict(os.environ))

    def move(seconds: int) -> None:
        clock.now += timedelta(seconds=seconds)
        fresh = tmp_path / "next"
        fresh.write_text(clock.now.isoformat())
        fresh.replace(file)

    move(0)
    beats = [beat(), beat()]
    try:
        for step in range(40):
            move(30)
            if step in (12, 25):
                beats[0].kill()
                beats[0].wait()
                beats.append(beats.pop(0))
                beats[1] = beat()
            time.sleep(0.15)
        deadline = time.monotonic() + 20
        while len(started("each-minute")) < 20 and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        file.unlink()
        for process in beats:
            process.wait(timeout=20)
    assert started("each-minute") == minutes(begin, clock.now)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("skip", []), ("once", ["12:00"]), ("all", ["10:00", "11:00", "12:00"])],
)
def test_what_was_missed_while_no_beat_ran(
    client: Client, policy: str, expected: list[str]
) -> None:
    clock = Clock(datetime(2026, 6, 1, 9, 30, tzinfo=UTC))
    triggers = Triggers(clock=clock)
    triggers.register(scheduled("hourly", f"interval: 1h, missed: {policy}"), nothing)
    clock.now += timedelta(hours=3)
    following = triggers.start_due()
    triggers.start_due()
    assert [key[11:16] for key in started("hourly")] == expected
    assert following == datetime(2026, 6, 1, 13, 0, tzinfo=UTC)


def test_a_paused_trigger_starts_nothing_and_makes_up_for_nothing(client: Client) -> None:
    clock = Clock(datetime(2026, 6, 1, 9, 30, tzinfo=UTC))
    triggers = Triggers(clock=clock)
    triggers.register(scheduled("paused", "interval: 1h, missed: all"), nothing)
    [shown] = triggers.listed("paused")
    assert shown["next"][0] == "2026-06-01T10:00:00+00:00"
    triggers.pause("paused", shown["id"][:6])
    clock.now += timedelta(hours=2)
    triggers.start_due()
    assert triggers.listed("paused")[0]["next"] == []
    triggers.resume("paused", shown["id"])
    triggers.start_due()
    assert started("paused") == []
    clock.now += timedelta(minutes=30)
    triggers.start_due()
    assert started("paused") == ["2026-06-01T12:00:00+00:00"]


def test_celery_beat_starts_a_workflow_file(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "often.yaml").write_text(
        "name: often\ntriggers: [{interval: 1s}]\nsteps: [{id: a, task: chore.echo, args: [1]}]"
    )
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "celery_app",
        "beat",
        "-s",
        str(tmp_path / "s"),
    ]
    environment = {**os.environ, "AI_AGENT__WORKFLOWS_DIR": str(folder)}
    beats = [subprocess.Popen(command, env=environment) for _ in range(2)]
    try:
        deadline = time.monotonic() + 30
        while len(client.runs("often")) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        for process in beats:
            process.terminate()
            process.wait(timeout=20)
    due = [run["due"] for run in client.runs("often", limit=100)]
    assert len(due) >= 3
    assert len(due) == len(set(due))
    assert isinstance(client.run(client.runs("often")[0]["id"]), RunHandle)

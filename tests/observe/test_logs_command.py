"""The log in the terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from functools import partial
from uuid import uuid4

import pytest
from click.testing import CliRunner

from celery_app import LogContext, LogEvent, LogManager
from celery_app.celery import logs
from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.testing.processes import wait_until
from tests.observe.kept import said

pytestmark = pytest.mark.timeout(240)


class TestTheCommand:
    def run(self, *args: str) -> str:
        done = CliRunner().invoke(cli, ["logs", *args])
        assert done.exit_code == 0, done.output
        return done.stdout

    def test_it_shows_what_was_asked_for(self, client: Client) -> None:
        task_id = str(uuid4())
        manager = LogManager()
        context = LogContext(task_id=task_id, trace_id=str(uuid4()), agent_id=said("agent"))
        manager.log(LogEvent(message="small", details={"a": 1}), context)
        manager.log(LogEvent(message="bad", level="ERROR", exception="Traceback\n  x"), context)
        shown = [json.loads(line) for line in self.run("--task", task_id, "--json").splitlines()]
        assert [each["message"] for each in shown] == ["small", "bad"]
        assert shown[0]["details"] == {"a": 1}
        assert (shown[0]["task_id"], shown[0]["agent_id"]) == (task_id, context.agent_id)
        for option in (("--run", str(context.trace_id)), ("--agent", str(context.agent_id))):
            assert "bad" in self.run(*option)
            assert "small" not in self.run(*option, "--level", "warning")
        assert self.run("--task", task_id, "--since", "2100-01-01T00:00:00Z") == ""
        assert "small" in self.run("--task", task_id, "--since", "1h")
        assert self.run("--task", task_id, "--limit", "1").count("bad") == 1
        assert "    Traceback\n      x" in self.run("--task", task_id)

    def test_it_follows_by_push(self, client: Client) -> None:
        agent = said("agent")
        manager = LogManager()
        manager.log(LogEvent(message="before"), LogContext(agent_id=agent))
        logs.flush()
        follower = subprocess.Popen(
            [sys.executable, "-m", "celery_app", "logs", "--agent", agent, "--follow", "--json"],
            stdout=subprocess.PIPE,
            text=True,
        )
        lines: list[tuple[float, str]] = []
        assert follower.stdout is not None
        output = follower.stdout

        def read() -> None:
            lines.extend((time.time(), json.loads(line)["message"]) for line in output)

        reader = threading.Thread(target=read)
        reader.start()

        def reached(number: int) -> bool:
            return len(lines) == number

        try:
            wait_until(partial(reached, 1), 60)
            delays = []
            for each in range(3):
                begun = time.time()
                manager.log(LogEvent(message=f"{each}"), LogContext(agent_id=agent))
                wait_until(partial(reached, each + 2), 60)
                delays.append(lines[-1][0] - begun)
            assert [message for _, message in lines] == ["before", "0", "1", "2"]
            assert min(delays) < 2, "it was pushed, for nobody looks within five seconds"
        finally:
            follower.terminate()
            follower.wait(timeout=20)
            reader.join()
            output.close()

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            (("--task", "xyz"), "is no task id"),
            (("--since", "yesterday"), "is not a moment"),
            (("--level", "loud"), "is not one of"),
            (("--limit", "0"), "is not in the range"),
        ],
    )
    def test_bad_input_is_refused(self, args: tuple[str, ...], words: str) -> None:
        done = CliRunner().invoke(cli, ["logs", *args])
        assert done.exit_code == 2
        assert words in done.output

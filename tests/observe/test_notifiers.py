"""Who is told is told, even if not at once."""

from __future__ import annotations

import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiosmtpd.controller import Controller

from celery_app.celery import database
from celery_app.client import Client
from celery_app.observe.jobs import alerts as alerts_of_the_system
from celery_app.observe.outbox import Outbox
from tests.observe.alert_desk import NOTIFY, OUTBOX, Desk
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(240)


class _Hook(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append((dict(self.headers), body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


class Hook(ThreadingHTTPServer):
    """Somebody else's server, which may be broken."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.status = 200
        self.calls: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Letters:
    def __init__(self) -> None:
        self.letters: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.letters.append(envelope)
        return "250 OK"


class TestNotifiers:
    def hooked(self, folder: Path, hook: Hook, more: str = "") -> Desk:
        (folder / "secret").write_text("hook-s3cret-1")
        notifier = f'{{TO: {{kind: webhook, url: "{hook.url}"{more}}}}}'
        return Desk(folder, f"  - {{name: NAME, kind: level, logger: LOGGER, {NOTIFY}}}", notifier)

    def test_a_web_call_is_signed(self, client: Client, tmp_path: Path, hook: Hook) -> None:
        desk = self.hooked(tmp_path, hook, ", password_file: secret")
        desk.say("broken")
        desk.look()
        Outbox(OUTBOX, desk.file.notifiers).deliver()
        ((headers, body),) = hook.calls
        told = json.loads(body)
        (alert,) = told["alerts"]
        assert (told["kind"], alert["message"]) == ("firing", f"{desk.logger}: broken")
        at, mark = headers["X-AI-Agent-Signature"].removeprefix("t=").split(",v1=")
        signed = hmac.new(b"hook-s3cret-1", f"{at}.".encode() + body, "sha256")
        assert hmac.compare_digest(mark, signed.hexdigest())
        assert headers["X-AI-Agent-Notification"].isdigit()

    def test_a_broken_one_is_tried_again_and_disturbs_nobody(
        self, client: Client, tmp_path: Path, hook: Hook
    ) -> None:
        desk = self.hooked(tmp_path, hook)
        hook.status = 500
        desk.say("broken")
        desk.look()
        outbox = Outbox(OUTBOX, desk.file.notifiers, pause=0.2)
        outbox.deliver()
        (row,) = [each for each in OUTBOX.newest(500) if each["notifier"] == desk.to]
        assert (row["state"], row["tries"]) == ("waiting", 1)
        assert "500" in row["error"]
        assert desk.look()[0].is_open, "the rules are looked at all the same"
        hook.status = 200
        deadline = time.monotonic() + 20
        while len(hook.calls) < 2:
            assert time.monotonic() < deadline
            outbox.deliver()
            time.sleep(0.05)
        (row,) = [each for each in OUTBOX.newest(500) if each["notifier"] == desk.to]
        assert (row["state"], row["error"]) == ("sent", None)
        numbers = {headers["X-AI-Agent-Notification"] for headers, _ in hook.calls}
        assert len(numbers) == 1, "whoever hears it twice can know"

    def test_what_nobody_takes_for_a_day_is_given_up(
        self, client: Client, tmp_path: Path, hook: Hook
    ) -> None:
        desk = self.hooked(tmp_path, hook)
        hook.status = 503
        desk.say("broken")
        desk.look()
        database.rows(
            "UPDATE notification SET made_at = made_at - interval '2 days' WHERE notifier = :to",
            to=desk.to,
        )
        Outbox(OUTBOX, desk.file.notifiers).deliver()
        (row,) = [each for each in OUTBOX.newest(500) if each["notifier"] == desk.to]
        assert row["state"] == "given up"

    def test_mail_arrives_at_a_real_server(self, client: Client, tmp_path: Path) -> None:
        letters = _Letters()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = Controller(letters, hostname="127.0.0.1", port=port)
        server.start()
        try:
            mail = (
                f"{{TO: {{kind: email, host: 127.0.0.1, port: {port}, tls: none, "
                "sender: alerts@example.org, to: [duty@example.org, boss@example.org]}}"
            )
            desk = Desk(
                tmp_path, f"  - {{name: NAME, kind: level, logger: LOGGER, {NOTIFY}}}", mail
            )
            desk.say("broken\nSubject: forged")
            desk.look()
            Outbox(OUTBOX, desk.file.notifiers).deliver()
        finally:
            server.stop()
        (letter,) = letters.letters
        assert letter.rcpt_tos == ["duty@example.org", "boss@example.org"]
        text = letter.content.decode()
        assert f"{desk.name} firing" in text
        headers, _, body = text.partition("\r\n\r\n")
        assert headers.count("Subject:") == 1 + headers.count("broken Subject: forged")
        assert "broken" in body


def test_a_failed_run_tells_whom_its_workflow_names(client: Client, tmp_path: Path) -> None:
    workflow = tmp_path / "doomed.yaml"
    to = f"to-{uuid4().hex[:8]}"
    workflow.write_text(
        "name: doomed\nsteps:\n  - {id: fall, task: chore.fail, with: {message: 'no password=abcdef'}}\n"
        f"error_handling: {{notify: [{to}]}}\n"
    )
    handle = client.start_workflow(workflow)
    with WorkerProcess("-c", "2"), pytest.raises(Exception, match="fall"):
        handle.result(timeout=60)
    for _ in range(2):
        alerts_of_the_system().look()
    rows = database.rows("SELECT id, body FROM notification WHERE notifier = :to", to=to)
    (told,) = [database.vault.unpack(row.body, "notification.body", row.id) for row in rows]
    assert (told["kind"], told["workflow"]) == ("run-failed", "doomed")
    assert told["run_id"] == str(handle.id)
    assert "fall" in told["error"]["message"]

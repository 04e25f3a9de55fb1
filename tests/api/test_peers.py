"""Other users of this machine are strangers to the API, whatever address they come from."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import pytest

from celery_app.api.peers import user_of
from tests.api.serving import Served

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin")

ASK = """
import sys, urllib.request, urllib.error
try:
    print(urllib.request.urlopen(sys.argv[1] + "/tasks", timeout=10).status)
except urllib.error.HTTPError as refused:
    print(refused.code, refused.read().decode())
"""


@LINUX
@pytest.mark.parametrize(("server", "host"), [
    ("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("::", "::ffff:127.0.0.1"),
])  # fmt: skip
def test_the_user_of_a_connection_is_found(server: str, host: str) -> None:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.create_server(
        (server, 0), family=family, dualstack_ipv6=server == "::"
    ) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection((host, port)) as client:
            accepted = listening.accept()[0]
            peer, own = accepted.getpeername()[:2], accepted.getsockname()[:2]
            accepted.close()
            assert peer[1] == client.getsockname()[1]
            assert user_of(peer, own) == os.geteuid()
            assert user_of(peer, (own[0], port + 1)) is None


@LINUX
@ROOT
@pytest.mark.skipif(PYTHON is None, reason="needs a Python that everybody may run")
@pytest.mark.parametrize(("user", "status"), [(0, "200"), (65534, "401")])
def test_another_user_of_this_machine_is_a_stranger(served: Served, user: int, status: str) -> None:
    assert PYTHON is not None
    said = subprocess.run(
        [PYTHON, "-I", "-c", ASK, served.url], user=user, cwd="/", capture_output=True, text=True
    )
    assert said.stdout.startswith(status), said
    assert ("another user of this machine" in said.stdout) == (status == "401")

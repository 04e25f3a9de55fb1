"""Other users of this machine are strangers to the API, whatever address they come from."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import pytest

from celery_app.api.peers import Users, user_of
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
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def test_the_user_of_a_connection_is_found(family: socket.AddressFamily) -> None:
    host = "127.0.0.1" if family is socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        with socket.create_connection((host, port)) as client:
            server.accept()[0].close()
            assert user_of((host, client.getsockname()[1]), port) == os.geteuid()
            assert user_of((host, client.getsockname()[1]), port + 1) is None


@LINUX
def test_connections_are_looked_up_once_and_one_after_the_other_with_the_same_address_anew() -> (
    None
):
    users = Users()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            server.accept()[0].close()
            first = client.getsockname()
            assert users.of(first, port) == os.geteuid()
        assert users.of(first, port) == os.geteuid(), "it was looked up again"
        # The same address, but another connection, which is not there.
        assert users.of((first[0], first[1]), port + 1) is None


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

"""Calls of webhooks: only one spelling of one signature is taken, and whatever else comes is refused."""

from __future__ import annotations

import hmac
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import celery_app.orchestrator.triggers as module
from celery_app.celery import settings
from celery_app.errors import ConfigurationError
from celery_app.orchestrator.triggers import LONGEST_BODY, check_signature
from celery_app.sections import Protected
from tests.fuzz.doors import fuzzed, taken, texts
from workflows.errors import InvalidInputs

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SECRET = b"s3cret-of-the-shop"


@pytest.fixture(autouse=True, scope="module")
def _shop(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("hooks")
    known = {"shop": _protected(folder, SECRET), "open": _protected(folder, None),
             "empty": _protected(folder, b"\n")}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "settings", settings.model_copy(update={"webhooks": known}))
        yield


def _protected(folder: Path, secret: bytes | None) -> Protected:
    path = folder / str(len(list(folder.iterdir())))
    path.write_bytes(secret or b"")
    given = {} if secret is None else {"password_file": str(path)}
    return Protected.model_validate(given, context={"folder": folder})


def signed(body: bytes, at: int, secret: bytes = SECRET) -> str:
    return f"t={at},v1={hmac.new(secret, f'{at}.'.encode() + body, 'sha256').hexdigest()}"


AT = int(NOW.timestamp())
GOOD = signed(b"{}", AT)

signatures = texts | st.sampled_from(
    [
        GOOD + ",x=y", GOOD + "\n", " " + GOOD, GOOD.upper(), "v1=" + GOOD.split("v1=")[1] + f",t={AT}",
        GOOD.replace("t=", "t=0"), GOOD.replace(str(AT), "".join(chr(0x660 + int(n)) for n in str(AT))),
        "t=" + "9" * 5000 + ",v1=" + "0" * 64, f"t={2**62},v1=" + "0" * 64, f"t={AT},v1=\ud800",
        f"t={AT},v1=" + "0" * 10**6, "t=1,v1=", "t=,v1=x", ",", "=", f"t={AT},t={AT},v1=x", GOOD[:-1],
        signed(b"{}", AT, b""), signed(b"{}", AT + 301), signed(b"{}", AT - 301),
    ]
)  # fmt: skip


@fuzzed
@given(st.sampled_from(["shop", "open", "empty", "\0", "nobody"]) | texts, signatures, st.binary())
@example("shop", GOOD + ",x=y", b"{}")
@example("empty", signed(b"{}", AT, b""), b"{}")
def test_what_is_not_signed_is_refused(name: str, signature: str, body: bytes) -> None:
    begun = time.monotonic()
    assert taken(lambda: check_signature(name, body, signature, NOW)) is None
    assert time.monotonic() - begun < 2


@fuzzed
@given(st.binary(), st.integers(-300, 300))
def test_what_is_signed_is_taken_in_its_one_form(body: bytes, late: int) -> None:
    signature = signed(body, AT)
    assert check_signature("shop", body, signature, NOW + timedelta(seconds=late)) == signature


@pytest.mark.parametrize("name", ["open", "empty"])
def test_without_a_secret_nobody_can_sign(name: str) -> None:
    with pytest.raises(ConfigurationError, match="has no secret; write one"):
        check_signature(name, b"{}", signed(b"{}", AT, b""), NOW)


def test_a_body_that_is_too_large_is_refused_with_the_limit() -> None:
    body = b"x" * (LONGEST_BODY + 1)
    with pytest.raises(InvalidInputs, match="1,000,001 bytes and at most 1,000,000 are taken"):
        check_signature("shop", body, signed(body, AT), NOW)

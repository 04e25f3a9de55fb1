"""The ring of keys: what it makes, refuses and never shows."""

from __future__ import annotations

import base64
import json
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_app.errors import AgentSystemError, ConfigurationError, Unsealed
from celery_app.security.keys import KeyRing, key_id_of
from celery_app.security.vault import Vault


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    ring = KeyRing(tmp_path / "keys")
    ring.appoint(ring.add())
    return ring


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    ring = KeyRing(tmp_path_factory.mktemp("ring") / "keys")
    ring.appoint(ring.add())
    return Vault(ring)


def test_keys_are_their_owner_s_alone(ring: KeyRing) -> None:
    assert stat.S_IMODE(ring.folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in ring.folder.iterdir()}
    assert set(modes.values()) == {0o600}
    [key] = ring.all()
    assert len(key.secret) == 32


@pytest.mark.parametrize("what", ["folder", "file"])
def test_keys_that_others_may_read_are_refused(ring: KeyRing, what: str) -> None:
    path = ring.folder if what == "folder" else next(ring.folder.glob("*.key"))
    path.chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"may be read by others \(mode 755\): `chmod"):
        KeyRing(ring.folder).all()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"id": 7}', "no json", "\xff"])
def test_a_damaged_key_file_is_named_and_never_quoted(ring: KeyRing, text: str) -> None:
    path = next(ring.folder.glob("*.key"))
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigurationError) as caught:
        KeyRing(ring.folder).all()
    assert str(path) in str(caught.value)


def test_a_key_of_another_length_is_no_key(ring: KeyRing) -> None:
    path = next(ring.folder.glob("*.key"))
    told = json.loads(path.read_text()) | {"key": base64.b64encode(b"short").decode()}
    path.write_text(json.dumps(told))
    with pytest.raises(ConfigurationError, match="is no key") as caught:
        KeyRing(ring.folder).all()
    assert told["key"] not in str(caught.value)


def test_a_missing_current_key_is_told(ring: KeyRing) -> None:
    next(ring.folder.glob("*.key")).unlink()
    with pytest.raises(ConfigurationError, match="which is not there"):
        _ = KeyRing(ring.folder).current


def test_no_text_shows_a_key(ring: KeyRing) -> None:
    [key] = ring.all()
    texts = f"{ring!r} {ring} {key!r} {key} {Vault(ring)!r}"
    for secret in (key.secret, repr(key.secret), key.secret.hex(), base64.b64encode(key.secret)):
        assert str(secret) not in texts


def test_a_new_key_opens_at_once_and_seals_when_it_is_appointed(ring: KeyRing) -> None:
    other = KeyRing(ring.folder)
    old = other.seal(b"old", b"here")
    key = ring.add()
    assert key_id_of(ring.seal(b"x", b"here")) != key.id
    ring.appoint(key)
    fresh = ring.seal(b"new", b"here")
    assert key_id_of(fresh) == key.id
    # A process that read the ring before the key was made.
    assert other.open(fresh, b"here") == b"new"
    assert ring.open(old, b"here") == b"old"


def test_another_process_seals_with_the_new_key_within_seconds(ring: KeyRing) -> None:
    other = KeyRing(ring.folder)
    assert other.current is not None
    key = ring.add()
    ring.appoint(key)
    deadline = time.monotonic() + 5
    while other.current.id != key.id and time.monotonic() < deadline:
        time.sleep(0.05)
    assert other.current.id == key.id


def test_a_vanished_folder_makes_nobody_write_in_clear(ring: KeyRing) -> None:
    assert ring.current is not None
    ring.folder.rename(ring.folder.with_name("away"))
    assert ring.all()
    assert key_id_of(ring.seal(b"x", b"here")) is not None


def test_a_signature_is_of_its_purpose_and_data(ring: KeyRing) -> None:
    signature = ring.sign("audit", b"data")
    assert ring.verifies("audit", b"data", signature)
    assert not ring.verifies("audit", b"dbta", signature)
    assert not ring.verifies("other", b"data", signature)
    assert not ring.verifies("audit", b"data", b"")
    ring.appoint(ring.add())
    assert ring.verifies("audit", b"data", signature)


def test_without_a_key_values_stay_in_clear_and_nothing_is_sealed(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "none")
    vault = Vault(ring)
    assert not vault.is_closed
    assert vault.pack({"a": 1}, "task.result", "1") == b'{"a": 1}'
    with pytest.raises(ConfigurationError, match="keys create"):
        ring.seal(b"x", b"here")
    with pytest.raises(ConfigurationError, match="keys create"):
        ring.sign("audit", b"x")


def test_encryption_switched_off_still_opens(ring: KeyRing) -> None:
    sealed = Vault(ring).pack("text", "task.result", "1")
    off = Vault(ring, sealing=False)
    assert off.unpack(sealed, "task.result", "1") == "text"
    assert off.pack("text", "task.result", "1") == b'"text"'


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(value=_JSON)
def test_what_was_packed_is_unpacked(vault: Vault, value: object) -> None:
    sealed = vault.pack(value, "task.result", "1")
    assert vault.unpack(sealed, "task.result", "1") == value


@settings(max_examples=30)
@given(value=st.binary(max_size=40))
def test_every_bit_flip_is_refused(vault: Vault, value: bytes) -> None:
    sealed = vault.seal(value, "task.result", "1")
    for place in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(Unsealed):
            vault.open(bytes(flipped), "task.result", "1")
    for length in range(len(sealed)):
        with pytest.raises(Unsealed):
            vault.open(sealed[:length], "task.result", "1")


_PLACE = st.tuples(
    st.sampled_from(["task.result", "task.spec", "result.meta"]),
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=3),
)


@given(here=_PLACE, there=_PLACE)
def test_a_value_opens_at_its_place_alone(
    vault: Vault, here: tuple[str, list[str]], there: tuple[str, list[str]]
) -> None:
    sealed = vault.seal(b"value", here[0], *here[1])
    if here == there:
        assert vault.open(sealed, there[0], *there[1]) == b"value"
    else:
        with pytest.raises(Unsealed, match="cannot be opened"):
            vault.open(sealed, there[0], *there[1])


def test_with_keys_nothing_in_clear_is_believed(vault: Vault) -> None:
    with pytest.raises(Unsealed, match=r"task.result of 1 cannot be opened: it is not sealed"):
        vault.open(b'"forged"', "task.result", "1")


def test_without_the_ring_sealed_values_are_told(vault: Vault, tmp_path: Path) -> None:
    sealed = vault.seal(b"value", "task.result", "1")
    with pytest.raises(Unsealed, match="no keys are configured"):
        Vault().open(sealed, "task.result", "1")
    with pytest.raises(Unsealed, match="which is not in"):
        Vault(KeyRing(tmp_path / "none")).open(sealed, "task.result", "1")


def test_what_json_cannot_carry_is_refused(vault: Vault) -> None:
    with pytest.raises(AgentSystemError, match="cannot store a object"):
        vault.pack(object(), "task.result", "1")


def test_equal_values_look_different(vault: Vault) -> None:
    assert len({vault.seal(b"same", "task.result", "1") for _ in range(100)}) == 100

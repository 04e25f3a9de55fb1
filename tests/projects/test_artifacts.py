"""Artifacts: kept once by their content, sealed, followed to what they were made of, and never half there."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from uuid import uuid4

import pytest

from celery_app.celery import database, vault
from celery_app.client import Client
from celery_app.errors import UnknownArtifact, Unsealed
from celery_app.security.envelope import Envelope
from celery_app.store.artifacts import ArtifactStore
from celery_app.store.sealed import SealedStore
from workflows.artifact import ArtifactType, content_of, type_of
from workflows.errors import InvalidTask

MARKER = b"planted-9c1d"


@pytest.fixture
def store(client: Client, tmp_path: Path) -> ArtifactStore:
    """A store of a hundred bytes in Postgres and a thousand in files."""
    return ArtifactStore(database, tmp_path / "artifacts", inline=100, largest=1000)


@pytest.fixture
def namespace() -> str:
    return f"space-{uuid4().hex[:8]}"


def files(store: ArtifactStore) -> list[Path]:
    return sorted(store.folder.iterdir()) if store.folder.is_dir() else []


@pytest.mark.parametrize("size", [0, 100, 101, 1000])
def test_what_is_read_is_what_was_put(store: ArtifactStore, namespace: str, size: int) -> None:
    content = os.urandom(size)
    kept = store.put(namespace, "data", content, ArtifactType.FILE, inputs={"a": "0" * 64})
    assert kept.sha256 == hashlib.sha256(content).hexdigest()
    assert (kept.size, kept.type, kept.inputs) == (size, ArtifactType.FILE, {"a": "0" * 64})
    assert store.read(kept) == content
    assert store.newest(namespace, "data") == kept == store.get(kept.id)
    assert store.of_namespace(namespace) == [kept]
    assert len(files(store)) == (1 if size > 100 else 0)


def test_a_content_is_kept_once(store: ArtifactStore, namespace: str) -> None:
    content = os.urandom(500)
    first = store.put(namespace, "one", content, ArtifactType.FILE)
    second = store.put(namespace, "two", content, ArtifactType.FILE)
    assert first.id != second.id
    assert len(files(store)) == 1
    assert store.read(second) == content


def test_work_that_is_done_twice_brings_forth_one(store: ArtifactStore, namespace: str) -> None:
    same = uuid4()
    first = store.put(namespace, "one", b"first", ArtifactType.TEXT, id=same)
    again = store.put(namespace, "one", b"second", ArtifactType.TEXT, id=same)
    assert again == first
    assert store.read(again) == b"first"


def test_what_is_too_large_is_refused(store: ArtifactStore, namespace: str) -> None:
    with pytest.raises(InvalidTask, match=r"'big' has 1,001 bytes and at most 1,000 are kept"):
        store.put(namespace, "big", bytes(1001), ArtifactType.FILE)
    assert store.of_namespace(namespace) == []


def test_what_is_not_there_is_named(store: ArtifactStore, namespace: str) -> None:
    with pytest.raises(UnknownArtifact, match="has no artifact 'x'"):
        store.newest(namespace, "x")
    with pytest.raises(UnknownArtifact, match="there is no artifact"):
        store.get(uuid4())


@pytest.mark.parametrize("size", [50, 500])
def test_nobody_reads_it_without_the_keys(store: ArtifactStore, namespace: str, size: int) -> None:
    assert vault.is_closed
    store.put(namespace, "secret", MARKER * (size // len(MARKER)), ArtifactType.TEXT)
    stored = database.rows("SELECT secret, body FROM content")
    on_disk = b"".join(file.read_bytes() for file in files(store))
    assert MARKER not in on_disk + b"".join(
        bytes(row.secret) + bytes(row.body or b"") for row in stored
    )
    digest = hashlib.sha256(MARKER * (size // len(MARKER))).hexdigest()
    assert database.row("SELECT 1 FROM content WHERE id = :id", id=digest) is None


def test_what_was_altered_is_refused(store: ArtifactStore, namespace: str) -> None:
    kept = store.put(namespace, "large", os.urandom(500), ArtifactType.FILE)
    (file,) = files(store)
    content = bytearray(file.read_bytes())
    content[7] ^= 1
    file.write_bytes(content)
    with pytest.raises(Unsealed, match="altered"):
        store.read(kept)
    file.unlink()
    with pytest.raises(Unsealed, match=r"No such file.*must share the folder"):
        store.read(kept)


def test_an_envelope_opens_with_its_key_at_its_place() -> None:
    envelope = Envelope()
    closed = envelope.close(b"words", "here")
    assert envelope.open(closed, "here") == b"words"
    assert envelope.secret.hex() not in repr(envelope)
    for other, place in ((Envelope(), "here"), (envelope, "there")):
        with pytest.raises(Unsealed):
            other.open(closed, place)


def test_a_content_whose_file_is_gone_is_kept_anew(store: ArtifactStore, namespace: str) -> None:
    content = os.urandom(500)
    first = store.put(namespace, "large", content, ArtifactType.FILE)
    files(store)[0].unlink()
    store.put(namespace, "again", content, ArtifactType.FILE)
    assert store.read(first) == content


def test_another_key_leaves_files_as_they_are(store: ArtifactStore, namespace: str) -> None:
    content = os.urandom(500)
    kept = store.put(namespace, "large", content, ArtifactType.FILE)
    before = files(store)[0].read_bytes()
    ring = vault.ring
    assert ring is not None
    ring.appoint(ring.add())
    assert SealedStore(database).reseal().refused == []
    assert files(store)[0].read_bytes() == before
    assert store.read(kept) == content


def test_only_what_nobody_has_is_swept(store: ArtifactStore, namespace: str) -> None:
    kept = store.put(namespace, "kept", os.urandom(500), ArtifactType.FILE)
    orphan = store.folder / uuid4().hex
    orphan.write_bytes(b"left by a crash")
    assert store.sweep() == 0, "it is too young"
    old = time.time() - 7200
    for file in files(store):
        os.utime(file, (old, old))
    assert store.sweep() == 1
    assert not orphan.exists()
    assert len(store.read(kept)) == 500


def test_results_have_their_types() -> None:
    assert content_of("words") == (b"words", ArtifactType.TEXT)
    assert content_of({"a": [1]})[1] is ArtifactType.JSON
    table = [{"name": "Ann", "age": 3}, {"name": "Bo", "age": None}]
    assert content_of(table) == (b"name,age\nAnn,3\nBo,\n", ArtifactType.TABLE)
    assert content_of([{"a": 1}, {"b": 2}])[1] is ArtifactType.JSON
    assert type_of("a.csv", b"a,b\n") is ArtifactType.TABLE
    assert type_of("a.md", b"{not json") is ArtifactType.TEXT
